"""The layout is that of `get_ava_performance.py` of the ActivityNet challenge."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)

from pipeline.explanation.exports.ava import frames_by_second
from pipeline.explanation.exports.exported import ExportedVideo, FrameBoxes
from pipeline.explanation.exports.writing import ExportFormat
from tests.pipeline.explanation.exports.exported_maker import (
    CLASSES,
    export,
    make_overlapping,
    make_video,
    odd_videos,
)

Row = tuple[str, int, tuple[float, ...], int, float]


def read(videos: list[ExportedVideo], out: Path) -> list[Row]:
    """Read the detections as the official reader does."""
    rows: list[Row] = []
    with open(export(ExportFormat.AVA, videos, out) / "ava.csv", encoding="utf-8") as file:
        for row in csv.reader(file):
            assert len(row) == 8
            assert row[1] == f"{int(row[1]):04d}"
            box = tuple(float(value) for value in row[2:6])
            rows.append((row[0], int(row[1]), box, int(row[6]), float(row[7])))
    return rows


def expected_rows(video: ExportedVideo) -> list[Row]:
    """Return the rows of a video, from a loop over its seconds and tokens."""
    explanation = video.explanation
    rows: list[Row] = []
    width, height = explanation.video.width, explanation.video.height
    for second in range(100):
        frames = sorted(
            explanation.sampling.frames, key=lambda row: (abs(row.time_s - second), row.time_s)
        )
        if not frames or abs(frames[0].time_s - second) > 0.5:
            continue
        time, index = frames[0].time_s, frames[0].frame_index
        humans = [t.human.box for t in explanation.tokens if t.frame_index == index]
        for x1, y1, x2, y2 in humans[:1]:
            for action in explanation.predictions:
                start, end = explanation.windows[action.window].between_s
                if action.is_present and start <= time <= end:
                    box = (x1 / width, y1 / height, x2 / width, y2 / height)
                    number = [row[0] for row in CLASSES.actions].index(action.class_id) + 1
                    rows.append((explanation.video.id, second, box, number, action.score))
    return rows


def test_rows_are_present_actions_of_the_person_at_whole_seconds(tmp_path: Path) -> None:
    videos = [make_video(0, "A"), make_video(1, "B", windows=4, frames=32)]
    expected = [row for video in videos for row in expected_rows(video)]
    assert read(videos, tmp_path) == expected
    assert {row[1] for row in expected if row[0] == "A"} == set(range(9))
    assert len({(row[1] > 8, row[3]) for row in expected if row[0] == "B"}) > 2


def test_frame_in_two_windows_has_the_actions_of_both(tmp_path: Path) -> None:
    video = make_overlapping()
    rows = read([video], tmp_path)
    assert rows == expected_rows(video)
    actions = {second: {row[3] for row in rows if row[1] == second} for second in range(5)}
    assert actions[0] == {1, 3}
    assert actions[2] == {1, 2, 3, 4}
    assert actions[4] == {2, 4}


def test_nearest_frame_within_half_a_second_is_used() -> None:
    times = [0.2, 1.5, 2.9, 3.1, 5.51, 7.5, 8.5]
    frames = [FrameBoxes(i, time, frozenset({0}), ()) for i, time in enumerate(times)]
    chosen = {second: row.time_s for second, row in frames_by_second(frames).items()}
    assert chosen == {0: 0.2, 1: 1.5, 2: 1.5, 3: 2.9, 6: 5.51, 7: 7.5, 8: 7.5, 9: 8.5}


def test_boxes_are_clipped_to_the_frame(tmp_path: Path) -> None:
    video = make_video(size=(100, 50), frames=2)
    tokens = tuple(
        replace(row, human=replace(row.human, box=(-1.0, 10.0, 101.0, 55.0)))
        for row in video.explanation.tokens
    )
    video = replace(video, explanation=replace(video.explanation, tokens=tokens))
    assert {row[2] for row in read([video], tmp_path)} == {(0.0, 0.2, 1.0, 1.0)}


def test_label_map_is_protocol_buffer_text(tmp_path: Path) -> None:
    folder = export(ExportFormat.AVA, [], tmp_path)
    text = (folder / "ava_action_list.pbtxt").read_text("utf-8")
    found = text_format.Parse(text, label_map())
    assert [(row.id, row.name) for row in found.item] == [
        (number, name) for number, (_, name) in enumerate(CLASSES.actions, 1)
    ]


def test_official_reader_separates_names_and_ids(tmp_path: Path) -> None:
    folder = export(ExportFormat.AVA, [], tmp_path)
    names: dict[int, str] = {}
    with open(folder / "ava_action_list.pbtxt", encoding="utf-8") as file:
        for line in file:
            if line.startswith("  name:"):
                name = line.split('"')[1]
            elif line.startswith(("  id:", "  label_id:")):
                names[int(line.strip().split(" ")[-1])] = name
    assert len(set(names.values())) == len(names) == len(CLASSES.actions)
    assert names[1] == r"do say \042no\042 \\ to it"
    assert names[2] == CLASSES.actions[1][1]


def test_odd_videos_have_no_rows(tmp_path: Path) -> None:
    assert {row[0] for row in read(odd_videos(), tmp_path)} == {"PLAIN"}


def label_map() -> Any:
    """Return an empty `StringIntLabelMap` of the object detection API of TensorFlow."""
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", syntax="proto2")
    item = file.message_type.add(name="StringIntLabelMapItem")
    kinds = {"name": item.field.add().TYPE_STRING, "id": item.field.add().TYPE_INT32}
    for number, (name, kind) in enumerate(kinds.items(), 1):
        field = item.field[number - 1]
        field.name, field.number, field.type, field.label = name, number, kind, 1
    rows = file.message_type.add(name="StringIntLabelMap").field.add(name="item", number=1)
    rows.type, rows.label, rows.type_name = rows.TYPE_MESSAGE, rows.LABEL_REPEATED, item.name
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("StringIntLabelMap"))()
