"""Folder of a world, which an interrupted run resumes."""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically

Job = tuple[str, int]
Record = dict[str, Any]
_PARTS, _MADE_FROM = ".parts", "made_from.json"


@dataclass(frozen=True)
class Plan:
    """Content of the folder of a world.

    Attributes:
        made_from: version and settings of the world; a folder contains only one world.
        videos: name of the folder of the videos.
        last: path of the last file that is written.
        jobs: group and number of each video.
        make: function that writes a video and its record `ID.json`, unless both exist. Its
            arguments are the group and the number of the video, the folder of the videos and the
            folder of the records. It returns the id of the video, and runs in other processes.
        release: function that writes the annotations from the records, in the order of `jobs`.
    """

    made_from: dict[str, Any]
    videos: str
    last: str
    jobs: list[Job]
    make: Callable[[str, int, Path, Path], str]
    release: Callable[[list[Record]], None]


def write_folder(out: Path, plan: Plan, workers: int) -> None:
    """Write a world, or resume an interrupted run.

    Args:
        out: folder of the world.
        plan: content of the folder.
        workers: number of processes.

    Raises:
        UsageError: if the folder contains another world or other files.
    """
    made_from, known = json.loads(json.dumps(plan.made_from)), out / _MADE_FROM
    if known.is_file():
        found = json.loads(known.read_text(encoding="utf-8"))
        if found != made_from:
            raise UsageError(
                f"--out: {out} contains another world: {_difference(found, made_from)}"
            )
        if (out / plan.last).is_file():
            return
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out: a new or empty folder expected, got {out}")
    videos, parts = out / plan.videos, out / _PARTS
    videos.mkdir(parents=True, exist_ok=True)
    parts.mkdir(exist_ok=True)
    write_atomically(known, (json.dumps(made_from, indent=2) + "\n").encode())
    for left in videos.glob(".*.tmp.mp4"):
        left.unlink()
    made = _make(plan, videos, parts, workers)
    ids = dict(tqdm(made, total=len(plan.jobs), desc="synthesize", unit="video", disable=None))
    records = [
        json.loads((parts / f"{ids[job]}.json").read_text(encoding="utf-8")) for job in plan.jobs
    ]
    plan.release(records)
    shutil.rmtree(parts)


def _make(plan: Plan, videos: Path, parts: Path, workers: int) -> Iterator[tuple[Job, str]]:
    if workers == 1:
        for job in plan.jobs:
            yield job, plan.make(*job, videos, parts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            started = {pool.submit(plan.make, *job, videos, parts): job for job in plan.jobs}
            for done in as_completed(started):
                yield started[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    old_format, new_format = (tree.get("format", "charades") for tree in (found, wanted))
    if old_format != new_format:
        return f"format {old_format}, not {new_format}; use another folder"
    for key in wanted:
        old, new = found.get(key), wanted[key]
        if old != new and isinstance(old, dict) and isinstance(new, dict):
            name = next(k for k in new if old.get(k) != new[k])
            return f"{name}={old.get(name)}, not {name}={new[name]}; use another folder"
    return f"version {found.get('version')}, not {wanted['version']}; use another folder"
