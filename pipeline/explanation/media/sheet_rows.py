"""Rows of a contact sheet: frames, and the tokens and transitions of a track."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageOps

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.canvas import marks_of
from pipeline.explanation.media.painting import (
    LIGHT,
    PLAIN,
    draw_arrow,
    draw_marks,
    draw_text,
    font_of,
    line_height,
    shortened,
)
from pipeline.explanation.media.pairs import ShownPair
from pipeline.explanation.observations import Frame, Name, Token, Track, Transition
from pipeline.explanation.wording import words

#: Most tracks, and most lines of transitions of a track.
MAX_TRACKS, MAX_LANES = 6, 6
#: Sizes in pixels: space between columns, rows and lines, greatest height of a frame.
GAP, ROOM, LANE, MAX_HEIGHT = 14, 10, 30, 320
#: Width of the edge around the frames of a reason in pixels.
EDGE = 5
#: Text sizes: objects, first and other names of a token, labels on frames.
OBJECT, NAME, SMALL, LABEL = 24, 21, 18, 15
#: Colour of the text of discarded tokens.
GREY = "#9aa2ab"


@dataclass(frozen=True)
class Columns:
    """Columns of sampled frames.

    Attributes:
        frames: the frames.
        left: left edge of the first column in pixels.
        width: width of a column in pixels.
    """

    frames: tuple[Frame, ...]
    left: int
    width: int

    def place(self, column: int) -> int:
        """Return the left edge of a column."""
        return self.left + column * self.width

    def of(self, t: int) -> int:
        """Return the column of a sampled frame; columns outside are -1 and the number of frames."""
        numbers = [frame.t for frame in self.frames]
        if t in numbers:
            return numbers.index(t)
        return -1 if not numbers or t < numbers[0] else len(numbers)


def track_rows(
    explanation: Explanation, window: int, ranks: Mapping[int, list[int]]
) -> tuple[list[Track], list[Track]]:
    """Return the tracks of a window that are shown, and the others.

    Tracks of a reason come first, by the rank of its action; then tracks with kept tokens.

    Args:
        explanation: the explanation.
        window: the window.
        ranks: ranks of the actions whose reasons contain a token, by token.
    """
    of_window = {frame.t for frame in explanation.sampling.frames if frame.window == window}
    tokens = explanation.tokens
    here = [
        (track, [i for i in track.tokens if tokens[i].t in of_window])
        for track in explanation.tracks
    ]
    here = [(track, mine) for track, mine in here if mine]

    def order(row: tuple[Track, list[int]]) -> tuple[float, int, int, int]:
        track, mine = row
        rank = min((min(ranks[i]) for i in mine if i in ranks), default=float("inf"))
        return rank, -sum(tokens[i].keep for i in mine), -len(mine), track.id

    ordered = [track for track, _ in sorted(here, key=order)]
    return ordered[:MAX_TRACKS], ordered[MAX_TRACKS:]


class FrameRow:
    """Row of the sampled frames with the boxes of kept pairs, and their times.

    Attributes:
        height: height in pixels.
    """

    def __init__(
        self, explanation: Explanation, columns: Columns, ranks: Mapping[int, list[int]]
    ) -> None:
        self._explanation, self._columns = explanation, columns
        video = explanation.video
        room = columns.width - GAP
        self._scale = min(room / max(video.width, 1), MAX_HEIGHT / max(video.height, 1))
        self._size = (
            max(round(video.width * self._scale), 1),
            max(round(video.height * self._scale), 1),
        )
        self._reasons = {explanation.tokens[token].t for token in ranks}
        self.height = EDGE + self._size[1] + 6 + line_height(font_of(NAME))

    def paint(self, image: Image.Image, draw: ImageDraw.ImageDraw, left: int, y: int) -> None:
        """Draw the row at a height of an image."""
        for column, frame in enumerate(self._columns.frames):
            x, top = self._columns.place(column), y + EDGE
            right, bottom = x + self._size[0], top + self._size[1]
            image.paste(self._frame(frame), (x, top))
            if frame.t in self._reasons:
                edge = x - EDGE, top - EDGE, right + EDGE - 1, bottom + EDGE - 1
                draw.rectangle(edge, outline=LIGHT.reason, width=EDGE)
            text = f"{frame.time_s:.1f} s" + ("" if frame.is_kept else ", discarded")
            colour = LIGHT.ink if frame.is_kept else GREY
            middle = bottom + 6 + line_height(font_of(NAME)) / 2
            draw_text(draw, (x, middle), text, font_of(NAME), colour, "lm")

    def _frame(self, frame: Frame) -> Image.Image:
        picture = Image.new("RGB", self._size, PLAIN)
        data = self._explanation.images.get(frame.frame_index)
        if data is not None:
            with Image.open(io.BytesIO(data)) as opened:
                shown = opened.convert("RGB")
            picture = shown.resize(self._size, Image.Resampling.LANCZOS)
        if not frame.is_kept:
            grey = ImageOps.grayscale(picture).convert("RGB")
            return Image.blend(grey, Image.new("RGB", self._size, LIGHT.paper), 0.55)
        pairs = [
            ShownPair(token, token.human.box, token.object.box, True)
            for token in self._explanation.tokens
            if token.t == frame.t and token.keep
        ]
        marks = marks_of(pairs, self._scale)
        marks = [replace(mark, label="") if mark.is_human else mark for mark in marks]
        draw_marks(picture, marks, LABEL, 2)
        return picture


class TrackRow:
    """Row of the tokens of a track with their names, above its transitions.

    Attributes:
        height: height in pixels.
    """

    def __init__(
        self,
        explanation: Explanation,
        columns: Columns,
        track: Track,
        ranks: Mapping[int, list[int]],
    ) -> None:
        self._columns, self._track, self._ranks = columns, track, ranks
        mine = [explanation.tokens[i] for i in track.tokens]
        self._tokens = {columns.of(token.t): token for token in mine}
        self._title = mine[0].title if mine else track.object
        self._has_kept = any(token.keep for token in mine)
        groups = max((len(t.shown_names) for t in mine), default=0) if self._has_kept else 1
        self._cell = 12 + line_height(font_of(NAME))
        self._cell += max(groups - 1, 0) * line_height(font_of(SMALL))
        self._lanes, self._more = self._lay_out(explanation)
        self.height = self._cell + LANE * (len(self._lanes) + bool(self._more))

    def paint(self, image: Image.Image, draw: ImageDraw.ImageDraw, left: int, y: int) -> None:
        """Draw the row at a height of an image."""
        colour = LIGHT.ink if self._has_kept else GREY
        font = font_of(OBJECT)
        name = shortened(self._title, font, self._columns.left - left - GAP)
        draw_text(draw, (left, y + self._cell / 2), name, font, colour, "lm")
        right = self._columns.place(len(self._columns.frames)) - GAP
        draw.line((left, y - ROOM // 2, right, y - ROOM // 2), fill=LIGHT.line)
        for column, token in self._tokens.items():
            if 0 <= column < len(self._columns.frames):
                self._token(draw, column, token, y)
        y += self._cell
        for lane in self._lanes:
            for transition, first, last in lane:
                self._transition(draw, transition, first, last, y + LANE // 2)
            y += LANE
        if self._more:
            text = and_more(self._more, "change")
            place = self._columns.left, y + LANE // 2
            draw_text(draw, place, text, font_of(SMALL), LIGHT.muted, "lm")

    def _token(self, draw: ImageDraw.ImageDraw, column: int, token: Token, y: int) -> None:
        x, width, badge = self._columns.place(column), self._columns.width - GAP, 0.0
        if token.keep:
            ranks = self._ranks.get(token.id)
            edge, line = (LIGHT.reason, 3) if ranks else (LIGHT.soft, 1)
            box = x, y, x + width, y + self._cell - 4
            draw.rounded_rectangle(box, 6, fill=LIGHT.soft, outline=edge, width=line)
            if ranks:
                badge = self._badge(draw, ", ".join(map(str, ranks)), x + width, y)
        names = [*reversed(token.shown_names)][: None if token.keep else 1]
        top = y + 4
        for at, name in enumerate(names):
            font = font_of(SMALL if at else NAME)
            colour = (LIGHT.muted if at else LIGHT.ink) if token.keep else GREY
            text = shortened(_said(name), font, width - 16 - (0 if at else badge))
            draw_text(draw, (x + 8, top + line_height(font) / 2), text, font, colour, "lm")
            top += line_height(font)

    @staticmethod
    def _badge(draw: ImageDraw.ImageDraw, text: str, right: int, y: int) -> float:
        """Draw the ranks of the actions whose reasons contain a token at a corner of its cell.

        Returns:
            Width in pixels.
        """
        font = font_of(SMALL)
        width = font.getlength(text) + 12
        box = right - width, y, right, y + line_height(font) + 2
        draw.rounded_rectangle(box, 6, fill=LIGHT.reason)
        middle = y + line_height(font) / 2 + 1
        draw_text(draw, (right - width / 2, middle), text, font, LIGHT.card, "mm")
        return width

    def _lay_out(
        self, explanation: Explanation
    ) -> tuple[list[list[tuple[Transition, int, int]]], int]:
        """Return the transitions in these columns in lines without overlap, and how many more."""
        lanes: list[list[tuple[Transition, int, int]]] = []
        more = 0
        for row in explanation.transitions:
            first, last = (self._columns.of(explanation.tokens[i].t) for i in row.tokens)
            end = len(self._columns.frames)
            if row.track != self._track.id or last < 0 or first >= end or first == last:
                continue
            free = next((lane for lane in lanes if lane[-1][2] < first), None)
            if free is not None:
                free.append((row, first, last))
            elif len(lanes) < MAX_LANES:
                lanes.append([(row, first, last)])
            else:
                more += 1
        return lanes, more

    def _transition(
        self, draw: ImageDraw.ImageDraw, row: Transition, first: int, last: int, y: int
    ) -> None:
        """Draw a transition from the column of its first token to that of its last token."""
        font, width = font_of(SMALL), self._columns.width - GAP - 40
        end = len(self._columns.frames)
        before, after = shortened(words(row.from_), font, width), words(row.to)
        start = self._columns.left - GAP
        if first >= 0:
            draw_text(draw, (self._columns.place(first) + 8, y), before, font, LIGHT.ink, "lm")
            start = round(self._columns.place(first) + 16 + font.getlength(before))
        stop = self._columns.place(end) - GAP
        if last < end:
            draw_text(draw, (self._columns.place(last) + 8, y), shortened(after, font, width + 20),
                      font, LIGHT.ink, "lm")  # fmt: skip
            stop = self._columns.place(last)
        draw_arrow(draw, start, stop, y, LIGHT.accent, head=last < end)


def and_more(count: int, noun: str) -> str:
    """Return words for what is not shown, such as "and 2 more changes"."""
    return f"and {count} more {noun}{'' if count == 1 else 's'}"


def _said(name: Name) -> str:
    if name.predicate is None:
        return "unknown"
    return words(name.predicate) + ("" if name.status == "confident" else " ?")
