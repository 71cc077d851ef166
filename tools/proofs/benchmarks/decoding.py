"""Speed of decoding evenly spaced frames of videos, compared with other decoders."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from pipeline.datasets.video_files import video_sha256
from pipeline.decoding import DecodeOptions, DecodePool, FrameRequest, open_video
from pipeline.decoding.options import Backend
from pipeline.errors import StageError
from tools.proofs.benchmarks.timing import time_rounds

OURS, OURS_DECORD = "ours, PyAV", "ours, decord"
DECORD, OPENCV, EVERY = "decord", "OpenCV, every frame", "PyAV, every frame, without RGB"
#: Numbers of decode processes, for the scaling of the extraction.
PROCESSES = (1, 2, 4)


@dataclass(frozen=True)
class DecodingPlan:
    """Settings of the measurement.

    Attributes:
        videos: paths of videos.
        num_frames: number of evenly spaced frames per video.
        rounds: number of measured rounds.
    """

    videos: Sequence[Path]
    num_frames: int
    rounds: int


def benchmark_decoding(plan: DecodingPlan) -> dict[str, Any]:
    """Measure our readers, their libraries, the decoding of every frame, and decode processes.

    Our readers also count the frames, check the file for damage, and apply edit lists and
    rotation. PyAV without the conversion to RGB is the limit of a reader that decodes every frame.
    Decode processes are those of `pipeline.extract`; each decodes one video at a time. Numbers
    above that of the videos are left out, and so is decord if it cannot be imported.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with the seconds and the frames per second of each variant, in the fastest round.
        `ratio` is the speed relative to OpenCV.
    """
    wanted = [_evenly_spaced(path, plan.num_frames) for path in plan.videos]
    variants: dict[str, Callable[[Path, list[int]], None]] = {OURS: _read_ours}
    if _has_decord():
        variants |= {OURS_DECORD: _read_ours_by_decord, DECORD: _read_decord}
    variants |= {OPENCV: _read_opencv, EVERY: _read_every}

    def over_videos(read: Callable[[Path, list[int]], None]) -> Callable[[], None]:
        def run() -> None:
            for path, indices in zip(plan.videos, wanted, strict=True):
                read(path, indices)

        return run

    requests = [
        FrameRequest(
            path, video_sha256(path), annotated=tuple(indices), num_uniform=None, batch_size=16
        )
        for path, indices in zip(plan.videos, wanted, strict=True)
    ]
    runs = {name: over_videos(read) for name, read in variants.items()}
    with ExitStack() as stack:
        for number in [n for n in PROCESSES if n <= len(plan.videos)]:
            pool = stack.enter_context(DecodePool(number))
            runs[processes(number)] = partial(_read_by_processes, pool, requests)
        timed = time_rounds(runs, plan.rounds, torch.device("cpu"))
    frames = sum(map(len, wanted))
    rows = {
        name: {
            "seconds": measured.best_s,
            "frames_per_s": frames / measured.best_s,
            "ratio": timed[OPENCV].best_s / measured.best_s,
        }
        for name, measured in timed.items()
    }
    return {"videos": len(plan.videos), "frames": frames, "rows": rows}


def processes(number: int) -> str:
    """Return the name of the row of a number of decode processes."""
    return f"ours, PyAV, {number} process{'es' if number > 1 else ''}"


def print_decoding(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{result['frames']} frames of {result['videos']} videos; fastest round\n")
    print(f"{'':32}{'frames/s':>10}{'/ OpenCV':>10}")
    for name, row in result["rows"].items():
        print(f"{name:32}{row['frames_per_s']:10.1f}{row['ratio']:10.2f}")


def _has_decord() -> bool:
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):  # OSError: a library of decord is missing
        return False
    return True


def _evenly_spaced(path: Path, count: int) -> list[int]:
    last = open_video(path).num_frames - 1
    found: list[int] = torch.linspace(0, last, count).long().unique().tolist()
    return found


def _read_ours(path: Path, indices: list[int], backend: Backend = "pyav") -> None:
    reader = open_video(path, DecodeOptions(backend=backend))
    _check(path, sum(len(part.frames) for part in reader.iterate(indices, 16)), indices)


def _read_ours_by_decord(path: Path, indices: list[int]) -> None:
    _read_ours(path, indices, "decord")


def _read_by_processes(pool: DecodePool, requests: Sequence[FrameRequest]) -> None:
    streams = [pool.start(request) for request in requests]
    for request, stream in zip(requests, streams, strict=True):
        count = sum(len(part.frames) for part in stream)
        _check(request.path, count, request.annotated)


def _read_decord(path: Path, indices: list[int]) -> None:
    from decord import VideoReader

    _check(path, len(VideoReader(str(path)).get_batch(indices).asnumpy()), indices)


def _read_opencv(path: Path, indices: list[int]) -> None:
    capture, wanted, found = cv2.VideoCapture(str(path)), {*indices}, []
    for index in range(max(indices) + 1):
        if not capture.grab():
            break
        if index in wanted:
            found.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    _check(path, len(np.stack(found)) if found else 0, indices)


def _read_every(path: Path, indices: list[int]) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        count = sum(1 for _ in container.decode(video=0))
    _check(path, min(count, len(indices)), indices)


def _check(path: Path, count: int, indices: Sequence[int]) -> None:
    if count != len(indices):
        raise StageError(f"{path}: {len(indices)} frames expected, a decoder returned {count}")
