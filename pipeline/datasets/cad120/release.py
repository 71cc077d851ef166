"""Annotations, clips and test subjects of all videos, from all files of the release."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.cad120.clips import ClipLine, read_clips
from pipeline.datasets.cad120.files import CLIPS, KNOWLEDGE, SPLITS, find_root, find_videos
from pipeline.datasets.cad120.knowledge import Knowledge, read_knowledge
from pipeline.datasets.cad120.splits import read_folds
from pipeline.datasets.cad120.videos import VideoAnnotation, read_video


@dataclass(frozen=True)
class Release:
    """Content of the release.

    Attributes:
        knowledge: names of the actions, objects and relations, and the rules.
        folds: mapping from the number of each fold, such as `1`, to its test subjects.
        videos: mapping from video id to annotation, of all valid videos.
        clips: mapping from video id to its spans in the order of `video_clips.txt`, of all valid
            videos that have any.
        errors: mapping from video id to the reason why its annotation cannot be used.
        faulty: the same as `clips`, of the videos in `errors` with valid lines.
        files: mapping from video id to the file of its annotation, or to `video_clips.txt` for a
            faulty video without exactly one regular file.
    """

    knowledge: Knowledge
    folds: dict[str, tuple[str, ...]]
    videos: dict[str, VideoAnnotation]
    clips: dict[str, tuple[ClipLine, ...]]
    errors: dict[str, str]
    faulty: dict[str, tuple[ClipLine, ...]]
    files: dict[str, Path]


def read_release(folders: Sequence[Path]) -> Release:
    """Read all files of the release.

    Args:
        folders: folders that contain the release, possibly in subfolders.

    Returns:
        Annotations of all videos. A video with a malformed file, a malformed line or a span beyond
        its last frame is listed in `errors`, and in `faulty` if its lines are valid.

    Raises:
        UsageError: if there is no release or more than one, a part of it is missing, or a text file
            is malformed; see `find_root`, `read_knowledge`, `read_clips` and `read_folds`.
    """
    root = find_root(folders)
    knowledge = read_knowledge(root / KNOWLEDGE)
    paths, errors = find_videos(root)
    folds = read_folds(root / SPLITS, {path.parts[-3] for path in paths.values()})
    listed = read_clips(root / CLIPS, knowledge.actions)
    for video_id, problem in listed.errors.items():
        errors.setdefault(video_id, problem)
    videos: dict[str, VideoAnnotation] = {}
    for video_id in sorted(paths.keys() - errors.keys()):
        try:
            videos[video_id] = read_video(paths[video_id], knowledge)
        except (OSError, ValueError) as error:
            errors[video_id] = str(error)
    clips = _by_video(listed.lines)
    for video_id in clips.keys() - errors.keys():
        try:
            _check(clips[video_id], videos.get(video_id))
        except ValueError as error:
            errors[video_id] = f"{CLIPS}: {error}"
    return Release(
        knowledge,
        folds,
        {video_id: video for video_id, video in videos.items() if video_id not in errors},
        {video_id: lines for video_id, lines in clips.items() if video_id not in errors},
        errors,
        {video_id: lines for video_id, lines in clips.items() if video_id in errors},
        dict.fromkeys(errors, root / CLIPS)
        | {video_id: path for video_id, path in paths.items() if path.is_file()},
    )


def _by_video(lines: Iterable[ClipLine]) -> dict[str, tuple[ClipLine, ...]]:
    found: dict[str, list[ClipLine]] = {}
    for line in lines:
        found.setdefault(line.video_id, []).append(line)
    return {video_id: tuple(listed) for video_id, listed in found.items()}


def _check(lines: Sequence[ClipLine], video: VideoAnnotation | None) -> None:
    """Check that the spans of a video fit to its annotation."""
    for line in lines:
        if video is None or (line.subject, line.activity) != (video.subject, video.activity):
            found = "none" if video is None else f"one of {video.subject}/{video.activity}"
            raise ValueError(
                f"a file all/{line.subject}/{line.activity}/{line.video_id}.json expected, found "
                f"{found}"
            )
        if line.last >= video.num_frames:
            raise ValueError(
                f"spans within the {video.num_frames} annotated frames of the video expected, got "
                f"the frames {line.first + 1} to {line.last + 1}"
            )
