"""Annotated frames from COCO files or Action Genome's pickles."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.datasets import read_annotations
from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError

_NAME = re.compile(r"(?P<video>[^/]+)\.mp4/(?P<number>\d{1,9})\.png")


@dataclass(frozen=True)
class Sample:
    """One annotated frame.

    Attributes:
        video_id: id of the video.
        number: 1-based number of the frame in ffmpeg's dump.
        boxes: (M, 4) float32, xyxy in pixels of the frame. Boxes without area are removed.
        labels: (M,) int64 object classes. Class 0 is the person.
        is_crowd: (M,) bool. Crowd boxes are not used in training and are ignored in evaluation.
    """

    video_id: str
    number: int
    boxes: Tensor
    labels: Tensor
    is_crowd: Tensor

    @property
    def image(self) -> str:
        """Path of the image below the folder of frames, as in Action Genome's dump."""
        return f"{self.video_id}.mp4/{self.number:06d}.png"


def read_samples(folder: Path, split: str, vocabulary: Vocabulary) -> list[Sample]:
    """Read the annotated frames of a split, sorted by video and frame.

    If the COCO file of the split (`coco_train.json` or `coco_test.json`) exists, it is read. COCO
    files annotate every object of a frame. Otherwise, Action Genome's pickles are read, with their
    own split. The pickles annotate only the objects with which the person interacts.

    Args:
        folder: folder of the annotation files.
        split: `train` or `test`.
        vocabulary: names of the object classes.

    Raises:
        UsageError: if no annotation file exists, a file is invalid, or the split has no frames.
    """
    path = folder / f"coco_{split}.json"
    samples = (
        _from_coco(path, vocabulary)
        if path.is_file()
        else _from_action_genome(folder, split, vocabulary)
    )
    if not samples:
        raise UsageError(
            f"--annotations: annotated frames of the {split} split expected, found none"
        )
    return sorted(samples, key=lambda s: (s.video_id, s.number))


def _from_action_genome(folder: Path, split: str, vocabulary: Vocabulary) -> list[Sample]:
    annotations = read_annotations([folder], vocabulary)
    return [
        _sample(video_id, frame.frame_index + 1, frame.boxes, frame.labels)
        for video_id, clip in annotations.videos.items()
        for frame in clip.frames
        if (frame.split or clip.split) == split
    ]


def _from_coco(path: Path, vocabulary: Vocabulary) -> list[Sample]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        classes = _classes(tree["categories"], vocabulary, path)
        rows: dict[int, list[tuple[list[float], int, bool]]] = {}
        for entry in tree["annotations"]:
            if int(entry["category_id"]) not in classes:
                raise ValueError(f"category_id {entry['category_id']} is not among the categories")
            x, y, w, h = map(float, entry["bbox"])
            label, crowd = classes[int(entry["category_id"])], bool(entry.get("iscrowd", 0))
            row = ([x, y, x + w, y + h], label, crowd)
            rows.setdefault(int(entry["image_id"]), []).append(row)
        samples = []
        ids = [int(image["id"]) for image in tree["images"]]
        if len(set(ids)) < len(ids):
            raise ValueError("unique image ids expected, but an id is repeated")
        for image in tree["images"]:
            video_id, number = _parse(str(image["file_name"]), path)
            mine = rows.get(int(image["id"]), [])
            boxes = torch.tensor([r[0] for r in mine], dtype=torch.float32).view(-1, 4)
            labels = torch.tensor([r[1] for r in mine], dtype=torch.int64)
            crowds = torch.tensor([r[2] for r in mine], dtype=torch.bool)
            samples.append(_sample(video_id, number, boxes, labels, crowds))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UsageError(f"{path}: COCO annotations expected: {error!r}") from error
    return samples


def _classes(categories: Any, vocabulary: Vocabulary, path: Path) -> dict[int, int]:
    names = {str(c["name"]): int(c["id"]) for c in categories}
    if len(names) < len(categories) or len(set(names.values())) < len(names):
        raise UsageError(f"{path}: unique category names and ids expected, but one is repeated")
    unknown = sorted(names.keys() - set(vocabulary.objects))
    if unknown:
        raise UsageError(
            f"{path}: categories of the vocabulary expected, got {unknown[0]!r}; use the names "
            f"{', '.join(vocabulary.objects[:3])}, ..."
        )
    return {number: vocabulary.objects.index(name) for name, number in names.items()}


def _parse(name: str, path: Path) -> tuple[str, int]:
    found = _NAME.fullmatch(name)
    if not found or not is_safe_id(found["video"]):
        raise UsageError(f"{path}: a file_name such as ID.mp4/000001.png expected, got {name!r}")
    return found["video"], int(found["number"])


def _sample(
    video_id: str, number: int, boxes: Tensor, labels: Tensor, is_crowd: Tensor | None = None
) -> Sample:
    crowd = torch.zeros(len(boxes), dtype=torch.bool) if is_crowd is None else is_crowd
    good = torch.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    return Sample(video_id, number, boxes[good], labels[good], crowd[good])
