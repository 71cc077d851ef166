"""Tests of corrected labels and relations of extracted videos."""

import json
from pathlib import Path

import pytest

from pipeline.cache.folder import LabelledVideo, read_cache_info
from pipeline.cache.reader import load_clip
from pipeline.datasets.video_files import list_videos
from pipeline.errors import UsageError
from pipeline.extract import main
from pipeline.weights.detectors import ResolvedDetector
from tests.pipeline.dataset_maker import (
    HEADER,
    csv_row,
    hidden_entry,
    object_entry,
    person_entry,
    write_annotations,
    write_dataset,
)
from tests.pipeline.test_extract import SMALL


def corrected(root: Path, relation: str = "in") -> Path:
    """Write annotations with other actions and relations, but with the same boxes."""
    objects, persons = {}, {}
    for video_id, frames in (("A0001", (3, 11, 30)), ("B0002", (1, 40))):
        for number in frames:
            key = f"{video_id}.mp4/{number:06d}.png"
            objects[key] = [object_entry() | {"spatial_relationship": [relation]}, hidden_entry()]
            persons[key] = person_entry()
    rows = [csv_row("A0001", "c002 0.25 1.50"), csv_row("B0002", "c000 0.00 1.00")]
    return write_annotations(root, objects, persons, rows)


def extract(videos: Path, annotations: Path | None, cache: Path, *words: str) -> int:
    given = ["--annotations", str(annotations)] if annotations else []
    places = ["--videos", str(videos), *given, "--cache", str(cache)]
    return main([*places, *SMALL, "decode.workers=0", *words])


def counts(cache: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((cache / "run.json").read_text())["counts"]
    return found


@pytest.mark.parametrize("boxes", ["detected", "ground-truth"])
@pytest.mark.parametrize("union", ["full", "conv256"])
def test_corrected_labels_run_no_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boxes: str, union: str
) -> None:
    videos, annotations = write_dataset(tmp_path)
    cache, fresh = tmp_path / "cache", tmp_path / "fresh"
    words = [f"boxes={boxes}", "detection.width=64", f"union={union}"]
    assert extract(videos, annotations, cache, *words) == 0
    new = corrected(tmp_path / "new")
    assert extract(videos, new, fresh, *words) == 0
    with monkeypatch.context() as patch:
        patch.setattr(ResolvedDetector, "load", lambda *_: pytest.fail("the detector is built"))
        assert extract(videos, new, cache, *words) == 0
        assert counts(cache) == {"found": 2, "done": 2, "skipped": 0, "failed": 0}
        assert extract(videos, new, cache, *words) == 0
        assert counts(cache) == {"found": 2, "done": 0, "skipped": 2, "failed": 0}
    for path in fresh.glob("*.safetensors"):
        assert (cache / path.name).read_bytes() == path.read_bytes()
    clip = load_clip(fresh / "A0001.safetensors")
    assert clip.header.actions == ((2, 0.25, 1.5),)
    assert extract(videos, annotations, fresh, *words) == 0
    assert load_clip(fresh / "A0001.safetensors").header.actions != clip.header.actions


def test_corrected_boxes_and_frames_are_extracted_again(tmp_path: Path) -> None:
    videos, annotations = write_dataset(tmp_path)
    cache = tmp_path / "cache"
    assert extract(videos, annotations, cache) == 0
    frames = load_clip(cache / "A0001.safetensors").frame_index.tolist()
    key = "A0001.mp4/000005.png"
    other = write_annotations(
        tmp_path / "other", {key: [object_entry()]}, {key: person_entry()}, []
    )
    assert extract(videos, other, cache) == 0
    assert load_clip(cache / "A0001.safetensors").frame_index.tolist() != frames


def test_labels_can_be_added_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, annotations = write_dataset(tmp_path)
    cache, labels = tmp_path / "cache", tmp_path / "labels"
    labels.mkdir()
    for path in annotations.glob("Charades*"):
        (labels / path.name).write_bytes(path.read_bytes())
    assert extract(videos, labels, cache) == 0
    (labels / "Charades_v1_train.csv").write_text(
        (labels / "Charades_v1_train.csv").read_text().replace("c001 0.00", "c004 0.00")
    )
    monkeypatch.setattr(ResolvedDetector, "load", lambda *_: pytest.fail("the detector is built"))
    assert extract(videos, labels, cache) == 0
    actions = load_clip(cache / "A0001.safetensors").header.actions
    assert actions is not None
    assert actions[0][0] == 4


def test_annotations_of_other_videos_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, annotations = write_dataset(tmp_path)
    assert extract(videos, annotations, tmp_path / "cache") == 0
    assert "annotations: 2 of 2 videos have labels" in capsys.readouterr().out
    (videos / "B0002.mp4").unlink()
    assert extract(videos, annotations, tmp_path / "cache", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "annotations: 1 of 1 videos have labels, 1 have boxes, 1 have relations; 1 annot" in out
    for video in list_videos(videos):
        video.path.rename(video.path.with_name(f"x{video.path.name}"))
    for words in ([], ["--dry-run"]):
        with pytest.raises(UsageError, match=r"of the 1 videos such as xA0001 expected .*A0001"):
            extract(videos, annotations, tmp_path / "none", *words)
    assert not (tmp_path / "none").exists()


def test_cache_lists_the_labelled_test_videos(tmp_path: Path) -> None:
    videos, annotations = write_dataset(tmp_path)
    cache = tmp_path / "cache"
    assert extract(videos, None, cache) == 0
    assert read_cache_info(cache).test_videos == ()
    other = tmp_path / "other"
    rows = [csv_row("A0001", "c003 0.00 1.00;c001 0.50 1.90;c003 1.00 1.50"), csv_row("GONE", "")]
    (annotations / "Charades_v1_test.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (annotations / "Charades_v1_train.csv").write_text(f"{HEADER}\n")
    expected = (LabelledVideo("A0001", (1, 3), True), LabelledVideo("GONE", (), False))
    assert extract(videos, annotations, other) == 0
    assert read_cache_info(other).test_videos == expected
    (annotations / "Charades_v1_test.csv").write_text("\n".join([HEADER, rows[0]]) + "\n")
    assert extract(videos, annotations, other) == 0
    assert read_cache_info(other).test_videos == expected[:1]
