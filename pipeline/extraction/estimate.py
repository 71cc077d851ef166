"""Estimate of the time and disk space of an extraction."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.cache.manifest import ManifestRow, read_manifest
from pipeline.cache.union_features import stored_channels
from pipeline.engine.stage import Outcome, Task, examine
from pipeline.extraction.job import ExtractionJob
from pipeline.extraction.steps import Steps
from pipeline.runtime.progress import duration

#: Assumed number of pairs per frame with detected boxes, used if the cache contains no clips.
ASSUMED_PAIRS = 8.0
_CELLS = 7 * 7


def estimate(job: ExtractionJob, steps: Steps, tasks: Sequence[Task]) -> str:
    """Estimate the counts, the time and the disk space of an extraction.

    The function builds no network and writes no files. It hashes the videos to find the videos that
    the extraction would skip. The disk space per frame is the mean over the clips in the cache. If
    the cache is empty, the disk space is computed from the shapes of the features. The time per
    frame is taken from the last run on the cache, and is unknown if there is no such run.

    Args:
        job: inputs of the extraction.
        steps: steps of the extraction.
        tasks: videos of the extraction.

    Returns:
        Text to print.
    """
    todo, counts = _examine(steps, tasks)
    frames = sum(_num_frames(job, task) for task in todo)
    lines = [
        f"found {len(tasks)}: {counts['skipped']} already done, {counts['failed']} would fail, "
        f"{len(todo)} to extract with {frames} frames"
    ]
    if job.coverage is not None:
        lines.append(str(job.coverage))
    if job.ignored:
        lines.append(f"ignored, no videos: {ignored_text(job.ignored)}")
    size, how = _bytes(job, steps, todo, frames)
    free = shutil.disk_usage(_existing(steps.cache)).free
    lines.append(f"disk: {size / 1e9:.3g} GB ({how}); {free / 1e9:.3g} GB free")
    if size > free:
        lines.append(
            "not enough disk space: use another --cache, a lower frames.num, or another union"
        )
    seconds = _seconds_per_frame(steps.cache)
    if seconds is None:
        lines.append("time: unknown until some videos are extracted; run with --limit 20 first")
    else:
        lines.append(
            f"time: {duration(seconds * frames)} ({seconds:.3g} s per frame, as in the last run)"
        )
    return "\n".join(lines)


def ignored_text(ignored: Mapping[str, int]) -> str:
    """Return the numbers of ignored files, such as "3 .txt, 1 without suffix"."""
    return ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in ignored.items())


def _examine(steps: Steps, tasks: Sequence[Task]) -> tuple[list[Task], Counter[str]]:
    todo, counts = list[Task](), Counter[str]()
    for task in tqdm(tasks, desc="dry run", unit="video", disable=None):
        found = examine(steps, task)
        if isinstance(found, Outcome):
            counts[found.status] += 1
        elif found.request is not None:
            todo.append(task)
        else:
            counts["skipped"] += 1  # only predicted relations are missing
    return todo, counts


def _num_frames(job: ExtractionJob, task: Task) -> int:
    """Return the number of frames to extract, assuming that the video is long enough."""
    annotated = len(task.annotation.frames) if task.annotation else 0
    return annotated if _is_given(job) else job.config.frames.num + annotated


def _bytes(
    job: ExtractionJob, steps: Steps, todo: Sequence[Task], frames: int
) -> tuple[float, str]:
    rows = list(read_manifest(steps.cache).values())
    measured = sum(row.frames for row in rows)
    if measured:
        per_frame = sum(row.bytes for row in rows) / measured
        how = f"{per_frame / 1e6:.3g} MB per frame, as in the {len(rows)} clips of the cache"
        return per_frame * frames, how
    if _is_given(job):
        annotated = [f for task in todo if task.annotation for f in task.annotation.frames]
        boxes = float(sum(len(frame.boxes) for frame in annotated))
        pairs, how = boxes - len(annotated), "annotated pairs"
    else:
        pairs, boxes = ASSUMED_PAIRS * frames, (ASSUMED_PAIRS + 1) * frames
        how = f"assuming {ASSUMED_PAIRS:g} pairs per frame"
    widths = job.detector.feature_widths
    if widths is None:
        return 0.0, "unknown before detectron2 builds the network"
    box_features, union_channels = widths[0], stored_channels(job.config.union.value, widths[1])
    per_box = 2 * (box_features + len(steps.vocabulary.objects)) + 4 * 4 + 8 + 4
    per_pair = 2 * _CELLS * union_channels + 2 * 8
    return boxes * per_box + pairs * per_pair, how


def measured(cache: Path, written: Mapping[str, ManifestRow], seconds: float) -> dict[str, Any]:
    """Return the measurements of a run, which later estimates use.

    If the run has written no clips, the measurements of the last run with clips are returned.

    Args:
        cache: folder of the cache.
        written: mapping from the id of each clip that the run wrote to its manifest line.
        seconds: duration of the run.

    Returns:
        A dict of `seconds` and the sums of `frames`, `boxes`, `pairs` and `bytes`. It is empty if
        no run has written clips.
    """
    if not written:
        return next(iter(_measured(cache)), {})
    names = ("frames", "boxes", "pairs", "bytes")
    sums = {name: sum(getattr(row, name) for row in written.values()) for name in names}
    return {"seconds": round(seconds, 3)} | sums


def _seconds_per_frame(cache: Path) -> float | None:
    """Return the time per frame of the last run on a cache that wrote clips."""
    for tree in _measured(cache):
        with suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
            return float(tree["seconds"]) / int(tree["frames"])
    return None


def _measured(cache: Path) -> list[dict[str, Any]]:
    """Return the measurements in the run records of a cache, starting with the last run."""
    found = []
    for path in cache.glob("run*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            tree = json.loads(path.read_text(encoding="utf-8"))
            if tree["measured"]:
                found.append((str(tree["started"]), tree["measured"]))
    return [tree for _, tree in sorted(found, key=lambda row: row[0], reverse=True)]


def _is_given(job: ExtractionJob) -> bool:
    return job.config.boxes.value == "ground-truth"


def _existing(folder: Path) -> Path:
    return next(p for p in (folder, *folder.absolute().parents) if p.exists())
