"""Reader of the boxes, attributes and relations of a video."""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from pipeline.datasets.cad120.knowledge import Knowledge

#: Largest size of a file in bytes. The largest one of the release has 0.5 MB.
MAX_BYTES = 50_000_000
#: Largest absolute value of a coordinate in pixels.
MAX_COORDINATE = 1e6
_INSTANCE = re.compile(r"(.+)_[0-9]{1,6}", re.DOTALL)
#: Name of each JSON type for messages.
_JSON_TYPES: dict[type, str] = {str: "a string", list: "a list"}
ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class VideoAnnotation:
    """Boxes, attributes and relations in all F frames of a video.

    Attributes and relations are annotated in all frames, even where a box is invisible. One video
    of the release has a relation that its subject cannot have: a head that holds an apple.

    Attributes:
        video_id: id of the video.
        subject: id of the filmed person.
        activity: name of the activity.
        objects: ids of the N instances, such as `cup_1`. Hands and heads are instances too.
        classes: object class of each instance, such as `cup`.
        boxes: (N, F, 4) float32 boxes (x, y, width, height) in pixels, as released. The width and
            the height of an invisible box are 0 or negative.
        attributes: mapping from instance (row of `boxes`) to the (F,) int64 indices of its
            attribute in each frame, into `Knowledge.attributes`.
        relations: mapping from (subject, object), two instances, to the (F,) int64 indices of
            their relation in each frame, into `Knowledge.relations`.
    """

    video_id: str
    subject: str
    activity: str
    objects: tuple[str, ...]
    classes: tuple[str, ...]
    boxes: np.ndarray
    attributes: dict[int, np.ndarray]
    relations: dict[tuple[int, int], np.ndarray]

    @property
    def num_frames(self) -> int:
        """Number of frames F, at least 1."""
        return len(self.boxes[0])

    @property
    def visible(self) -> np.ndarray:
        """(N, F) bool, True where an instance has a box with an area."""
        return (self.boxes[..., 2] > 0) & (self.boxes[..., 3] > 0)


def read_video(path: Path, knowledge: Knowledge) -> VideoAnnotation:
    """Read the annotation of a video.

    Args:
        path: file `<subject>/<activity>/<video id>.json`.
        knowledge: names of the object classes, attributes and relations.

    Returns:
        The annotation. All of its lists have the length of the video.

    Raises:
        ValueError: if the file is malformed, its ids are not those of its path, or it is larger
            than `MAX_BYTES`. The message begins with the end of the path.
        OSError: if the file cannot be read.
    """
    try:
        return _video(_load(path), path, knowledge)
    except ValueError as error:
        raise ValueError(f"{'/'.join(path.parts[-3:])}: {error}") from error


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ValueError("a regular file expected")
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes expected")
    try:
        return json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"JSON expected: {error}") from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"finite numbers expected, got {text}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("each key of a JSON object only once expected, got a key twice")
    return found


def _video(tree: Any, path: Path, knowledge: Knowledge) -> VideoAnnotation:
    ids = {"person_id": path.parts[-3], "video_label": path.parts[-2], "video_id": path.stem}
    for key, expected in ids.items():
        if (found := _value(tree, key, str, "top level")) != expected:
            raise ValueError(f"{key}: {expected!r} expected as in the path, got {found[:80]!r}")
    instances = _instances(_value(tree, "locations", list, "top level"), knowledge)
    return VideoAnnotation(
        video_id=ids["video_id"],
        subject=ids["person_id"],
        activity=ids["video_label"],
        objects=tuple(instances.rows),
        classes=instances.classes,
        boxes=instances.boxes,
        attributes=_attributes(_value(tree, "attributes", list, "top level"), instances, knowledge),
        relations=_relations(_value(tree, "relations", list, "top level"), instances, knowledge),
    )


@dataclass(frozen=True)
class _Instances:
    """Instances of a video.

    Attributes:
        rows: mapping from instance to its row in `boxes`.
        classes: object class of each instance.
        boxes: (N, F, 4) float32 boxes.
    """

    rows: dict[str, int]
    classes: tuple[str, ...]
    boxes: np.ndarray

    def row(self, name: str, place: str) -> int:
        """Return the row of an instance."""
        if name not in self.rows:
            raise ValueError(f"{place}: an instance of locations expected, got {name[:80]!r}")
        return self.rows[name]

    def states(self, entry: Any, key: str, names: Sequence[str], place: str) -> np.ndarray:
        """Return the (F,) int64 indices of the states of an entry."""
        states = _value(entry, key, list, place)
        _check_length(len(states), self.boxes.shape[1], f"{place}: {key}")
        index = {name: i for i, name in enumerate(names)}
        for number, state in enumerate(states, 1):
            if not isinstance(state, str) or state not in index:
                found = repr(state[:80]) if isinstance(state, str) else type(state).__name__
                raise ValueError(
                    f"{place}: {key}: one of {', '.join(names)} expected, got {found} in frame "
                    f"{number}"
                )
        return np.array([index[state] for state in states], dtype=np.int64)


def _instances(entries: list[Any], knowledge: Knowledge) -> _Instances:
    names = [_value(entry, "obj_id", str, "locations") for entry in entries]
    classes = tuple(_class_of(name, knowledge) for name in names)
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if rows.setdefault(name, row) != row:
            raise ValueError(f"locations: one entry per instance expected, got two of {name}")
    boxes = [_boxes(entry, name) for name, entry in zip(names, entries, strict=True)]
    if not boxes or not len(boxes[0]):
        raise ValueError("locations: an instance with a box in at least one frame expected")
    for name, instance_boxes in zip(names, boxes, strict=True):
        _check_length(len(instance_boxes), len(boxes[0]), f"{name}: loc_list")
    return _Instances(rows, classes, np.stack(boxes))


def _class_of(name: str, knowledge: Knowledge) -> str:
    match = _INSTANCE.fullmatch(name)
    if match is None or match[1] not in knowledge.objects:
        raise ValueError(
            "locations: an instance <class>_<number> of one of the classes "
            f"{', '.join(knowledge.objects)} expected, got {name[:80]!r}"
        )
    return match[1]


def _boxes(entry: Any, name: str) -> np.ndarray:
    """Return the (F, 4) boxes of an instance."""
    rows = _value(entry, "loc_list", list, name)
    is_whole = set(map(type, rows)) <= {list} and set(map(len, rows)) <= {4}
    numbers = list(itertools.chain.from_iterable(rows)) if is_whole else []
    if not is_whole or not set(map(type, numbers)) <= {int, float}:
        raise ValueError(f"{name}: loc_list: boxes [x, y, width, height] of numbers expected")
    if not all(abs(number) <= MAX_COORDINATE for number in numbers):
        raise ValueError(f"{name}: loc_list: numbers up to {MAX_COORDINATE:.0f} pixels expected")
    return np.array(numbers, dtype=np.float32).reshape(-1, 4)


def _attributes(
    entries: list[Any], instances: _Instances, knowledge: Knowledge
) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for entry in entries:
        name = _value(entry, "obj_id", str, "attributes")
        row = instances.row(name, "attributes")
        if row in found:
            raise ValueError(f"attributes: one entry per instance expected, got two of {name}")
        if instances.classes[row] not in knowledge.object_attributes:
            raise ValueError(
                f"attributes: an instance of {', '.join(knowledge.object_attributes)} expected, "
                f"got {name}"
            )
        found[row] = instances.states(entry, "attr_list", knowledge.attributes, name)
    return found


def _relations(
    entries: list[Any], instances: _Instances, knowledge: Knowledge
) -> dict[tuple[int, int], np.ndarray]:
    found: dict[tuple[int, int], np.ndarray] = {}
    for entry in entries:
        names = _value(entry, "obj_ids", list, "relations")
        if len(names) != 2 or not all(isinstance(name, str) for name in names):
            raise ValueError("relations: obj_ids: ids of a subject and an object expected")
        pair = instances.row(names[0], "relations"), instances.row(names[1], "relations")
        classes = instances.classes[pair[0]], instances.classes[pair[1]]
        place = f"{names[0]}, {names[1]}"
        if pair in found:
            raise ValueError(f"relations: one entry per pair expected, got two of {place}")
        if classes not in knowledge.object_relations:
            raise ValueError(
                "relations: a subject and an object whose classes are a pair of "
                f"object_relation_list.txt expected, got {place}"
            )
        found[pair] = instances.states(entry, "rel_list", knowledge.relations, place)
    return found


def _check_length(length: int, num_frames: int, place: str) -> None:
    if length != num_frames:
        raise ValueError(
            f"{place}: one value for each of the {num_frames} frames of the first instance "
            f"expected, got {length}"
        )


def _value(tree: Any, key: str, kind: type[ValueT], place: str) -> ValueT:
    """Return a value of a JSON object, which must have a type."""
    if not isinstance(tree, dict):
        raise ValueError(f"{place}: a JSON object expected, got {type(tree).__name__}")
    if key not in tree:
        raise ValueError(f"{place}: {key} expected, not found")
    value = tree[key]
    if not isinstance(value, kind):
        raise ValueError(
            f"{place}: {key}: {_JSON_TYPES[kind]} expected, got {type(value).__name__}"
        )
    return value
