"""Annotated images from COCO files."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError
from pipeline.training.detector.samples import FRAME_NAME, IMAGE_SUFFIXES, Sample
from pipeline.weights.class_names import is_background

LOGGER = logging.getLogger("train_detector")
#: Boxes (xyxy), object classes and crowd flags of an image.
_Rows = tuple[list[list[float]], list[int], list[bool]]


def read_coco(path: Path, vocabulary: Vocabulary) -> list[Sample]:
    """Read the images of a COCO file with their boxes.

    Annotations whose `image_id` is the id of no image, boxes without area and boxes outside their
    image are left out. The log contains their numbers.

    Args:
        path: path of the JSON file.
        vocabulary: names of the object classes. Categories are matched in any spelling; those
            without annotations may have other names.

    Returns:
        One sample per image, in the order of the file.

    Raises:
        UsageError: if the file is not a COCO file, an image id or file name is repeated, a category
            with annotations is not in the vocabulary, no annotation belongs to an image, or boxes
            are not in pixels.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
        entries = {_id(image["id"]): image for image in tree["images"]}
        if len(entries) < len(tree["images"]):
            raise ValueError("unique image ids expected, but an id is repeated")
        names = {key: _file_name(str(image["file_name"])) for key, image in entries.items()}
        _check_names(names)
        rows, orphans = _rows(tree, names, vocabulary)
        sizes = {key: _size(image) for key, image in entries.items()}
    except KeyError as error:
        raise UsageError(
            f"{path}: COCO annotations expected: the key {error} is missing"
        ) from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise UsageError(f"{path}: COCO annotations expected: {error!r}") from error
    return _samples(path, names, sizes, rows, orphans)


def _samples(
    path: Path,
    names: Mapping[str, str],
    sizes: Mapping[str, tuple[int, int] | None],
    rows: Mapping[str, _Rows],
    orphans: list[str],
) -> list[Sample]:
    samples, left_out = [], 0
    for key, name in names.items():
        boxes, labels, crowds = rows.get(key, ([], [], []))
        xyxy = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
        good = _is_usable(xyxy, sizes[key])
        left_out += int((~good).sum())
        classes = torch.tensor(labels, dtype=torch.int64)
        crowd = torch.tensor(crowds, dtype=torch.bool)
        samples.append(Sample(name, xyxy[good], classes[good], crowd[good], sizes[key]))
    ends = [float(sample.boxes.max()) for sample in samples if len(sample.boxes)]
    if ends and max(ends) <= 1:
        raise UsageError(f"{path}: boxes in pixels expected, got fractions of the image size")
    if orphans and not rows:
        raise UsageError(
            f"{path}: annotations of the {len(names)} images expected, but none of "
            f"{len(orphans)} annotations has the id of an image: the first image_id is "
            f"{orphans[0]}, the first id of an image is {next(iter(names), 'none')}"
        )
    if orphans:
        LOGGER.warning(
            "%s: %d of %d annotations have an image_id of no image and are left out; the first "
            "image_id is %s",
            path,
            len(orphans),
            len(orphans) + sum(len(labels) for _, labels, _ in rows.values()),
            orphans[0],
        )
    if left_out:
        LOGGER.warning("%s: %d boxes have no area or lie outside their image", path, left_out)
    return samples


def _rows(
    tree: Any, names: Mapping[str, str], vocabulary: Vocabulary
) -> tuple[dict[str, _Rows], list[str]]:
    """Return the boxes of each image by its id, and the image ids of no image."""
    used = {int(entry["category_id"]) for entry in tree["annotations"]}
    classes = _classes(tree["categories"], used, vocabulary)
    rows: dict[str, _Rows] = {}
    orphans = []
    for entry in tree["annotations"]:
        if int(entry["category_id"]) not in classes:
            raise ValueError(f"category_id {entry['category_id']} is not among the categories")
        x, y, w, h = map(float, entry["bbox"])
        key = _id(entry["image_id"])
        if key not in names:
            orphans.append(key)
            continue
        boxes, labels, crowds = rows.setdefault(key, ([], [], []))
        boxes.append([x, y, x + w, y + h])
        labels.append(classes[int(entry["category_id"])])
        crowds.append(bool(entry.get("iscrowd", 0)))
    return rows, orphans


def _classes(categories: Any, used: set[int], vocabulary: Vocabulary) -> dict[int, int]:
    """Return the object class of each category that has annotations, by its id."""
    names = {int(category["id"]): str(category["name"]) for category in categories}
    if len(names) < len(categories):
        raise UsageError("unique category ids expected, but one is repeated")
    found = {}
    for number in sorted(used & names.keys()):
        if is_background(names[number]):
            raise UsageError(f"objects expected, but the category {names[number]!r} has boxes")
        try:
            found[number] = vocabulary.object_index(names[number])
        except ValueError:
            raise UsageError(
                f"categories of the vocabulary expected, got {names[number]!r}; use the names "
                f"{', '.join(vocabulary.objects[:3])}, ..."
            ) from None
    if len(set(found.values())) < len(found):
        raise UsageError("unique category names expected, but one is repeated")
    return found


def _check_names(names: Mapping[str, str]) -> None:
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UsageError(
            f"one image per file name expected, but {len(twice)} file names are repeated, the "
            f"first is {twice[0]!r}; give all boxes of a file one image_id"
        )


def _file_name(name: str) -> str:
    """Return the path of an image below the folder of frames."""
    path = PurePosixPath(name)
    parts_are_safe = not path.is_absolute() and ".." not in path.parts and "\\" not in name
    if not parts_are_safe or ":" in name or path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(
            "a file_name such as ID.mp4/000001.png or folder/000001.jpg below --frames expected, "
            f"got {name!r}"
        )
    frame = FRAME_NAME.fullmatch(name)
    if frame and is_safe_id(frame["video"]) and path.suffix == ".png":
        return f"{frame['video']}.mp4/{int(frame['number']):06d}.png"
    return str(path)


def _id(value: Any) -> str:
    """Return an image id as text. Integers can be written as 7, 7.0 and "7"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a number or text expected as the id of an image, got {value!r}")
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (width, height) of an image, or None if the file does not contain them."""
    width, height = (int(image.get(key) or 0) for key in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None


def _is_usable(boxes: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Return (M,) bool, whether boxes have an area and overlap their image."""
    low, high = boxes[:, :2], boxes[:, 2:]
    good = torch.isfinite(boxes).all(1) & (high > low).all(1)
    if size is not None:
        good &= (high > 0).all(1) & (low < torch.tensor(size)).all(1)
    return good
