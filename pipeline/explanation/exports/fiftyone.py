"""Data set of videos for FiftyOne, in the layout `FiftyOneDataset`."""

import hashlib
from typing import Any

from pipeline.explanation.exports.exported import (
    ClassNames,
    ExportedVideo,
    FrameBox,
    boxes_by_frame,
    relative_box,
)
from pipeline.explanation.exports.files import ExportFiles, JsonList, to_json
from pipeline.explanation.observations import Video
from pipeline.explanation.predictions import Prediction

#: Version of FiftyOne whose layout is written. Later versions read it, and older ones refuse it.
VERSION = "1.0.0"
_FIELDS = "fiftyone.core.fields."
_LABELS = "fiftyone.core.labels."


class FiftyOneExport:
    """Writes `fiftyone/metadata.json`, `fiftyone/samples.json` and `fiftyone/frames.json`.

    Frame n of a video, counted from 0, has the frame number n + 1. The ids of samples, frames and
    labels are derived from the ids of the videos.

    Args:
        files: open output files.
        classes: classes of the network.
    """

    def __init__(self, files: ExportFiles, classes: ClassNames) -> None:
        files.open("fiftyone/metadata.json").write(to_json(_metadata(classes)) + "\n")
        self._sample_file = files.open("fiftyone/samples.json")
        self._frame_file = files.open("fiftyone/frames.json")
        self._sample_file.write('{"samples": ')
        self._frame_file.write('{"frames": ')
        self._samples, self._frames = JsonList(self._sample_file), JsonList(self._frame_file)

    def add(self, video: ExportedVideo) -> None:
        """Add a video."""
        explanation = video.explanation
        about = explanation.video
        sample = _id(about.id)
        rate = about.num_frames / about.duration_s if about.duration_s > 0 else about.fps
        self._samples.add(
            {
                "_id": sample,
                "_media_type": "video",
                "_rand": int(sample["$oid"][:8], 16) / 2**32,
                "filepath": video.location,
                "tags": [],
                "metadata": {
                    "_cls": "VideoMetadata",
                    "frame_width": about.width,
                    "frame_height": about.height,
                    "frame_rate": rate,
                    "total_frame_count": about.num_frames,
                    "duration": about.duration_s,
                },
                "video_id": about.id,
                "actions": {
                    "_cls": "Classifications",
                    "classifications": [_action(about, row) for row in explanation.predictions],
                },
                "scores": list(video.scores),
                "warnings": [row.code for row in explanation.warnings],
            }
        )
        for frame in boxes_by_frame(explanation):
            number = frame.frame_index + 1
            detections = [
                _detection(about, number, place, row) for place, row in enumerate(frame.boxes)
            ]
            self._frames.add(
                {
                    "_id": _id(f"{about.id}/{number}"),
                    "_sample_id": sample,
                    "frame_number": number,
                    "time_s": frame.time_s,
                    "boxes": {
                        "_cls": "Detections",
                        "detections": [row for row in detections if row is not None],
                    },
                }
            )

    def finish(self) -> None:
        """Write the ends of the files."""
        for rows, file in (
            (self._samples, self._sample_file),
            (self._frames, self._frame_file),
        ):
            rows.end()
            file.write("}\n")


def _action(video: Video, row: Prediction) -> dict[str, Any]:
    return {
        "_id": _id(f"{video.id}/action/{row.rank}"),
        "_cls": "Classification",
        "tags": [],
        "label": row.name,
        "confidence": row.score,
        "class_id": row.class_id,
        "is_present": row.is_present,
        "reason": row.sentence,
    }


def _detection(video: Video, number: int, place: int, row: FrameBox) -> dict[str, Any] | None:
    box = relative_box(row.box, video)
    if box is None:
        return None
    x1, y1, x2, y2 = box
    index = {} if row.track is None else {"index": row.track}
    return {
        "_id": _id(f"{video.id}/{number}/{place}"),
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": row.class_,
        "bounding_box": [x1, y1, x2 - x1, y2 - y1],
        "confidence": row.score,
        "relations": list(row.relations),
        "keep": row.is_kept,
        **index,
    }


def _id(name: str) -> dict[str, str]:
    """Return the id of an object in MongoDB's extended JSON."""
    return {"$oid": hashlib.sha256(name.encode()).hexdigest()[:24]}


def _metadata(classes: ClassNames) -> dict[str, Any]:
    """Return the description of the data set. FiftyOne adds the fields of its own label types."""
    names = [name for _, name in classes.actions]
    action = _list_of("classifications", "Classification", class_id="String", reason="String")
    action["fields"].append(_field("is_present", "Boolean"))
    detection = _list_of("detections", "Detection", keep="Boolean")
    detection["fields"].append(_field("relations", "List", of="String"))
    common = [
        _field("id", "ObjectId") | {"db_field": "_id"},
        _field("_dataset_id", "ObjectId"),
        _field("created_at", "DateTime") | {"read_only": True},
        _field("last_modified_at", "DateTime") | {"read_only": True},
    ]
    return {
        "name": "LaIAR",
        "version": VERSION,
        "media_type": "video",
        "tags": [],
        "info": {"class_ids": [row[0] for row in classes.actions], "class_names": names},
        "classes": {"actions": list(dict.fromkeys(names))},
        "default_classes": list(classes.objects),
        "sample_fields": [
            *common,
            _field("filepath", "String"),
            _field("tags", "List", of="String"),
            _field("_media_type", "String"),
            _field("_rand", "Float"),
            _document("metadata", "fiftyone.core.metadata.VideoMetadata", []),
            _field("video_id", "String"),
            _document("actions", f"{_LABELS}Classifications", [action]),
            _field("scores", "List", of="Float"),
            _field("warnings", "List", of="String"),
        ],
        "frame_fields": [
            *common,
            _field("_sample_id", "ObjectId"),
            _field("frame_number", "FrameNumber"),
            _field("time_s", "Float"),
            _document("boxes", f"{_LABELS}Detections", [detection]),
        ],
    }


def _field(name: str, kind: str, *, of: str | None = None) -> dict[str, Any]:
    """Return the description of a field.

    Args:
        name: name of the field.
        kind: type of the field.
        of: type of the items of a list.
    """
    return {
        "name": name,
        "ftype": f"{_FIELDS}{kind}Field",
        "embedded_doc_type": None,
        "subfield": None if of is None else f"{_FIELDS}{of}Field",
        "fields": [],
        "db_field": name,
    }


def _document(name: str, document: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    row = _field(name, "EmbeddedDocument")
    return row | {"embedded_doc_type": document, "fields": fields}


def _list_of(name: str, label: str, **fields: str) -> dict[str, Any]:
    """Return the description of a list of labels with additional fields."""
    rows = [_field(*item) for item in fields.items()]
    row = _field(name, "List", of="EmbeddedDocument")
    return row | {"embedded_doc_type": _LABELS + label, "fields": rows}
