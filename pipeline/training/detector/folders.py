"""Annotated images of a dataset, from folders of frames."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.datasets import ClipAnnotation, FrameAnnotation, ReadOptions, read_dataset
from pipeline.datasets.video_files import list_videos
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.decoding.frame_folder import images_by_number
from pipeline.errors import FailureReason, ItemError
from pipeline.samples.folds import Fold, find_fold
from pipeline.training.detector.samples import Sample, usable_boxes
from pipeline.training.detector.settings import DetectorTraining


def read_frame_folders(
    config: DetectorTraining,
    names: Sequence[str],
    vocabulary: Vocabulary,
    *,
    annotations: Path,
    frames: Path,
) -> tuple[dict[str, list[Sample]], dict[str, ItemError]]:
    """Read the annotated frames of splits of a dataset, with all of their visible boxes.

    The name of a folder of frames is the id of its video, as in an extraction. In a dataset with
    folds, the videos of the test subjects of `config.fold` are the test split, and all other videos
    are the training split.

    Args:
        config: settings of the training run, of which `dataset` and `fold` are used.
        names: names of the splits, `train` or `test`.
        vocabulary: names of the object classes.
        annotations: folder of the annotation files.
        frames: folder that contains the folders of frames, possibly in subfolders.

    Returns:
        A tuple of two dicts. The first one maps the name of each split to its images, sorted by
        video and frame. The second one maps the id of each unusable video to its error:
        BAD_ANNOTATION if its annotation is faulty or has another number of frames than the folder,
        MISSING_VIDEO or DUPLICATE_ID if not exactly one folder has its id; see also
        `images_by_number`.

    Raises:
        UsageError: if the dataset has folds and `fold` is not one of them, or it has none and a
            fold is given. If there is no folder of frames, see also `read_dataset`.
    """
    options = ReadOptions(every_box=True)
    found = read_dataset(config.dataset.value, [annotations], vocabulary, options)
    fold = find_fold(config.fold, found.folds)
    folders: dict[str, list[Path]] = {}
    for video in list_videos(frames, dumped=True, flag="--frames"):
        folders.setdefault(video.video_id, []).append(video.path)
    splits: dict[str, list[Sample]] = {name: [] for name in names}
    failures = {
        video_id: ItemError(FailureReason.BAD_ANNOTATION, problem)
        for video_id, problem in found.errors.items()
    }
    for video_id, clip in sorted(found.videos.items()):
        chosen = [(_split_of(frame, clip, fold), frame) for frame in clip.frames]
        chosen = [(split, frame) for split, frame in chosen if split in splits]
        try:
            images = _images(folders.get(video_id, []), clip) if chosen else {}
        except ItemError as error:
            failures[video_id] = error
            continue
        for split, frame in chosen:
            image = images[frame.frame_index + 1].relative_to(frames).as_posix()
            size = frame.image_size and frame.image_size[::-1]
            splits[str(split)].append(Sample(image, *usable_boxes(frame), size, video_id))
    return splits, failures


def _split_of(frame: FrameAnnotation, clip: ClipAnnotation, fold: Fold | None) -> str | None:
    if fold is None:
        return frame.split or clip.split
    return "test" if fold.has("test", clip.video_id, clip.subject) else "train"


def _images(folders: Sequence[Path], clip: ClipAnnotation) -> dict[int, Path]:
    """Return the images of a video by their number, which is 1 for the first frame.

    Raises:
        ItemError: see `read_frame_folders`.
    """
    if len(folders) != 1:
        reason = FailureReason.DUPLICATE_ID if folders else FailureReason.MISSING_VIDEO
        got = ", ".join(map(str, folders)) or "none"
        raise ItemError(
            reason, f"--frames: one folder {clip.video_id} of frames expected, got {got}"
        )
    images = images_by_number(folders[0])
    last = clip.num_frames or clip.frames[-1].frame_index + 1
    missing = [number for number in range(1, last + 1) if number not in images]
    if missing or (clip.num_frames is not None and len(images) > last):
        raise ItemError(
            FailureReason.BAD_ANNOTATION,
            f"{folders[0]}: the frames 1 to {last} expected as in the annotation, got "
            f"{len(images)} frames from {min(images)} to {max(images)}; use all frames of the "
            "video that was annotated",
        )
    return images
