"""Boxes that were annotated in images of another size than the frames of the video."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import extract
from pipeline.cache.clip import CachedClip
from pipeline.cache.reader import load_clip
from tests.pipeline.dataset_maker import csv_row, object_entry, person_entry, write_annotations
from tests.pipeline.test_extract import SMALL
from tests.pipeline.video_maker import write_clip

#: Size of the annotated image of each video of 64x48 pixels.
SIZES = {
    "SAME": (64, 48),
    "DOUBLE": (128, 96),
    "HALF": (32, 24),
    "ODD": (250, 188),  # 4:3 up to 0.3 %
    "WIDE": (128, 72),
    "UPRIGHT": (48, 64),
    "NEAR": (130, 96),  # 4:3 up to 1.6 %
}
PERSON, OBJECT = (2.0, 4.0, 40.0, 47.0), (10.0, 8.0, 30.0, 24.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sizes")
    objects, persons = {}, {}
    (root / "videos").mkdir()
    for name, (width, height) in SIZES.items():
        write_clip(root / "videos" / f"{name}.mp4", num=4)
        x, y = width / 64, height / 48
        key = f"{name}.mp4/000002.png"
        left, top, right, bottom = OBJECT
        box = (left * x, top * y, (right - left) * x, (bottom - top) * y)
        objects[key] = [object_entry(bbox=box)]
        person = np.array([PERSON], np.float32) * np.array([x, y, x, y], np.float32)
        persons[key] = person_entry((width, height)) | {"bbox": person}
    rows = [csv_row(name, "c001 0.00 1.00") for name in SIZES]
    annotations = write_annotations(root / "annotations", objects, persons, rows)
    words = ["--videos", str(root / "videos"), "--annotations", str(annotations)]
    words += ["--cache", str(root / "cache"), "boxes=ground-truth", "decode.workers=0", *SMALL]
    assert extract.main(words) == 1
    return root / "cache"


def clip(cache: Path, name: str) -> CachedClip:
    return load_clip(cache / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["SAME", "DOUBLE", "HALF", "ODD"])
def test_boxes_of_the_same_aspect_ratio_are_scaled_to_the_frame(cache: Path, name: str) -> None:
    boxes = clip(cache, name).boxes
    np.testing.assert_allclose(boxes.numpy(), [PERSON, OBJECT], atol=1e-4)


def test_header_states_that_boxes_are_scaled(cache: Path) -> None:
    scaled = {name for name in ("SAME", "DOUBLE", "HALF", "ODD")
              if "RESCALED_BOXES" in clip(cache, name).header.warnings}  # fmt: skip
    assert scaled == {"DOUBLE", "HALF", "ODD"}
    assert clip(cache, "SAME").header.warnings == ("RANDOM_WEIGHTS",)


def test_boxes_of_another_aspect_ratio_are_rejected(cache: Path) -> None:
    rows = [json.loads(line) for line in (cache / "failures.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in rows} == {
        "WIDE": "bad-annotation", "UPRIGHT": "bad-annotation", "NEAR": "bad-annotation",
    }  # fmt: skip
    says = next(row["message"] for row in rows if row["id"] == "WIDE")
    assert "aspect ratio of the annotated size 128x72 expected, got 64x48 in frame 2" in says
