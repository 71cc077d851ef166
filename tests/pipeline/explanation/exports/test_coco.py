import contextlib
import io
import json
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from pipeline.explanation.exports.exported import ExportedVideo
from pipeline.explanation.exports.writing import ExportFormat
from tests.pipeline.explanation.exports.exported_maker import (
    CLASSES,
    export,
    frames_of,
    make_overlapping,
    make_video,
    odd_videos,
)


def load(videos: list[ExportedVideo], out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(export(ExportFormat.COCO, videos, out) / "coco.json"))


def test_images_are_the_sampled_frames(tmp_path: Path) -> None:
    videos = [make_video(0, "A"), make_video(1, "B", frames=4)]
    images = load(videos, tmp_path).dataset["images"]
    expected = [
        (f"{name}.mp4/{frame.frame_index + 1:06d}.png", frame.time_s, 480, 270)
        for name, video in zip("AB", videos, strict=True)
        for frame in video.explanation.sampling.frames
    ]
    assert [
        (row["file_name"], row["time_s"], row["width"], row["height"]) for row in images
    ] == expected


def test_each_box_is_one_annotation(tmp_path: Path) -> None:
    video = make_video()
    coco = load([video], tmp_path)
    names = [row["name"] for row in coco.loadCats(coco.getCatIds())]
    assert names == list(CLASSES.objects)
    expected: list[tuple[Any, ...]] = []
    for index in frames_of(video):
        tokens = [t for t in video.explanation.tokens if t.frame_index == index]
        for token in tokens[:1]:
            kept = any(t.keep for t in tokens)
            expected.append((index, "person", token.human.box, 0.9, None, [], kept))
        for token in tokens:
            words = [name.predicate for name in token.names if name.predicate is not None]
            row = token.object
            expected.append((index, row.class_, row.box, 0.8, token.track, words, token.keep))
    found = []
    for row in coco.loadAnns(coco.getAnnIds()):
        x, y, w, h = row["bbox"]
        image = coco.loadImgs(row["image_id"])[0]
        label, about = names[row["category_id"] - 1], row["attributes"]
        assert row["area"] == w * h
        assert row["score"] == about["score"]
        box = tuple(round(value, 6) for value in (x, y, x + w, y + h))
        found.append(
            (
                image["frame_index"], label, box, row["score"], about["track_id"],
                about["relations"], about["keep"],
            )
        )  # fmt: skip
    assert found == [
        (*row[:2], tuple(round(value, 6) for value in row[2]), *row[3:]) for row in expected
    ]


def test_annotations_load_as_results(tmp_path: Path) -> None:
    coco = load([make_video()], tmp_path)
    keys = ("image_id", "category_id", "bbox", "score")
    rows = [{key: row[key] for key in keys} for row in coco.dataset["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        results = coco.loadRes(rows)
    assert len(results.anns) == len(coco.anns)
    assert sorted(results.getCatIds()) == list(range(1, len(CLASSES.objects) + 1))


def test_shared_frames_have_one_image(tmp_path: Path) -> None:
    coco = load([make_overlapping()], tmp_path)
    assert [row["frame_index"] for row in coco.dataset["images"]] == [*range(0, 90, 10)]
    assert {len(coco.getAnnIds(imgIds=[image])) for image in coco.getImgIds()} == {2}


def test_odd_videos_load(tmp_path: Path) -> None:
    coco = load(odd_videos(), tmp_path)
    counts = dict.fromkeys(("NOTOKEN", "NOACTION", "NOFRAME", "PLAIN", "NOSIZE"), 0)
    for row in coco.dataset["annotations"]:
        counts[coco.loadImgs(row["image_id"])[0]["video"]] += 1
    assert counts["NOTOKEN"] == counts["NOFRAME"] == 0
    assert all(counts[name] > 16 for name in ("NOACTION", "PLAIN", "NOSIZE"))
    json.loads((tmp_path / "exports/coco.json").read_text("ascii"))
