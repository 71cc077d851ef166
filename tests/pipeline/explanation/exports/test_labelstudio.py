"""The schemas are those of the tags `VideoRectangle` and `TimelineLabels` of Label Studio."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import jsonschema
import pytest

from pipeline.explanation.exports.exported import ClassNames, ExportedVideo
from pipeline.explanation.exports.writing import ExportFormat
from tests.pipeline.explanation.exports.exported_maker import (
    CLASSES,
    HOSTILE,
    PATH,
    export,
    make_overlapping,
    make_video,
    odd_videos,
)

PERCENT = {"type": "number", "minimum": 0, "maximum": 100}
KEYFRAME = {
    "type": "object",
    "properties": {
        "frame": {"type": "integer", "minimum": 1},
        "time": {"type": "number", "minimum": 0},
        "enabled": {"type": "boolean"},
        "rotation": {"type": "number"},
        **dict.fromkeys(("x", "y", "width", "height"), PERCENT),
    },
    "required": ["x", "y", "time", "frame", "width", "height", "enabled"],
}
VALUES: dict[str, dict[str, Any]] = {
    "videorectangle": {
        "framesCount": {"type": "integer", "minimum": 1},
        "duration": {"type": "number", "minimum": 0},
        "sequence": {"type": "array", "minItems": 1, "items": KEYFRAME},
        "labels": {"type": "array", "minItems": 1, "maxItems": 1},
    },
    "timelinelabels": {
        "ranges": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {key: {"type": "integer", "minimum": 1} for key in ("start", "end")},
                "required": ["start", "end"],
            },
        },
        "timelinelabels": {"type": "array", "minItems": 1, "maxItems": 1},
    },
}
LABELS = {"videorectangle": "labels", "timelinelabels": "timelinelabels"}


def read(
    videos: list[ExportedVideo], out: Path, classes: ClassNames = CLASSES
) -> tuple[list[dict[str, Any]], ElementTree.Element]:
    """Return the tasks and the configuration, after checking each region against both."""
    folder = export(ExportFormat.LABELSTUDIO, videos, out, classes)
    tasks = json.loads((folder / "labelstudio.json").read_text("ascii"))
    view = ElementTree.fromstring((folder / "labelstudio.xml").read_text("utf-8"))
    tags = {tag.attrib["name"]: tag for tag in view}
    for task in tasks:
        regions = task["predictions"][0]["result"]
        assert len({region["id"] for region in regions}) == len(regions)
        for tag in (tags["video"], tags["reasons"]):
            assert task["data"][tag.attrib["value"][1:]]
        assert task["data"][tags["video"].attrib["framerate"][1:]] > 0
        for region in regions:
            kind, tag = region["type"], tags[region["from_name"]]
            assert (tag.tag.lower(), tag.attrib["toName"]) == (kind, region["to_name"])
            schema = {"type": "object", "properties": VALUES[kind], "required": [*VALUES[kind]]}
            jsonschema.validate(region["value"], schema)
            control = tags["objects"] if kind == "videorectangle" else tag
            known = {label.attrib["value"] for label in control}
            assert known.issuperset(region["value"][LABELS[kind]])
    return tasks, view


def regions_of(task: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [row for row in task["predictions"][0]["result"] if row["type"] == kind]


def test_configuration_has_the_names_of_all_classes(tmp_path: Path) -> None:
    _, view = read([], tmp_path)
    labels = {
        tag.attrib["name"]: [label.attrib["value"] for label in tag] for tag in view if len(tag)
    }
    assert labels == {
        "objects": ["person", *HOSTILE],
        "actions": [name for _, name in CLASSES.actions],
    }


def test_characters_that_xml_excludes_are_replaced_in_both_files(tmp_path: Path) -> None:
    classes = ClassNames((("c000", "a\x01b"), *CLASSES.actions[1:]), CLASSES.objects)
    video = make_video()
    object.__setattr__(video.explanation.predictions[0], "name", "a\x01b")
    tasks, _ = read([video], tmp_path, classes)
    assert regions_of(tasks[0], "timelinelabels")[0]["value"]["timelinelabels"] == ["a\ufffdb"]


def test_video_is_a_url_of_the_local_file_server(tmp_path: Path) -> None:
    data = read([make_video()], tmp_path)[0][0]["data"]
    url = urlsplit(data["video"])
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("", "", "/data/local-files/", "")
    assert Path(PATH.anchor, parse_qs(url.query)["d"][0]) == PATH
    assert data["path"] == str(PATH)


def test_regions_are_the_person_and_the_tracks(tmp_path: Path) -> None:
    video = make_video()
    explanation = video.explanation
    regions = regions_of(read([video], tmp_path)[0][0], "videorectangle")
    assert [row["value"]["labels"][0] for row in regions] == [
        "person", *(track.object for track in explanation.tracks),
    ]  # fmt: skip
    fps, frames = explanation.video.fps, explanation.sampling.frames
    for region, track in zip(regions[1:], explanation.tracks, strict=True):
        tokens = [explanation.tokens[number] for number in track.tokens]
        for row, token in zip(region["value"]["sequence"], tokens, strict=True):
            x1, y1, x2, y2 = token.object.box
            box = (x1 / 480, y1 / 270, (x2 - x1) / 480, (y2 - y1) / 270)
            found = [row[key] / 100 for key in ("x", "y", "width", "height")]
            assert found == pytest.approx(box)
            assert row["frame"] == round(token.time_s * fps) + 1
            assert row["time"] == pytest.approx(row["frame"] / fps)
            # A keyframe without a box in the next sampled frame ends the visible part.
            following = frames[token.t + 1].frame_index if token.t + 1 < len(frames) else None
            assert row["enabled"] == any(t.frame_index == following for t in tokens)
    people = regions[0]["value"]["sequence"]
    assert [row["enabled"] for row in people] == [True] * (len(people) - 1) + [False]


def test_regions_do_not_extend_over_gaps_between_windows(tmp_path: Path) -> None:
    video = make_video(windows=2, frames=8, objects=HOSTILE[:1])
    person, *_ = regions_of(read([video], tmp_path)[0][0], "videorectangle")
    assert [row["enabled"] for row in person["value"]["sequence"]] == [
        True, True, True, False, True, True, True, False,
    ]  # fmt: skip


def test_actions_are_regions_of_the_timeline(tmp_path: Path) -> None:
    video = make_overlapping()
    explanation = video.explanation
    regions = regions_of(read([video], tmp_path)[0][0], "timelinelabels")
    present = [row for row in explanation.predictions if row.is_present]
    for region, row in zip(regions, present, strict=True):
        start, end = explanation.windows[row.window].between_s
        fps = explanation.video.fps
        assert region["value"] == {
            "ranges": [{"start": round(start * fps) + 1, "end": round(end * fps) + 1}],
            "timelinelabels": [row.name],
        }
        assert (region["score"], region["meta"]) == (row.score, {"text": [row.sentence]})


def test_odd_videos_are_tasks(tmp_path: Path) -> None:
    tasks = {task["data"]["id"]: task for task in read(odd_videos(), tmp_path)[0]}
    kinds = {name: [len(regions_of(task, kind)) for kind in VALUES] for name, task in tasks.items()}
    assert kinds == {
        "NOTOKEN": [0, 4], "NOACTION": [4, 0], "NOFRAME": [0, 0], "PLAIN": [4, 4], "NOSIZE": [0, 4],
    }  # fmt: skip
    assert tasks["PLAIN"]["data"]["video"] == "/data/local-files/?d=PLAIN.mp4"
