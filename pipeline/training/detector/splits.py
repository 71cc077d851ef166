"""Splits of annotated images from COCO files or Action Genome's pickles."""

from pathlib import Path

from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError
from pipeline.training.detector.coco import read_coco
from pipeline.training.detector.samples import Sample, check_boxes, read_action_genome_samples


def read_samples(folder: Path, split: str, vocabulary: Vocabulary) -> list[Sample]:
    """Read the annotated images of a split, sorted by video and frame or by path.

    If the COCO file of the split (`coco_train.json` or `coco_test.json`) exists, it is read. COCO
    files annotate every object of an image. Otherwise, Action Genome's pickles are read, with their
    own split. The pickles annotate only the objects with which the person interacts.

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
