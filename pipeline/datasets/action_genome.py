"""Reader of Action Genome's two pickles, which contain the boxes and relations of frames."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.locate import OBJECTS_PKL, PERSONS_PKL
from pipeline.datasets.restricted_pickle import load_restricted
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError

_KEY = re.compile(r"(.+)\.mp4/(\d{1,9})\.png", re.DOTALL)
_GROUPS = {
    "attention": "attention_relationship",
    "spatial": "spatial_relationship",
    "contacting": "contacting_relationship",
}


@dataclass(frozen=True)
class FrameAnnotation:
    """Annotated boxes and relations of one frame.

    Attributes:
        frame_index: 0-based frame index in ffmpeg's dump. The release counts from 1.
        boxes: (N, 4) float32 boxes (x1, y1, x2, y2) in pixels, as released. They may extend
            slightly beyond the frame. The person's box, if there is one, comes first.
        labels: (N,) int64 indices of the object classes. Class 0 is the person.
        predicates: (N, R) bool. Entry (n, r) is True if predicate r is annotated for the person and
            object n. Spatial predicates point from the object to the person. All other predicates
            point from the person to the object. The row of the person is False.
        image_size: (height, width) of the annotated image, or None if unknown.
        split: `train` or `test`, or None if unknown.
    """

    frame_index: int
    boxes: Tensor
    labels: Tensor
    predicates: Tensor
    image_size: tuple[int, int] | None
    split: str | None


@dataclass(frozen=True)
class ActionGenome:
    """Annotated frames of all videos.

    Attributes:
        videos: mapping from video id to its annotated frames, in increasing order of index.
        errors: mapping from video id to the reason why its annotation cannot be used.
    """

    videos: dict[str, tuple[FrameAnnotation, ...]]
    errors: dict[str, str]


def read_action_genome(files: dict[str, Path], vocabulary: Vocabulary) -> ActionGenome:
    """Read both pickles, including videos with only one or two annotated frames.

    Args:
        files: mapping from release name to path, as returned by `locate`.
        vocabulary: names of the object classes and predicates.

    Returns:
        Annotated frames of all videos; empty if neither pickle is in `files`.

    Raises:
        UsageError: if only one of the pickles exists, or a pickle is damaged, is not a dict, or
            refers to code.
    """
    there = [name for name in (OBJECTS_PKL, PERSONS_PKL) if name in files]
    if not there:
        return ActionGenome({}, {})
    if len(there) == 1:
        absent = PERSONS_PKL if there[0] == OBJECTS_PKL else OBJECTS_PKL
        raise UsageError(f"--annotations: {absent} expected beside {files[there[0]]}, not found")
    objects, persons = (load_restricted(files[name]) for name in (OBJECTS_PKL, PERSONS_PKL))
    for name, tree in ((OBJECTS_PKL, objects), (PERSONS_PKL, persons)):
        if not isinstance(tree, dict):
            raise UsageError(f"{files[name]}: a dict of frames expected, got {type(tree).__name__}")
    frames: dict[str, list[FrameAnnotation]] = {}
    errors: dict[str, str] = {}
    for key in objects.keys() | persons.keys():
        video_id = str(key).split(".mp4/")[0]
        try:
            video_id, index = _parse_key(key)
            frame = _frame(index, objects.get(key), persons.get(key), vocabulary)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            errors.setdefault(video_id[:128], f"{OBJECTS_PKL}: {str(key)[:80]!r}: {error}")
            continue
        frames.setdefault(video_id, []).append(frame)
    videos = {
        video_id: tuple(sorted(rows, key=lambda frame: frame.frame_index))
        for video_id, rows in frames.items()
        if video_id not in errors
    }
    return ActionGenome(videos, errors)


def _parse_key(key: Any) -> tuple[str, int]:
    match = _KEY.fullmatch(key) if isinstance(key, str) else None
    if match is None or int(match[2]) < 1:
        raise ValueError("key of the form 'ID.mp4/000001.png', counted from 1, expected")
    if not is_safe_id(match[1]):
        raise ValueError("id of letters, digits, '.', '_' and '-' expected")
    return match[1], int(match[2]) - 1


def _frame(index: int, objects: Any, person: Any, vocabulary: Vocabulary) -> FrameAnnotation:
    boxes: list[list[float]] = []
    labels: list[int] = []
    predicates: list[list[bool]] = []
    size = None
    none = [False] * len(vocabulary.predicates)
    if person is not None:
        rows = np.asarray(person["bbox"], dtype=np.float64).reshape(-1, 4)
        if len(rows):
            boxes.append(_checked(rows[0].tolist()))
            labels.append(0)
            predicates.append(none)
        if person.get("bbox_size") is not None:
            width, height = (int(v) for v in person["bbox_size"])
            size = (height, width)
    split = None
    for entry in objects or []:
        split = split or (entry.get("metadata") or {}).get("set")
        if not entry["visible"]:
            continue
        x, y, w, h = (float(v) for v in entry["bbox"])
        boxes.append(_checked([x, y, x + w, y + h]))
        labels.append(vocabulary.object_index(entry["class"]))
        predicates.append(_predicates(entry, vocabulary))
    return FrameAnnotation(
        index,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(predicates, dtype=torch.bool).reshape(-1, len(none)),
        size,
        split,
    )


def _checked(box: list[float]) -> list[float]:
    x1, y1, x2, y2 = box
    if not (np.isfinite(box).all() and x1 <= x2 and y1 <= y2 and max(map(abs, box)) < 1e6):
        raise ValueError(f"finite box with x1 <= x2 and y1 <= y2 expected, got {box}")
    return box


def _predicates(entry: dict[str, Any], vocabulary: Vocabulary) -> list[bool]:
    row = [False] * len(vocabulary.predicates)
    for group, key in _GROUPS.items():
        for name in entry.get(key) or ():
            index = vocabulary.predicate_index(name)
            if vocabulary.predicates[index] not in vocabulary.predicate_groups.get(group, ()):
                raise ValueError(f"{key}: a predicate of the group {group} expected, got {name!r}")
            row[index] = True
    return row
