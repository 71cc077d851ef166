"""The layout is that of `FiftyOneDataset`: a data set with its samples and frames in JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.explanation.exports.exported import ExportedVideo
from pipeline.explanation.exports.writing import ExportFormat
from tests.pipeline.explanation.exports.exported_maker import (
    CLASSES,
    HOSTILE,
    PATH,
    export,
    frames_of,
    make_overlapping,
    make_video,
    odd_videos,
)

FIELDS = "fiftyone.core.fields."
DOCUMENTS = {
    "VideoMetadata": "fiftyone.core.metadata.VideoMetadata",
    "Classifications": "fiftyone.core.labels.Classifications",
    "Classification": "fiftyone.core.labels.Classification",
    "Detections": "fiftyone.core.labels.Detections",
    "Detection": "fiftyone.core.labels.Detection",
}
#: Fields that FiftyOne declares itself in its document types.
BUILT_IN: dict[str, set[str]] = {
    "VideoMetadata": {"frame_width", "frame_height", "frame_rate", "total_frame_count", "duration"},
    "Classifications": set(),
    "Classification": {"_id", "tags", "label", "confidence"},
    "Detections": set(),
    "Detection": {"_id", "tags", "attributes", "label", "confidence", "bounding_box", "index"},
}
KINDS: dict[str, Any] = {
    "StringField": str, "FloatField": float, "BooleanField": bool, "FrameNumberField": int,
    "ObjectIdField": dict, "ListField": list, "EmbeddedDocumentField": dict,
}  # fmt: skip
ADDED = {"_dataset_id", "created_at", "last_modified_at"}


def read(videos: list[ExportedVideo], out: Path) -> dict[str, Any]:
    """Return the documents, after checking that their fields are declared with their types."""
    folder = export(ExportFormat.FIFTYONE, videos, out) / "fiftyone"
    trees = {name: json.loads((folder / f"{name}.json").read_text("ascii")) for name in NAMES}
    about = trees["metadata"]
    for name, fields in (("samples", "sample_fields"), ("frames", "frame_fields")):
        declared = {row["db_field"]: row for row in about[fields]}
        ids = []
        for row in trees[name][name]:
            assert row.keys() == declared.keys() - ADDED
            ids.append(row["_id"]["$oid"])
            for key, value in row.items():
                check(value, declared[key])
        assert len(set(ids)) == len(ids)
        assert all(len(number) == 24 and int(number, 16) >= 0 for number in ids)
    return {"metadata": about, **{name: trees[name][name] for name in NAMES[1:]}}


NAMES = ("metadata", "samples", "frames")


def check(value: Any, field: dict[str, Any]) -> None:
    assert isinstance(value, KINDS[field["ftype"].removeprefix(FIELDS)])
    for item in value if field["ftype"] == f"{FIELDS}ListField" else ():
        assert isinstance(item, KINDS[field["subfield"].removeprefix(FIELDS)])
    document = field["embedded_doc_type"]
    for row in value if isinstance(value, list) else [value]:
        if document is not None:
            kind = row["_cls"]
            assert DOCUMENTS[kind] == document
            inner = {sub["db_field"]: sub for sub in field["fields"]}
            assert row.keys() - inner.keys() - BUILT_IN[kind] == {"_cls"}
            for key in inner:
                check(row[key], inner[key])


def test_data_set_has_the_classes(tmp_path: Path) -> None:
    about = read([], tmp_path)["metadata"]
    assert (about["media_type"], about["version"]) == ("video", "1.0.0")
    assert about["default_classes"] == ["person", *HOSTILE]
    pairs = zip(about["info"]["class_ids"], about["info"]["class_names"], strict=True)
    assert tuple(pairs) == CLASSES.actions


def test_samples_are_the_videos(tmp_path: Path) -> None:
    video = make_video()
    (sample,) = read([video], tmp_path)["samples"]
    assert (sample["filepath"], sample["video_id"]) == (str(PATH), "CLIP1")
    assert sample["scores"] == list(video.scores)
    assert sample["warnings"] == ["LOW_MARGIN"]
    rows = sample["actions"]["classifications"]
    assert [
        (row["class_id"], row["label"], row["confidence"], row["is_present"], row["reason"])
        for row in rows
    ] == [
        (row.class_id, row.name, row.score, row.is_present, row.sentence)
        for row in video.explanation.predictions
    ]
    about = video.explanation.video
    assert sample["metadata"]["total_frame_count"] == about.num_frames
    assert sample["metadata"]["frame_rate"] == about.num_frames / about.duration_s


def test_frames_have_the_boxes(tmp_path: Path) -> None:
    video = make_video()
    found = read([video], tmp_path)
    assert {row["_sample_id"]["$oid"] for row in found["frames"]} == {
        found["samples"][0]["_id"]["$oid"]
    }
    labels = [row["_id"]["$oid"] for frame in found["frames"] for row in boxes(frame)]
    assert len(set(labels)) == len(labels)
    for frame, index in zip(found["frames"], frames_of(video), strict=True):
        assert frame["frame_number"] == index + 1
        tokens = [t for t in video.explanation.tokens if t.frame_index == index]
        person, *objects = boxes(frame)
        assert person["label"] == "person"
        assert "index" not in person
        assert person["keep"] == any(token.keep for token in tokens)
        for row, token in zip(objects, tokens, strict=True):
            x1, y1, x2, y2 = token.object.box
            box = [x1 / 480, y1 / 270, (x2 - x1) / 480, (y2 - y1) / 270]
            assert row["bounding_box"] == pytest.approx(box)
            words = [name.predicate for name in token.names if name.predicate is not None]
            assert (row["label"], row["confidence"], row["index"], row["relations"]) == (
                token.object.class_, 0.8, token.track, words,
            )  # fmt: skip
            assert row["keep"] == token.keep


def boxes(frame: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame["boxes"]["detections"]
    return rows


def test_each_frame_occurs_once(tmp_path: Path) -> None:
    frames = read([make_overlapping()], tmp_path)["frames"]
    assert [row["frame_number"] for row in frames] == [10 * place + 1 for place in range(9)]
    assert {len(boxes(row)) for row in frames} == {2}


def test_odd_videos_are_samples(tmp_path: Path) -> None:
    found = read(odd_videos(), tmp_path)
    samples = {row["video_id"]: row for row in found["samples"]}
    counts = dict.fromkeys(samples, 0)
    names = {row["_id"]["$oid"]: name for name, row in samples.items()}
    for frame in found["frames"]:
        counts[names[frame["_sample_id"]["$oid"]]] += len(boxes(frame))
    assert {name for name, count in counts.items() if count == 0} == {
        "NOTOKEN", "NOFRAME", "NOSIZE",
    }  # fmt: skip
    assert samples["PLAIN"]["filepath"] == "PLAIN.mp4"
    assert samples["NOACTION"]["actions"]["classifications"] == []
