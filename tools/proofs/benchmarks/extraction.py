"""Speed of `pipeline.extract`, compared with its slowest part on the same frames."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import store_clip
from pipeline.config.loading import load_config
from pipeline.datasets import ClipAnnotation, FrameAnnotation
from pipeline.decoding import DecodePool, num_workers
from pipeline.decoding.video_frames import VideoFrames
from pipeline.decoding.video_source import VideoSource
from pipeline.engine.local import LocalEngine
from pipeline.engine.stage import Task, examine
from pipeline.errors import StageError
from pipeline.extraction.job import ExtractionJob, prepare_extraction
from pipeline.extraction.steps import ExaminedClip, Networks, Steps
from tools.proofs.benchmarks.detector import run_given, run_ours
from tools.proofs.benchmarks.timing import time_rounds

DECODE, DETECT, DISK, WHOLE = "bare decoding", "bare detector", "bare disk", "extract, end to end"
#: Boxes of an annotated frame. One person and two objects are the average in Action Genome.
_GIVEN = torch.tensor([[0.2, 0.1, 0.6, 0.95], [0.5, 0.4, 0.7, 0.6], [0.1, 0.5, 0.4, 0.8]])


@dataclass(frozen=True)
class ExtractionPlan:
    """Settings of the measurement.

    Attributes:
        videos: folder of videos.
        num_frames: number of frames of each video.
        settings: settings of the extraction by name. Settings with the value None are ignored.
        rounds: number of measured rounds.
        device: device of the detector.
    """

    videos: Path
    num_frames: int
    settings: dict[str, Any]
    rounds: int
    device: torch.device

    @property
    def words(self) -> list[str]:
        """The settings as `key=value` arguments."""
        return [f"{key}={value}" for key, value in self.settings.items() if value is not None]


class HeldFrames:
    """`FrameStream` over frames that are already decoded.

    Args:
        batches: frames of a video, in one or several parts.
    """

    def __init__(self, batches: list[VideoFrames]) -> None:
        self._batches = batches
        self.source: VideoSource | None = batches[0].source

    def __iter__(self) -> Iterator[VideoFrames]:
        return iter(self._batches)


def benchmark_extraction(plan: ExtractionPlan) -> dict[str, Any]:
    """Measure the extraction with detected boxes and with provided boxes.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with the measurements for both kinds of boxes and the ratio of their speeds.
    """
    rows = {}
    for boxes in ("detected", "ground-truth"):
        with tempfile.TemporaryDirectory() as folder:
            rows[boxes] = _measure(plan, boxes, Path(folder))
    rates = {boxes: row["rows"][WHOLE]["frames_per_s"] for boxes, row in rows.items()}
    ratio = rates["ground-truth"] / rates["detected"]
    return {"boxes": rows, "given_ratio": ratio, "settings": plan.settings, "words": plan.words}


def _measure(plan: ExtractionPlan, boxes: str, folder: Path) -> dict[str, Any]:
    words = [*plan.words, f"frames.num={plan.num_frames}", f"device={plan.device}"]
    words.append("detection.weights=random")
    job = prepare_extraction(load_config(None, words), plan.videos, [])
    if boxes == "ground-truth":
        job = replace(job, config=load_config(None, [*words, f"boxes={boxes}"]))
    steps = job.steps(folder / "cache")
    steps.cache.mkdir()
    networks = Networks(steps, plan.device)
    found = _examine(job, steps, plan, given=boxes == "ground-truth")
    held = [list(_decode(one)) for one in found]
    clips = [networks.run(one, HeldFrames(frames)) for one, frames in zip(found, held, strict=True)]
    detector = networks.detector
    batches = [batch.frames.to(plan.device) for frames in held for batch in frames]

    def detect() -> None:
        with torch.inference_mode():
            for images in batches:
                if boxes == "detected":
                    run_ours(detector, images, len(images))
                else:
                    given = _given(*images.shape[-2:]).to(plan.device)
                    run_given(detector, images, [given] * len(images))

    variants: dict[str, Callable[[], Any]] = {
        DECODE: lambda: _drain(steps, found),
        DETECT: detect,
        DISK: lambda: _store(clips, folder / "disk"),
        WHOLE: lambda: _extract(steps, networks, found),
    }
    timed = time_rounds(variants, plan.rounds, plan.device)
    frames = sum(clip.num_frames for clip in clips)
    rows = {
        name: {"seconds": m.best_s, "frames_per_s": frames / m.best_s} for name, m in timed.items()
    }
    slowest = max((DECODE, DETECT, DISK), key=lambda name: rows[name]["seconds"])
    return {
        "videos": len(clips),
        "frames": frames,
        "pairs_per_frame": sum(len(clip.pairs) for clip in clips) / frames,
        "megabytes": sum(p.stat().st_size for p in (folder / "disk").iterdir()) / 1e6,
        "rows": rows,
        "slowest": slowest,
        "ratio": rows[slowest]["seconds"] / rows[WHOLE]["seconds"],
        "decode_workers": num_workers(steps.config.decode.workers),
    }


def _examine(
    job: ExtractionJob, steps: Steps, plan: ExtractionPlan, *, given: bool
) -> list[ExaminedClip]:
    found = []
    for video in job.videos:
        plain = replace(steps, config=load_config(None, plan.words))
        probe = examine(plain, Task(video))
        if not isinstance(probe, ExaminedClip) or probe.request is None:
            raise StageError(f"{video.path}: a decodable video expected")
        annotation = _annotation(video.video_id, probe, plan) if given else None
        one = examine(steps, Task(video, annotation))
        assert isinstance(one, ExaminedClip)
        found.append(one)
    return found


def _annotation(video_id: str, probe: ExaminedClip, plan: ExtractionPlan) -> ClipAnnotation:
    """Return an annotation with the same boxes in all uniform frames."""
    assert probe.request is not None
    probe = replace(probe, request=replace(probe.request, num_uniform=plan.num_frames))
    frames = []
    for batch in _decode(probe):
        boxes = _given(*batch.frames.shape[-2:])
        for index in batch.frame_index.tolist():
            predicates = torch.zeros(len(boxes), 26, dtype=torch.bool)
            labels = torch.arange(len(boxes))
            frames.append(FrameAnnotation(index, boxes, labels, predicates, None, None))
    return ClipAnnotation(video_id, None, None, None, None, None, tuple(frames))


def _given(height: int, width: int) -> Tensor:
    return _GIVEN * torch.tensor([width, height, width, height])


def _decode(found: ExaminedClip) -> Iterator[VideoFrames]:
    assert found.request is not None
    with DecodePool(0) as pool, closing(pool.start(found.request)) as stream:
        yield from stream


def _drain(steps: Steps, found: list[ExaminedClip]) -> None:
    """Decode all videos with as many processes as extraction uses, and discard the frames."""
    with DecodePool(num_workers(steps.config.decode.workers)) as pool:
        streams = [pool.start(one.request) for one in found if one.request]
        for stream in streams:
            for _ in stream:
                pass


def _store(clips: list[CachedClip], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for clip in clips:
        store_clip(folder, clip)


def _extract(steps: Steps, networks: Networks, found: list[ExaminedClip]) -> None:
    shutil.rmtree(steps.cache)
    steps.cache.mkdir()
    tasks = [one.task for one in found]
    outcomes = list(LocalEngine(steps, [networks.run]).run(tasks))
    bad = next((o for o in outcomes if o.status != "done"), None)
    if bad is not None:
        raise StageError(f"{bad.item}: {bad.status}, {bad.error}")


def estimate_videos(
    result: dict[str, Any], videos: int, price: float | None = None
) -> dict[str, dict[str, float]]:
    """Estimate the extraction of more videos from the fastest round of a measurement.

    Args:
        result: result of `benchmark_extraction`.
        videos: number of videos, each as long as those of the measurement.
        price: price of an hour of the device, or None.

    Returns:
        For both kinds of boxes, the hours on one device, the terabytes of the cache and, with a
        price, the price of the hours. Further devices divide the time, but not the price.
    """
    found = {}
    for boxes, part in result["boxes"].items():
        factor = videos / part["videos"]
        hours = factor * part["rows"][WHOLE]["seconds"] / 3600
        found[boxes] = {"hours": hours, "terabytes": factor * part["megabytes"] / 1e6}
        if price is not None:
            found[boxes]["price"] = hours * price
    return found


def print_estimate(result: dict[str, Any]) -> None:
    """Print the estimate of a result, if it has one."""
    if "estimate" not in result:
        return
    count = f"{result['estimate']['videos']:,}"
    print(f"\nestimate for {count} videos on one such device, at the rate of the fastest round\n")
    for boxes, row in result["estimate"]["boxes"].items():
        price = f"{row['price']:14,.0f} for the device" if "price" in row else ""
        hours, size = f"{row['hours']:12,.1f} h", f"{row['terabytes']:10,.3f} TB"
        print(f"  boxes={boxes:14}{hours}{size}{price}")


def print_extraction(result: dict[str, Any]) -> None:
    """Print the tables."""
    print(" ".join(result["words"]))
    for boxes, part in result["boxes"].items():
        print(
            f"\nboxes={boxes}: {part['videos']} videos, {part['frames']} frames, "
            f"{part['pairs_per_frame']:.1f} pairs per frame, {part['megabytes']:.1f} MB, "
            f"{part['decode_workers']} decode processes; fastest round"
        )
        for name, row in part["rows"].items():
            print(f"  {name:22}{row['seconds']:9.2f} s {row['frames_per_s']:9.2f} frames/s")
        print(
            f"  relative to the speed of the slowest part ({part['slowest']}): {part['ratio']:.3f}"
        )
    print(f"\nend-to-end speed, provided boxes / detected boxes: {result['given_ratio']:.2f}")
    print_estimate(result)
