"""Colours, fonts, text, boxes and labels, drawn with Pillow."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Rect = tuple[float, float, float, float]


@dataclass(frozen=True)
class Palette:
    """Colours, as on the report page (`templates/shared.css`)."""

    paper: str
    card: str
    ink: str
    muted: str
    line: str
    accent: str
    soft: str
    reason: str


LIGHT = Palette(
    "#fbfbf9", "#ffffff", "#1c2126", "#58616c", "#dfe2e6", "#0f5c85", "#dcebf3", "#a8410b"
)
DARK = Palette(
    "#14171b", "#1b1f24", "#e8eaed", "#a6afba", "#343b44", "#86c9f2", "#21384a", "#ffb07a"
)
#: Colours of boxes on pictures, their labels, and the plate behind labels.
HUMAN, OBJECT, DISCARDED = (255, 255, 255), (255, 180, 84), (206, 212, 219)
HUMAN_TEXT, OBJECT_TEXT, SHADE = (255, 255, 255), (255, 212, 155), (16, 20, 26)
#: Background of frames without an image.
PLAIN = (70, 78, 88)
#: Lengths of a dash and of a gap in line widths, at least 4 and 3 pixels.
DASH, GAP = 5, 4
#: Distance of labels from the edges of a box that they are in, in pixels.
INSET = 4


@dataclass(frozen=True)
class Mark:
    """Box on a picture.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture.
        is_human: whether the box is that of the human.
        label: its label, possibly empty.
        is_kept: kept pairs have solid boxes, discarded pairs have thin dashed boxes.
        is_sampled: boxes at sampled frames are thick, interpolated boxes are thinner and paler.
    """

    box: Rect
    is_human: bool
    label: str
    is_kept: bool
    is_sampled: bool = True


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of Pillow in a size in pixels."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # because the size is given
    return font


@cache
def _glyph(character: str) -> str:
    """Return a character or what represents it in the font, which has few letters beyond ASCII."""
    missing = bytes(font_of(16).getmask("\uffff"))
    for text in (character, unicodedata.normalize("NFKD", character)):
        shown = "".join(c for c in text if c.isprintable() and not unicodedata.combining(c))
        if shown and all(c == " " or bytes(font_of(16).getmask(c)) != missing for c in shown):
            return shown
    return "?" if character.isprintable() else " "


def printable(text: str) -> str:
    """Return a text in which characters without a glyph are replaced."""
    return "".join(map(_glyph, text))


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return a printable text that fits into a width in pixels, possibly with an ellipsis."""
    text = printable(text)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = font.getlength(text[:middle].rstrip() + "…") <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…" if low else ""


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: float, lines: int) -> list[str]:
    """Break a text into at most some lines of a width in pixels; the last one may be shortened."""
    words, found = printable(text).split(), [""]
    for at, word in enumerate(words):
        longer = f"{found[-1]} {word}".lstrip()
        if not found[-1] or font.getlength(longer) <= width:
            found[-1] = longer
        elif len(found) < lines:
            found.append(word)
        else:
            found[-1] = " ".join([found[-1], *words[at:]])
            break
    return [shortened(line, font, width) for line in found]


def line_height(font: ImageFont.FreeTypeFont) -> int:
    """Return the height of a line of text in pixels."""
    return round(font.size * 1.3)


def draw_text(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    fill: str | tuple[int, ...],
    anchor: str = "ls",
) -> None:
    """Draw a text, with `anchor` of Pillow; by default `xy` is the left end of the baseline."""
    draw.text(xy, printable(text), fill=fill, font=font, anchor=anchor)


def draw_arrow(
    draw: ImageDraw.ImageDraw, start: float, end: float, y: float, colour: str, *, head: bool = True
) -> None:
    """Draw a horizontal arrow to the right, or a line without a head."""
    draw.line((start, y, end - (6 if head else 0), y), fill=colour, width=2)
    if head:
        draw.polygon([(end, y), (end - 9, y - 5), (end - 9, y + 5)], fill=colour)


def dashed_box(
    draw: ImageDraw.ImageDraw, box: Rect, fill: str | tuple[int, ...], width: int
) -> None:
    """Draw the outline of a box as dashes that begin at its corners."""
    x1, y1, x2, y2 = box
    dash, step = max(DASH * width, 4), max((DASH + GAP) * width, 7)
    for x in range(round(x1), round(x2) + 1, step):
        for side in (y1, y2):
            draw.line((x, side, min(x + dash - 1, x2), side), fill=fill, width=width)
    for y in range(round(y1), round(y2) + 1, step):
        for side in (x1, x2):
            draw.line((side, y, side, min(y + dash - 1, y2)), fill=fill, width=width)


def draw_marks(
    image: Image.Image, marks: Iterable[Mark], font_size: int, line: int, margin: int = 0
) -> None:
    """Draw boxes and their labels on a picture.

    Labels of kept pairs do not overlap if there is room. Labels of discarded pairs are left out
    where they would overlap another label.

    Args:
        image: RGB picture.
        marks: the boxes. Kept ones are drawn on top.
        font_size: size of the labels in pixels.
        line: width of the lines of kept boxes at sampled frames, in pixels.
        margin: distance of labels from the edges of the picture in pixels.
    """
    draw = ImageDraw.Draw(image, "RGBA")  # blends colours with an alpha value
    ordered = sorted(marks, key=lambda mark: (mark.is_kept, not mark.is_human))
    boxes = [_inside(mark.box, image.size) for mark in ordered]
    for mark, box in zip(ordered, boxes, strict=True):
        _outline(draw, mark, box, line)
    taken: list[Rect] = []
    room = margin, margin, image.width - margin, image.height - margin
    for mark, box in reversed([*zip(ordered, boxes, strict=True)]):
        if mark.label:
            _label(draw, mark, box, taken, font_of(font_size), room)


def _inside(box: Rect, size: tuple[int, int]) -> Rect:
    """Return the part of a box in a picture, in whole pixels, at least one pixel wide and high."""
    x1, y1, x2, y2 = map(round, box)
    x1, y1 = min(max(x1, 0), size[0] - 1), min(max(y1, 0), size[1] - 1)
    return x1, y1, min(max(x2, x1), size[0] - 1), min(max(y2, y1), size[1] - 1)


def _outline(draw: ImageDraw.ImageDraw, mark: Mark, box: Rect, line: int) -> None:
    x1, y1, x2, y2 = box
    thin = max(line // 2, 1)
    if not mark.is_kept:
        dashed_box(draw, box, (*DISCARDED, 210 if mark.is_sampled else 130), thin)
        return
    colour = HUMAN if mark.is_human else OBJECT
    if not mark.is_sampled:
        draw.rectangle(box, outline=(*colour, 190), width=thin)
        return
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(*SHADE, 200), width=line + 2)
    draw.rectangle(box, outline=colour, width=line)


def _label(
    draw: ImageDraw.ImageDraw,
    mark: Mark,
    box: Rect,
    taken: list[Rect],
    font: ImageFont.FreeTypeFont,
    room: Rect,
) -> None:
    pad = max(round(font.size / 4), 2)
    text = shortened(mark.label, font, room[2] - room[0] - 2 * pad)
    width, height = font.getlength(text) + 2 * pad, line_height(font)
    place, overlap = _place(box, (width, height), taken, room, mark.is_human)
    if not text or (overlap and not mark.is_kept):
        return
    taken.append(place)
    colour = HUMAN_TEXT if mark.is_human else OBJECT_TEXT
    colour = colour if mark.is_kept else DISCARDED
    draw.rectangle(place, fill=(*SHADE, 205 if mark.is_kept else 150))
    middle = place[1] + height / 2 + 1
    draw_text(draw, (place[0] + pad, middle), text, font, colour, "lm")


def _place(
    box: Rect, label: tuple[float, float], taken: list[Rect], room: Rect, is_inside: bool
) -> tuple[Rect, float]:
    """Return the place for a label beside the edges of a box, and its overlap with other labels."""
    (x1, y1, x2, y2), (width, height) = box, label
    outside, inside = [y1 - height - 1, y2 + 2], [y1 + INSET, y2 - height - INSET]
    rows = inside + outside if is_inside else outside + inside
    left, right = (x1 + INSET, x2 - INSET) if is_inside else (x1, x2)
    places = []
    for y in (*rows, y1 + height + 2, y1 + 2 * height + 3, y2 + height + 3, y1 - 2 * height - 2):
        for x in (left, right - width):
            x = max(min(x, room[2] - width), room[0])
            places.append((x, y, x + width, y + height))
    corner = room[0], room[1], room[0] + width, room[1] + height
    places = [p for p in places if p[1] >= room[1] and p[3] <= room[3]] or [corner]
    best = min(places, key=lambda place: sum(_shared(place, other) for other in taken))
    return best, sum(_shared(best, other) for other in taken)


def _shared(a: Rect, b: Rect) -> float:
    """Return the area in both of two boxes."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
