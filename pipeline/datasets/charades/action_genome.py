"""Reader of Action Genome's two pickles, which contain the boxes and relations of frames."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.datasets.annotations import FrameAnnotation
from pipeline.datasets.charades.locate import OBJECTS_PKL, PERSONS_PKL
from pipeline.datasets.charades.pickle_values import (
    boxes_of,
    described,
    flag_of,
    names_of,
    text_of,
    value_of,
)
from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.restricted_pickle import load_restricted
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError

_KEY = re.compile(r"(.+)\.mp4/(\d{1,9})\.png", re.DOTALL)
#: Suffix of the keys of relations: those of the group `spatial` are in `spatial_relationship`.
_RELATIONS = "_relationship"
_MODES = ("xyxy", "xywh")
_SPLITS = ("train", "test")


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
        video_id, name = str(key).split(".mp4/")[0], files[OBJECTS_PKL].name
        try:
            video_id, index = _parse_key(key)
            labelled = _objects(objects.get(key), vocabulary)
            name = files[PERSONS_PKL].name
            frame = _frame(index, labelled, *_person(persons.get(key)), vocabulary)
        except ValueError as error:
            errors.setdefault(video_id[:128], f"{name}: {str(key)[:80]!r}: {error}")
            continue
        frames.setdefault(video_id, []).append(frame)
    videos = {
        video_id: _with_sizes(sorted(rows, key=lambda frame: frame.frame_index))
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


@dataclass(frozen=True)
class _Objects:
    """Visible objects of one frame, without the person."""

    boxes: list[list[float]]
    labels: list[int]
    predicates: list[list[bool]]
    split: str | None


def _objects(entries: Any, vocabulary: Vocabulary) -> _Objects:
    if not isinstance(entries, list | tuple | None):
        raise ValueError(f"a list of objects expected, got {described(entries)}")
    found = _Objects([], [], [], _split(entries or ()))
    for entry in entries or ():
        if not flag_of(entry, "visible"):
            continue
        boxes = boxes_of(entry, "bbox", "xywh")
        if len(boxes) != 1:
            box = described(entry["bbox"])
            raise ValueError(f"bbox: one box of a visible object expected, got {box}")
        found.boxes.append(boxes[0])
        found.labels.append(vocabulary.object_index(text_of(entry, "class")))
        found.predicates.append(_predicates(entry, vocabulary))
    return found


def _split(entries: Sequence[Any]) -> str | None:
    for entry in entries:
        split = value_of(value_of(entry, "metadata", None) or {}, "set", None)
        if split is None:
            continue
        if not isinstance(split, str) or split not in _SPLITS:
            raise ValueError(f"set: one of {', '.join(_SPLITS)} expected, got {described(split)}")
        return split
    return None


def _person(entry: Any) -> tuple[list[float] | None, tuple[int, int] | None]:
    """Return the box of a person, and the (height, width) of the annotated image."""
    if entry is None:
        return None, None
    mode, size = value_of(entry, "bbox_mode", "xyxy"), value_of(entry, "bbox_size", None)
    if not isinstance(mode, str) or mode not in _MODES:
        raise ValueError(f"bbox_mode: one of {', '.join(_MODES)} expected, got {described(mode)}")
    boxes = boxes_of(entry, "bbox", mode)
    return boxes[0] if boxes else None, None if size is None else _height_and_width(size)


def _height_and_width(size: Any) -> tuple[int, int]:
    try:
        width, height = (0, 0) if isinstance(size, str | bytes) else map(int, size)
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    if width < 1 or height < 1:
        raise ValueError(f"bbox_size: (width, height) in pixels expected, got {described(size)}")
    return height, width


def _frame(
    index: int,
    objects: _Objects,
    person: list[float] | None,
    size: tuple[int, int] | None,
    vocabulary: Vocabulary,
) -> FrameAnnotation:
    none = [False] * len(vocabulary.predicates)
    first = 0 if person is None else 1
    boxes = [person] * first + objects.boxes
    predicates = [none] * first + objects.predicates
    return FrameAnnotation(
        index,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor([0] * first + objects.labels, dtype=torch.int64),
        torch.tensor(predicates, dtype=torch.bool).reshape(-1, len(none)),
        size,
        objects.split,
    )


def _with_sizes(frames: list[FrameAnnotation]) -> tuple[FrameAnnotation, ...]:
    """Set the unknown image sizes of a video if its other frames have one size."""
    known = {frame.image_size for frame in frames} - {None}
    if len(known) != 1:
        return tuple(frames)
    return tuple(replace(frame, image_size=next(iter(known))) for frame in frames)


def _predicates(entry: dict[str, Any], vocabulary: Vocabulary) -> list[bool]:
    row = [False] * len(vocabulary.predicates)
    groups = vocabulary.predicate_groups
    others = [key for key in entry if isinstance(key, str) and key.endswith(_RELATIONS)]
    for key in dict.fromkeys([f"{group}{_RELATIONS}" for group in groups] + others):
        group = key.removesuffix(_RELATIONS)
        for name in names_of(entry, key):
            if group not in groups:
                raise ValueError(f"{key}: predicates of {', '.join(groups)} expected, got {name!r}")
            index = vocabulary.predicate_index(name)
            if vocabulary.predicates[index] not in groups[group]:
                raise ValueError(f"{key}: a predicate of the group {group} expected, got {name!r}")
            row[index] = True
    return row
