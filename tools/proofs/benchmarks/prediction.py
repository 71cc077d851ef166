"""Speed of a prediction from the video file to the report, by stage."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.datasets.video_files import VideoFile, video_sha256
from pipeline.decoding import DirectStream
from pipeline.decoding.video_frames import VideoFrames
from pipeline.engine.stage import Task
from pipeline.explanation.explanation import Explanation
from pipeline.prediction.job import ExaminedVideo
from pipeline.predictor import WORLD, LaIARPredictor
from tools.proofs.benchmarks.extraction import HeldFrames
from tools.proofs.benchmarks.timing import time_rounds

DECODE, EXPLAIN, SAVE = "decoding", "detector, network and reasons", "files of the report"
WHOLE = "predict, end to end"


@dataclass(frozen=True)
class PredictionPlan:
    """Settings of the measurement.

    Attributes:
        videos: paths of videos.
        rounds: number of measured rounds.
        device: device of the networks.
        run: run folder of the network.
    """

    videos: Sequence[Path]
    rounds: int
    device: torch.device
    run: Path = WORLD


def benchmark_prediction(plan: PredictionPlan) -> dict[str, Any]:
    """Measure `LaIARPredictor.predict` with the report, and each stage alone.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with the seconds of each stage in the fastest round, and the length of the videos
        divided by them (`real_time`). `ratio` is the sum of the stages divided by the whole.
    """
    predictor = LaIARPredictor.from_run(plan.run, f"device={plan.device}")
    explainer = predictor.explainer
    found = [
        explainer.job.examine(Task(VideoFile(path, path.stem)), video_sha256(path))
        for path in plan.videos
    ]
    held = [_decode(one) for one in found]
    explained = [predictor.predict(path) for path in plan.videos]
    length = sum(one.video.duration_s or 0.0 for one in explained)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        variants: dict[str, Callable[[], Any]] = {
            DECODE: lambda: [_decode(one) for one in found],
            EXPLAIN: lambda: [
                explainer.explain(one, HeldFrames(frames))
                for one, frames in zip(found, held, strict=True)
            ],
            SAVE: lambda: _save(explained, out),
            WHOLE: lambda: _save([predictor.predict(path) for path in plan.videos], out),
        }
        timed = time_rounds(variants, plan.rounds, plan.device)
    rows = {
        name: {"seconds": m.best_s, "real_time": length / m.best_s} for name, m in timed.items()
    }
    parts = sum(rows[name]["seconds"] for name in (DECODE, EXPLAIN, SAVE))
    frames = sum(len(part.frames) for parts in held for part in parts)
    return {
        "videos": len(plan.videos),
        "length_s": length,
        "frames": frames,
        "rows": rows,
        "ratio": parts / rows[WHOLE]["seconds"],
    }


def print_prediction(result: dict[str, Any]) -> None:
    """Print the table."""
    print(
        f"{result['videos']} videos of {result['length_s']:.1f} s, {result['frames']} frames; "
        "fastest round\n"
    )
    print(f"{'':32}{'seconds':>9}{'x real time':>13}")
    for name, row in result["rows"].items():
        print(f"{name:32}{row['seconds']:9.2f}{row['real_time']:13.2f}")
    print(f"\nsum of the stages / end to end: {result['ratio']:.2f}")


def _decode(found: ExaminedVideo) -> list[VideoFrames]:
    return list(DirectStream(found.request))


def _save(explained: Sequence[Explanation], out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for one in explained:
        one.save(out)
