"""Tests of the reader of COCO files and of the images of samples."""

import contextlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.training.detector.batches import Draw, FrameImages
from pipeline.training.detector.frames import dump_frames, find_image, find_wide, load_image
from pipeline.training.detector.samples import Sample, check_boxes
from pipeline.training.detector.splits import read_samples

VOCABULARY = load_vocabulary("action_genome")
Tree = dict[str, Any]


def box(image_id: Any, xywh: list[float], category: int = 1, **more: Any) -> Tree:
    return {"id": 1, "image_id": image_id, "category_id": category, "bbox": xywh} | more


def coco() -> Tree:
    return {
        "images": [
            {"id": 7, "file_name": "train/000000000139.jpg", "width": 40, "height": 30},
            {"id": 9, "file_name": "A b.JPEG"},
            {"id": 12, "file_name": "A6QFF.mp4/000089.png", "width": 40, "height": 30},
        ],
        "annotations": [
            box(7, [1.0, 2, 10, 20]),
            box(12, [5.0, 5, 6, 7], 3, iscrowd=1),
            box(7, [4.0, 4, 8, 8], 3),
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "closetcabinet"}],
    }


def written(folder: Path, tree: Tree) -> Path:
    (folder / "coco_train.json").write_text(json.dumps(tree))
    return folder


def read(folder: Path, tree: Tree) -> list[Sample]:
    return read_samples(written(folder, tree), "train", VOCABULARY)


def test_boxes_of_each_image_equal_those_of_pycocotools(tmp_path: Path) -> None:
    samples = {sample.image: sample for sample in read(tmp_path, coco())}
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "coco_train.json"))
    for image in theirs.loadImgs(theirs.getImgIds()):
        sample = samples.pop(image["file_name"])
        rows = theirs.imgToAnns[image["id"]]
        wanted = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
        assert sample.boxes.tolist() == wanted
        names = [theirs.cats[row["category_id"]]["name"] for row in rows]
        found = [VOCABULARY.objects[label].replace("/", "") for label in sample.labels.tolist()]
        assert found == names
        assert sample.is_crowd.tolist() == [bool(row.get("iscrowd")) for row in rows]
    assert not samples


def test_frames_and_other_images_are_told_apart(tmp_path: Path) -> None:
    samples = read(tmp_path, coco())
    assert [(s.source, s.frame, s.size) for s in samples] == [
        ("A b.JPEG", None, None),
        ("A6QFF", ("A6QFF", 89), (40, 30)),
        ("train/000000000139.jpg", None, (40, 30)),
    ]


@pytest.mark.parametrize("ids", [("7", 7), (7, "7"), (7, 7.0), ("a", "a")])
def test_image_ids_match_in_every_json_type(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    tree = coco()
    tree["images"][0]["id"] = ids[0]
    tree["annotations"] = [box(ids[1], [1.0, 2, 10, 20])]
    assert [len(s.boxes) for s in read(tmp_path, tree)] == [0, 0, 1]


def test_orphans_and_boxes_outside_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = coco()
    tree["annotations"] += [box(77, [1.0, 1, 2, 2]), box(78, [1.0, 1, 2, 2])]
    tree["annotations"] += [box(7, [1.0, 1, 0, 5]), box(7, [40.0, 1, 5, 5])]
    tree["annotations"] += [box(7, [-3.0, 1, 5, 5])]
    with caplog.at_level(logging.WARNING):
        samples = read(tmp_path, tree)
    assert sum(len(s.boxes) for s in samples) == 4
    assert "2 of 8 annotations have an image_id of no image" in caplog.text
    assert "the first image_id is 77" in caplog.text
    assert "2 boxes have no area or lie outside their image" in caplog.text


def changed(**parts: Any) -> Tree:
    return coco() | parts


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (
            changed(annotations=[box(1, [0.0, 0, 5, 5]), box(2, [0.0, 0, 5, 5])]),
            "none of 2 annotations has the id of an image: the first image_id is 1, the first id "
            "of an image is 7",
        ),
        (changed(annotations=[]), "boxes of the train split expected, got 3 images without boxes"),
        (changed(annotations=[box(7, [0.0, 0, 5, 5], iscrowd=1)]), "got 3 images without boxes"),
        (changed(annotations=[box(7, [0.0, 0, 5, 0])]), "got 3 images without boxes"),
        (changed(annotations=[box(9, [0.1, 0.2, 0.3, 0.3])]), "boxes in pixels expected"),
        (
            changed(images=[*coco()["images"], {"id": 13, "file_name": "A6QFF.mp4/89.png"}]),
            "1 file names are repeated, the first is 'A6QFF.mp4/000089.png'",
        ),
        (changed(images=[*coco()["images"], coco()["images"][0]]), "unique image ids expected"),
        (changed(images=[{"id": 7, "file_name": "a.mp4"}]), "got 'a.mp4'"),
        (changed(images=[{"id": 7, "file_name": "/etc/a.png"}]), "got '/etc/a.png'"),
        (changed(images=[{"id": 7, "file_name": "a/../../b.png"}]), r"got 'a/\.\./\.\./b.png'"),
        (changed(images=[{"id": 7}]), "the key 'file_name' is missing"),
        (changed(annotations=[{"image_id": 7, "category_id": 1}]), "the key 'bbox' is missing"),
        (changed(categories=[{"id": 1, "name": "teapot"}]), "got 'teapot'"),
        (changed(categories=[{"id": 1, "name": "__background__"}]), "'__background__' has boxes"),
        (changed(categories=[]), "category_id 1 is not among the categories"),
        ({"images": 3}, "COCO annotations expected"),
    ],
)
def test_files_without_usable_boxes_are_rejected(tmp_path: Path, tree: Tree, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, tree)


def test_categories_without_boxes_may_have_any_name(tmp_path: Path) -> None:
    tree = coco()
    tree["categories"] += [{"id": 0, "name": "__background__"}, {"id": 9, "name": "my-project"}]
    assert len(read(tmp_path, tree)) == 3


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((size[1], size[0], 3), 60, np.uint8)
    image[: size[1] // 2] = (200, 30, 30)
    Image.fromarray(image).save(path)


def test_jpeg_files_are_read(tmp_path: Path) -> None:
    samples = read(tmp_path, coco())
    with pytest.raises(UsageError, match=r"A b.JPEG \(and 2 more\); set --frames to their folder"):
        dump_frames(tmp_path, None, samples, 1)
    picture(tmp_path / "train" / "000000000139.jpg")
    picture(tmp_path / "A b.JPEG", (20, 30))
    picture(tmp_path / "A6QFF.mp4" / "000089.jpg")  # annotated as .png, dumped as .jpg
    assert dump_frames(tmp_path, None, samples, 1) == {}
    assert find_wide(tmp_path, samples) == [False, True, True]
    with Image.open(tmp_path / "train" / "000000000139.jpg") as file:
        shown = np.array(file).astype(int)
    found = load_image(tmp_path, samples[2]).permute(1, 2, 0).numpy()
    assert abs(found - shown).max() <= 3  # rounding of another JPEG decoder
    name, image, boxes, labels, _ = FrameImages(tmp_path, samples)[Draw(2, False, None)]
    assert name == samples[2].image
    assert image.shape == (3, 30, 40)
    assert boxes.tolist() == [[1, 2, 11, 22], [4, 4, 12, 12]]
    assert labels.tolist() == [0, 8]


def test_images_of_another_size_than_annotated_are_rejected(tmp_path: Path) -> None:
    sample = read(tmp_path, coco())[2]
    picture(tmp_path / sample.image, (80, 60))
    with pytest.raises(UsageError, match="40 x 30 pixels expected as annotated, got 80 x 60"):
        load_image(tmp_path, sample)


def test_images_are_turned_only_if_the_annotated_size_is_that_of_the_turned_image(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored pixels are turned by 90 degrees
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path, exif=exif)
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    for size, shape in (((30, 40), (3, 40, 30)), ((40, 30), (3, 30, 40)), (None, (3, 40, 30))):
        assert load_image(tmp_path, Sample("a.jpg", *none, size)).shape == shape


def test_missing_images_are_failures_if_videos_are_given(tmp_path: Path) -> None:
    samples = [s for s in read(tmp_path, coco()) if s.frame is None]
    picture(tmp_path / "A b.JPEG")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "A.mp4").write_bytes(b"")
    failures = dump_frames(tmp_path, tmp_path / "videos", samples, 1)
    assert failures == {"train/000000000139.jpg": f"{tmp_path}: image not found"}
    assert [find_image(tmp_path, sample) is None for sample in samples] == [False, True]


def test_samples_that_are_left_without_boxes_are_rejected(tmp_path: Path) -> None:
    samples = read(tmp_path, coco())
    check_boxes(samples, "train", "a")
    with pytest.raises(UsageError, match="a: boxes of the test split expected, got 2 images"):
        check_boxes(samples[:2], "test", "a")
