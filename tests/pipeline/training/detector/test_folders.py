"""Tests of the annotated images of CAD-120, on folders of tiny frames."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.loading import load_settings
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import FailureReason, UsageError
from pipeline.training.detector.frames import find_wide, load_image
from pipeline.training.detector.samples import Sample
from pipeline.training.detector.settings import DetectorTraining
from pipeline.training.detector.splits import read_splits
from tests.pipeline.datasets.cad120.release_maker import (
    frame_folder,
    video_path,
    video_tree,
    write_frames,
    write_release,
    write_video,
)

VOCABULARY = load_vocabulary("cad120")
#: Last annotated frame of each video, from 1. Frames after the last clip are not annotated.
LAST = {"0001": 12, "0002": 12, "0003": 9}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_release(tmp_path / "annotations")
    write_frames(tmp_path / "frames")
    return tmp_path


def read(root: Path, *words: str, names: tuple[str, ...] = ("train", "test")) -> Any:
    config = load_settings(DetectorTraining, None, ["dataset=cad120", "fold=1", *words])
    return read_splits(
        config, names, VOCABULARY, annotations=root / "annotations", frames=root / "frames"
    )


def expected_boxes(video_id: str, index: int) -> set[tuple[str, tuple[float, ...]]]:
    """Return the class and the corners of each visible box, and of the person."""
    found: set[tuple[str, tuple[float, ...]]] = set()
    parts = []
    for entry in video_tree(video_id)["locations"]:
        x, y, w, h = entry["loc_list"][index]
        if w > 0:
            name, corners = entry["obj_id"].rsplit("_", 1)[0], (x, y, x + w, y + h)
            found.add((name, corners))
            parts += [corners] if name in ("hand", "head") else []
    low, high = np.min(parts, 0)[:2], np.max(parts, 0)[2:]
    return found | {("person", (*low.tolist(), *high.tolist()))}


def shown(sample: Sample) -> set[tuple[str, tuple[float, ...]]]:
    rows = zip(sample.labels.tolist(), sample.boxes.tolist(), strict=True)
    return {(VOCABULARY.objects[label], tuple(box)) for label, box in rows}


def test_samples_have_all_visible_boxes_of_the_annotated_frames(root: Path) -> None:
    splits, failures = read(root)
    assert not failures
    for split, videos in {"train": ["0003"], "test": ["0001", "0002"]}.items():
        frames = [(v, i) for v in videos for i in range(LAST[v])]
        assert [sample.source for sample in splits[split]] == [v for v, _ in frames]
        for sample, (video_id, index) in zip(splits[split], frames, strict=True):
            folder = frame_folder(root / "frames", video_id).relative_to(root / "frames")
            assert sample.image == f"{folder.as_posix()}/RGB_{index + 1}.png"
            assert load_image(root / "frames", sample)[0].unique().tolist() == [index + 1]
            assert shown(sample) == expected_boxes(video_id, index)
            assert not sample.is_crowd.any()
    assert find_wide(root / "frames", splits["train"]) == [True] * LAST["0003"]


def test_objects_without_pairs_have_boxes_too(root: Path) -> None:
    tree = video_tree("0003")
    tree["relations"] = tree["attributes"] = []
    write_video(root / "annotations", "0003", tree)
    splits, _ = read(root)
    assert {name for name, _ in shown(splits["train"][0])} == {"person", "head", "hand", "cup"}


def test_each_nth_frame_of_each_video_is_used(root: Path) -> None:
    splits, _ = read(root, "training.frame_stride=5")
    numbers = [(s.source, int(Path(s.image).stem[4:])) for s in splits["test"]]
    assert numbers == [(v, n) for v in ("0001", "0002") for n in (1, 6, 11)]


def test_frame_stride_counts_the_frames_of_a_video_in_coco_files(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg", *(f"V.mp4/{n:06d}.png" for n in (9, 2, 5, 7))]
    tree = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [1, 2, 3, 4]} for i in range(6)],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "coco_train.json").write_text(json.dumps(tree))
    config = load_settings(DetectorTraining, None, ["training.frame_stride=3"])
    vocabulary = load_vocabulary("action_genome")
    splits, failures = read_splits(
        config, ["train"], vocabulary, annotations=tmp_path, frames=tmp_path
    )
    assert not failures
    found = [sample.image for sample in splits["train"]]
    assert found == ["V.mp4/000002.png", "V.mp4/000009.png", "a.jpg", "b.jpg"]


def test_unusable_videos_fail_by_name(root: Path) -> None:
    shutil.rmtree(frame_folder(root / "frames", "0001"))
    (frame_folder(root / "frames", "0002") / "RGB_7.png").unlink()
    write_video(root / "annotations", "0003", "{")
    splits, failures = read(root)
    assert splits == {"train": [], "test": []}
    assert {video_id: error.reason for video_id, error in failures.items()} == {
        "0001": FailureReason.MISSING_VIDEO,
        "0002": FailureReason.BAD_ANNOTATION,
        "0003": FailureReason.BAD_ANNOTATION,
    }
    assert "one folder 0001 of frames expected, got none" in str(failures["0001"])
    assert "frames 1 to 12 expected as in the annotation, got 11 frames" in str(failures["0002"])
    assert video_path(Path(), "0003").name in str(failures["0003"])


def test_folder_with_more_frames_or_a_double_fails(root: Path) -> None:
    folder = frame_folder(root / "frames", "0001")
    shutil.copy(folder / "RGB_1.png", folder / "RGB_13.png")
    folder = frame_folder(root / "frames", "0002")
    shutil.copytree(folder, root / "frames" / "copy" / "0002")
    splits, failures = read(root, names=("test",))
    assert splits == {"test": []}
    assert "13 frames from 1 to 13" in str(failures["0001"])
    assert failures["0002"].reason is FailureReason.DUPLICATE_ID


def test_frames_of_the_other_split_are_not_needed(root: Path) -> None:
    shutil.rmtree(frame_folder(root / "frames", "0003"))
    splits, failures = read(root, names=("test",))
    assert not failures
    assert len(splits["test"]) == LAST["0001"] + LAST["0002"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fold=null"], "fold: one of 1, 2 expected, got none"),
        (["fold=3"], "fold: one of 1, 2 expected, got 3"),
        (["dataset=charades"], "fold=1: the dataset has no folds; leave it out"),
    ],
)
def test_fold_must_be_one_of_the_dataset(root: Path, words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(root, *words)


def test_folder_without_frames_is_rejected(root: Path) -> None:
    shutil.rmtree(root / "frames")
    (root / "frames").mkdir()
    with pytest.raises(UsageError, match="--frames: no folder of frames"):
        read(root)
