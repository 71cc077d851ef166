import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.explanation.media.painting import (
    HUMAN,
    OBJECT,
    Mark,
    dashed_box,
    draw_marks,
    font_of,
    printable,
    shortened,
    wrapped,
)


def picture(marks: list[Mark], size: tuple[int, int] = (200, 160)) -> np.ndarray:
    image = Image.new("RGB", size, (0, 0, 120))
    draw_marks(image, marks, 12, 3)
    return np.asarray(image)


def test_text_that_fits_is_not_shortened() -> None:
    font = font_of(16)
    assert shortened("cup", font, font.getlength("cup")) == "cup"
    short = shortened("a very long name of an object", font, 100)
    assert short.endswith("…")
    assert 60 < font.getlength(short) <= 100
    assert shortened("cup", font, 2) == ""


def test_wrapped_text_contains_all_words_or_ends_with_an_ellipsis() -> None:
    font, text = font_of(16), "the person is holding the cup and no longer touches it"
    lines = wrapped(text, font, 150, 9)
    assert " ".join(lines) == text
    assert all(font.getlength(line) <= 150 for line in lines)
    cut = wrapped(text, font, 150, 2)
    assert len(cut) == 2
    assert cut[-1].endswith("…")
    assert wrapped("", font, 100, 2) == [""]


@pytest.mark.parametrize(
    ("text", "expected"), [("cup ?", "cup ?"), ("café", "cafe"), ("杯子", "??"), ("a\tb…", "a b…")]
)
def test_letters_without_a_glyph_are_replaced(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_kept_box_is_solid_and_thick() -> None:
    pixels = picture([Mark((40, 50, 150, 120), False, "", True)])
    assert (pixels[50:53, 40:151] == OBJECT).all()
    assert (pixels[118:121, 40:151] == OBJECT).all()
    assert (pixels[50:121, 148:151] == OBJECT).all()
    assert (pixels[60:110, 60:140] == (0, 0, 120)).all()


def test_human_box_has_its_own_colour() -> None:
    assert (picture([Mark((40, 50, 150, 120), True, "", True)])[51, 40:151] == HUMAN).all()


def test_interpolated_box_is_thinner_and_paler() -> None:
    pixels = picture([Mark((40, 50, 150, 120), False, "", True, is_sampled=False)])
    assert (pixels[50, 40:151] == pixels[50, 40]).all()
    assert 0 < pixels[50, 40, 0] < OBJECT[0]
    assert (pixels[51, 60:140] == (0, 0, 120)).all()


def test_discarded_box_is_dashed_and_thin() -> None:
    pixels = picture([Mark((40, 50, 150, 120), False, "", False)])
    edge = (pixels[50, 40:151] != (0, 0, 120)).any(axis=1)
    assert 0.3 < edge.mean() < 0.8
    assert np.count_nonzero(np.diff(edge.astype(int))) > 20
    assert (pixels[51, 45:145] == (0, 0, 120)).all()


def test_dashes_do_not_leave_the_box() -> None:
    image = Image.new("L", (60, 60))
    dashed_box(ImageDraw.Draw(image), (10, 12, 41, 47), "white", 1)
    rows, columns = np.nonzero(np.asarray(image))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 47, 10, 41)


@pytest.mark.parametrize(
    "box", [(-50, -9, 999, 999), (60, 60, 60, 60), (300, 300, 400, 400), (-9, -9, -5, -5)]
)
def test_boxes_beyond_the_picture_are_cut(box: tuple[float, float, float, float]) -> None:
    for is_kept in (True, False):
        assert (picture([Mark(box, False, "cup", is_kept)]) != (0, 0, 120)).any()


def label_area(marks: list[Mark]) -> int:
    """Return the number of pixels that labels change."""
    plain = [Mark(m.box, m.is_human, "", m.is_kept, m.is_sampled) for m in marks]
    return int((picture(marks) != picture(plain)).any(axis=2).sum())


def test_labels_of_kept_pairs_do_not_overlap() -> None:
    one = Mark((40.0, 50.0, 150.0, 120.0), False, "cup: holding", True)
    other = Mark((42.0, 52.0, 152.0, 118.0), False, "cup: holding", True)
    assert label_area([one, other]) > 1.6 * label_area([one])


def test_labels_of_discarded_pairs_are_left_out_without_room() -> None:
    kept = [Mark((0.0, y, 199.0, y + 12), False, "x" * 60, True) for y in range(0, 160, 8)]
    little = Mark((40.0, 50.0, 60.0, 60.0), False, "cup", False)
    assert label_area([*kept, little]) == label_area(kept)
