"""What an extraction will take, told before anything runs."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.cache.union_features import stored_channels
from pipeline.extraction.job import ExtractionJob
from pipeline.extraction.steps import Outcome, Steps, Task
from pipeline.runtime.progress import duration

#: Pairs per frame with detected boxes until the cache holds clips to measure.
ASSUMED_PAIRS = 8.0
_CELLS = 7 * 7


def estimate(job: ExtractionJob, steps: Steps, tasks: Sequence[Task]) -> str:
    """Counts, time and disk of an extraction; builds no network and writes nothing.

    Videos are hashed, as the extraction does, so that what would be skipped is known. Time and disk
    per frame are those of the clips that the cache holds; where it holds none, disk follows from
    the shapes of the features, and for time a few videos have to be extracted first.

    Returns:
        Lines to print.
    """
    todo, counts = _examine(steps, tasks)
    frames = sum(_num_frames(job, task) for task in todo)
    lines = [
        f"found {len(tasks)}: {counts['skipped']} done before, {counts['failed']} would fail, "
        f"{len(todo)} to do with {frames} frames"
    ]
    size, how = _bytes(job, steps, todo, frames)
    free = shutil.disk_usage(_existing(steps.cache)).free
    lines.append(f"disk: {size / 1e9:.3g} GB ({how}); {free / 1e9:.3g} GB are free")
    if size > free:
        lines.append("that does not fit: give another --cache, fewer frames.num, or another union")
    seconds = _seconds_per_frame(steps.cache)
    if seconds is None:
        lines.append("time: not known until some videos are done; try: --limit 20")
    else:
        lines.append(
            f"time: {duration(seconds * frames)} ({seconds:.3g} s a frame, as in the last run here)"
        )
    return "\n".join(lines)


def _examine(steps: Steps, tasks: Sequence[Task]) -> tuple[list[Task], Counter[str]]:
    manifest, todo, counts = Manifest(steps.cache), [], Counter[str]()
    for task in tqdm(tasks, desc="dry run", unit="video", disable=None):
        found = steps.examine(task, manifest)
        if isinstance(found, Outcome):
            counts[found.status] += 1
        elif found.request is not None:
            todo.append(task)
        else:
            counts["skipped"] += 1  # only predictions are to be added
    return todo, counts


def _num_frames(job: ExtractionJob, task: Task) -> int:
    """Frames that will be taken, if the video is long enough."""
    annotated = len(task.annotation.frames) if task.annotation else 0
    return annotated if _is_given(job) else job.config.frames.num + annotated


def _bytes(
    job: ExtractionJob, steps: Steps, todo: Sequence[Task], frames: int
) -> tuple[float, str]:
    rows = list(read_manifest(steps.cache).values())
    measured = sum(int(row.get("frames", 0)) for row in rows)
    if measured:
        per_frame = sum(int(row.get("bytes", 0)) for row in rows) / measured
        how = f"{per_frame / 1e6:.3g} MB a frame, as the {len(rows)} clips here"
        return per_frame * frames, how
    if _is_given(job):
        annotated = [f for task in todo if task.annotation for f in task.annotation.frames]
        boxes = float(sum(len(frame.boxes) for frame in annotated))
        pairs, how = boxes - len(annotated), "annotated pairs"
    else:
        pairs, boxes = ASSUMED_PAIRS * frames, (ASSUMED_PAIRS + 1) * frames
        how = f"{ASSUMED_PAIRS:g} pairs a frame assumed"
    widths = job.detector.feature_widths
    if widths is None:
        return 0.0, "widths of detectron2's configuration are not known here"
    box_features, union_channels = widths[0], stored_channels(job.config.union.value, widths[1])
    per_box = 2 * (box_features + len(steps.objects)) + 4 * 4 + 8 + 4
    per_pair = 2 * _CELLS * union_channels + 2 * 8
    return boxes * per_box + pairs * per_pair, how


def measured(cache: Path, written: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What a run took, for later estimates; where it wrote nothing, what the one before took.

    `written` are the manifest lines of what the run wrote, by id.

    Returns:
        `seconds`, and the sums of `frames`, `boxes`, `pairs`, `bytes`; empty if nothing is known.
    """
    if not written:
        return next(iter(_measured(cache)), {})
    names = ("frames", "boxes", "pairs", "bytes")
    sums = {name: sum(row.get(name, 0) for row in written.values()) for name in names}
    return {"seconds": round(seconds, 3)} | sums


def _seconds_per_frame(cache: Path) -> float | None:
    """Of the last run in a cache that wrote something."""
    for tree in _measured(cache):
        with suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
            return float(tree["seconds"]) / int(tree["frames"])
    return None


def _measured(cache: Path) -> list[dict[str, Any]]:
    """What the runs of a cache say they took, the last one first."""
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
