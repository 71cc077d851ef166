"""Tasks of the videos of a command."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.datasets import Annotations
from pipeline.datasets.video_files import VideoFile
from pipeline.engine.stage import FoundT, ResultT, Stage, Task
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.failures import Failures


def make_tasks(
    stage: Stage[FoundT, ResultT],
    videos: Iterable[VideoFile],
    failures: Failures,
    *,
    retry: bool,
    annotations: Annotations | None = None,
    folder: Path | None = None,
    checksums: Mapping[Path, str] | None = None,
) -> list[Task]:
    """Return a task per video file.

    Each further file with the id of another file has an error.

    Args:
        stage: the stage.
        videos: the videos.
        failures: failures of earlier runs.
        retry: whether to retry videos that failed before with the same bytes and settings.
        annotations: annotations of the videos, or None.
        folder: folder of the videos, or None if they have no common folder.
        checksums: mapping from the path of a video to its expected SHA-256.
    """
    tasks, seen = list[Task](), dict[str, Path]()
    for video in videos:
        item, error, annotation = video.video_id, None, None
        if item in seen:
            error = ItemError(
                FailureReason.DUPLICATE_ID,
                f"{video.path}: one file per id expected, {seen[item]} has the same id; rename one "
                "of them, or make ids from relative paths with --ids path",
            )
            video = VideoFile(video.path, _name_of_double(video, folder))
        else:
            seen[item] = video.path
            try:
                annotation = annotations.of_video(item) if annotations else None
            except ItemError as bad:
                error = bad
        expected = (checksums or {}).get(video.path)
        key = stage.failure_fingerprint(annotation, str(error) if error else None, expected)
        failed = failures.known(video.video_id)
        known = failed.input_sha256 if failed and failed.settings == key and not retry else None
        tasks.append(Task(video, annotation, known or None, key, error, expected))
    return tasks


def item_names(videos: Iterable[VideoFile], folder: Path | None) -> set[str]:
    """Return the names of videos in `failures.jsonl`.

    The name of a video is its id. If another file has the same id, the name also contains
    the path.
    """
    return {name for v in videos for name in (v.video_id, _name_of_double(v, folder))}


def _name_of_double(video: VideoFile, folder: Path | None) -> str:
    path = video.path if folder is None else os.path.relpath(video.path, folder)
    return f"{video.video_id} ({path})"
