"""Splits of annotated images."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.schema import Dataset
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import ItemError, UsageError
from pipeline.samples.folds import find_fold
from pipeline.training.detector.coco import read_coco
from pipeline.training.detector.folders import read_frame_folders
from pipeline.training.detector.samples import Sample, check_boxes, read_action_genome_samples
from pipeline.training.detector.settings import DetectorTraining


def read_splits(
    config: DetectorTraining,
    names: Sequence[str],
    vocabulary: Vocabulary,
    *,
    annotations: Path,
    frames: Path,
) -> tuple[dict[str, list[Sample]], dict[str, ItemError]]:
    """Read the annotated images of splits, as the settings select them.

    With `dataset=charades`, they are those of `read_samples`. With any other dataset, they are
    those of `read_frame_folders`. Of each video, each `training.frame_stride`-th image is returned.

    Args:
        config: settings of the training run.
        names: names of the splits, `train` or `test`.
        vocabulary: names of the object classes.
        annotations: folder of the annotation files.
        frames: folder that contains the images.

    Returns:
        A tuple of two dicts. The first one maps the name of each split to its images, sorted by
        video and frame or by path. The second one maps the id of each unusable video to its error.

    Raises:
        UsageError: if the dataset has folds and `fold` is not one of them, or it has none and a
            fold is given, see also `read_samples` and `read_frame_folders`.
    """
    failures: dict[str, ItemError] = {}
    if config.dataset is Dataset.charades:
        find_fold(config.fold, {})
        splits = {name: read_samples(annotations, name, vocabulary) for name in names}
    else:
        splits, failures = read_frame_folders(
            config, names, vocabulary, annotations=annotations, frames=frames
        )
    stride = config.training.frame_stride
    return {name: _each_nth(samples, stride) for name, samples in splits.items()}, failures


def _each_nth(samples: Sequence[Sample], stride: int) -> list[Sample]:
    """Return each `stride`-th image of each video, of samples that are sorted by video."""
    videos = itertools.groupby(samples, key=lambda sample: sample.source)
    return [sample for _, images in videos for sample in itertools.islice(images, 0, None, stride)]


def read_samples(folder: Path, split: str, vocabulary: Vocabulary) -> list[Sample]:
    """Read the annotated images of a split from COCO files or Action Genome's pickles.

    The images are sorted by video and frame or by path. If the COCO file of the split
    (`coco_train.json` or `coco_test.json`) exists, it is read. COCO files annotate every object of
    an image. Otherwise, Action Genome's pickles are read, with their own split. The pickles
    annotate only the objects with which the person interacts.

    Args:
        folder: folder of the annotation files.
        split: `train` or `test`.
        vocabulary: names of the object classes.

    Raises:
        UsageError: if no annotation file exists, a file is invalid, or the split has no images or
            no boxes.
    """
    path = folder / f"coco_{split}.json"
    if path.is_file():
        samples = read_coco(path, vocabulary)
    else:
        samples = read_action_genome_samples(folder, split, vocabulary)
    if not samples:
        raise UsageError(
            f"--annotations: annotated frames of the {split} split expected, found none"
        )
    check_boxes(samples, split, str(path) if path.is_file() else "--annotations")
    return sorted(samples, key=lambda s: (s.source, s.frame[1] if s.frame else 0))
