import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.painting import LIGHT, OBJECT
from pipeline.explanation.media.sheet import MARGIN, MAX_WIDTH, OBJECTS, sheet_image, write_sheet
from pipeline.explanation.media.sheet_rows import track_rows
from pipeline.explanation.observations import Transition
from tests.pipeline.explanation.media.scene_maker import action, make_scene
from tests.pipeline.explanation.report.explanation_maker import make_explanation

BOX = (20.0, 10.0, 44.0, 30.0)


def has_colour(image: Image.Image, colour: str) -> bool:
    return bool((np.asarray(image) == rgb(colour)).all(axis=2).any())


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def jpeg(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_sheet_of_noise_is_a_small_png(tmp_path: Path) -> None:
    write_sheet(make_explanation(3), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size < 2_000_000
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        assert 3000 < image.width <= MAX_WIDTH
        assert image.height < 2500
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    "explanation",
    [
        make_scene(),
        make_scene([{}]),
        make_scene([{}, {}], predictions=[action()]),
        make_explanation(frames=0, images=False),
        make_explanation(frames=1, actions=0),
        make_explanation(frames=40, windows=6, actions=9, images=False),
        make_explanation(objects=["杯子", "x" * 300], predicates=["y" * 300], size=(30, 900)),
    ],
)
def test_sheets_of_unusual_explanations_can_be_drawn(explanation: Explanation) -> None:
    image = sheet_image(explanation)
    assert 0 < image.width <= MAX_WIDTH
    edges = ImageChops.difference(image, Image.new("RGB", image.size, LIGHT.paper)).getbbox()
    assert edges is not None  # a text at least; the margins are free
    assert edges[0] >= MARGIN - 1
    assert edges[2] <= image.width - MARGIN + 8
    assert MARGIN // 2 <= edges[1] < edges[3] <= image.height - MARGIN // 2


def test_kept_frames_are_in_colour_and_discarded_frames_grey() -> None:
    images = {0: jpeg((200, 30, 30)), 10: jpeg((200, 30, 30))}
    scene = make_scene([{0: BOX}, {0: BOX}], discarded=[(1, 0)], images=images)
    pixels = np.asarray(sheet_image(scene)).astype(int)
    red = (np.abs(pixels - (200, 30, 30)).max(axis=2) < 12).any(axis=0)
    second = MARGIN + OBJECTS + 340
    assert red[MARGIN + OBJECTS : second].any()
    assert not red[second:].any()
    boxes = (pixels == OBJECT).all(axis=2).any(axis=0)
    assert boxes[MARGIN + OBJECTS : second].any()
    assert not boxes[second:].any()


def test_tokens_of_reasons_are_marked() -> None:
    boxes = [{0: BOX}, {0: BOX}]
    plain = make_scene(boxes, predictions=[action()])
    marked = make_scene(boxes, predictions=[action(between=(0.0, 0.0), tokens=(0,))])
    absent = make_scene(boxes, predictions=[action(score=0.2, between=(0.0, 0.0), tokens=(0,))])
    found = [has_colour(sheet_image(row), LIGHT.reason) for row in (plain, marked, absent)]
    assert found == [False, True, False]


def test_transitions_are_drawn_between_their_frames() -> None:
    change = Transition(0, 0, "cup", "contacting", "holding", "touching", (0.0, 0.8), (0, 2))
    boxes = [{0: BOX}, {0: BOX}, {0: BOX}]
    image = sheet_image(make_scene(boxes, transitions=(change,)))
    pixels = (np.asarray(image) == rgb(LIGHT.accent)).all(axis=2)
    columns = np.nonzero(pixels.sum(axis=0))[0]
    left = MARGIN + OBJECTS
    assert left < columns.min() < left + 340
    assert abs(columns.max() - (left + 2 * 340)) <= 2
    assert (pixels.sum(axis=1) > 400).any()  # the shaft of the arrow


def test_tracks_of_reasons_come_first_then_kept_tracks() -> None:
    boxes = [dict.fromkeys(range(8), BOX)] * 2
    discarded = [(t, track) for t in range(2) for track in (0, 1, 2)]
    scene = make_scene(boxes, discarded=discarded)
    shown, more = track_rows(scene, 0, {7: [1]})
    assert [track.id for track in shown] == [7, 3, 4, 5, 6, 0]
    assert [track.id for track in more] == [1, 2]


def test_each_window_of_the_predictions_has_a_block() -> None:
    boxes = [{0: BOX}] * 6
    rows = [action(i + 1, window=i) for i in range(6)]
    whole = make_scene(boxes, window_of=range(6), predictions=rows)
    heights = [
        sheet_image(replace(whole, predictions=tuple(rows[:n]))).height for n in (1, 2, 3, 4)
    ]
    steps = np.diff(heights)
    assert steps[0] > 200
    assert (steps == steps[0]).all()
    limit = sheet_image(whole).height
    assert 0 < limit - heights[3] < 60  # only the line "and 2 more windows"
