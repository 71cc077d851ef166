"""Bar with the actions below the picture of an annotated video."""

from collections.abc import Mapping

from PIL import Image, ImageDraw

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.moments import Moment, moment_of
from pipeline.explanation.media.painting import (
    DARK,
    draw_text,
    font_of,
    line_height,
    shortened,
    wrapped,
)
from pipeline.explanation.predictions import Prediction

#: Most actions, and most lines of a sentence.
MAX_ACTIONS, MAX_LINES = 4, 4
#: Warnings that are shown while there is no sentence.
NOTICES = ("RANDOM_WEIGHTS", "UNFAMILIAR", "NO_PERSON", "NO_OBJECT", "NO_PAIR", "EMPTY_SELECTION")
#: Color of the window that is explained.
WINDOW = "#3f6782"
#: Share of the width for the names of actions.
NAMES = 0.4


class Bar:
    """Bar with the actions, their scores, time strips and the sentence of the current moment.

    Each action has a strip over the whole video, on which the window that is explained and the
    moment of the reason are marked. Ticks below the strips show the sampled frames.

    Args:
        explanation: the explanation.
        width: width in pixels.
        end_s: end of the video in seconds.
        sampled: times of the sampled frames in seconds, and whether they are kept.
        moments: moments whose sentences will be shown.

    Attributes:
        height: height in pixels.
    """

    def __init__(
        self,
        explanation: Explanation,
        width: int,
        end_s: float,
        *,
        sampled: Mapping[float, bool],
        moments: list[Moment],
    ) -> None:
        self._explanation, self._width, self._end = explanation, width, max(end_s, 1e-6)
        self._sampled = sampled
        self._rows = explanation.predictions[:MAX_ACTIONS]
        size = min(max(round(width * 0.019), 13), 34)
        self._font, self._pad, self._step = font_of(size), size, round(size * 1.6)
        score = self._font.getlength("0.00")
        self._score = round(width * NAMES + score)
        self._left, self._right = self._score + size, width - size
        notice = " ".join(
            f"{w.message[0].upper()}{w.message[1:]}."
            for w in explanation.warnings
            if w.code in NOTICES
        )
        texts: dict[Moment | None, str] = {None: notice} | {m: m.sentence for m in moments}
        self._texts = {key: self._wrapped(text) for key, text in texts.items() if text}
        lines = max(map(len, self._texts.values()), default=0)
        self._ticks = self._pad // 2 + self._step * max(len(self._rows), 1)
        self._below = self._ticks + self._step + self._pad // 3
        self.height = self._below + lines * line_height(self._font) + self._pad // 2
        self._drawn: dict[tuple[Moment | None, bool], Image.Image] = {}

    def paint(self, time_s: float, moment: Moment | None, *, is_within: bool) -> Image.Image:
        """Draw the bar.

        Args:
            time_s: time of the frame in seconds.
            moment: moment that is shown, or None.
            is_within: whether the time is within the moment.

        Returns:
            RGB image of the width and the height of the bar.
        """
        key = moment, is_within
        if key not in self._drawn:
            self._drawn[key] = self._background(*key)
        image = self._drawn[key].copy()
        draw = ImageDraw.Draw(image)
        x, middle = self.place(time_s), self._ticks + self._step // 2
        size = max(round(self._font.size / 3), 4)
        top = self._pad // 2
        draw.line((x, top, x, self._ticks + self._step - 3), fill=DARK.ink, width=2)
        draw.polygon([(x - size, top - 1), (x + size, top - 1), (x, top + size)], fill=DARK.ink)
        text = f"{time_s:.1f} of {self._end:.1f} s"
        draw_text(draw, (self._pad, middle), text, self._font, DARK.muted, "lm")
        return image

    def place(self, time_s: float) -> int:
        """Return the horizontal position of a time in pixels."""
        part = min(max(time_s / self._end, 0.0), 1.0)
        return round(self._left + part * (self._right - self._left))

    def _wrapped(self, sentence: str) -> list[str]:
        return wrapped(sentence, self._font, self._width - 2 * self._pad, MAX_LINES)

    def _background(self, moment: Moment | None, is_within: bool) -> Image.Image:
        image = Image.new("RGB", (self._width, self.height), DARK.paper)
        draw = ImageDraw.Draw(image)
        for row, prediction in enumerate(self._rows):
            is_shown = moment is not None and moment.row == row and is_within
            self._action(draw, row, prediction, is_shown)
        if not self._rows:
            y = self._pad // 2 + self._step // 2
            draw_text(draw, (self._pad, y), "no actions", self._font, DARK.muted, "lm")
        for time, is_kept in self._sampled.items():
            x, y = self.place(time), self._ticks + self._step // 2
            tick = round(self._font.size * (0.45 if is_kept else 0.22))
            colour = DARK.accent if is_kept else DARK.muted
            draw.line((x, y - tick, x, y + tick), fill=colour, width=3 if is_kept else 2)
        for at, line in enumerate(self._texts.get(moment, [])):
            colour = DARK.ink if is_within else DARK.muted
            baseline = self._below + self._font.size + at * line_height(self._font)
            draw_text(draw, (self._pad, baseline), line, self._font, colour)
        return image

    def _action(
        self, draw: ImageDraw.ImageDraw, row: int, prediction: Prediction, is_shown: bool
    ) -> None:
        top = self._pad // 2 + row * self._step
        y, half = top + self._step // 2, max(round(self._font.size * 0.3), 3)
        colour = DARK.ink if prediction.is_present else DARK.muted
        colour = DARK.reason if is_shown else colour
        room = self._score - self._font.getlength("0.00") - 2 * self._pad
        draw_text(draw, (self._pad, y), shortened(prediction.name, self._font, room), self._font,
                  colour, "lm")  # fmt: skip
        draw_text(draw, (self._score, y), f"{prediction.score:.2f}", self._font, colour, "rm")
        draw.rectangle((self._left, y - half, self._right, y + half), fill=DARK.line)
        windows = self._explanation.windows
        if len(windows) > 1:
            start, end = map(self.place, windows[prediction.window].between_s)
            draw.rectangle((start, y - half, max(end, start + 2), y + half), fill=WINDOW)
        moment = moment_of(row, prediction, self._end)
        if moment is not None:
            start, end = self.place(moment.start_s), self.place(moment.end_s)
            end = max(end, start + 3)
            if prediction.is_present:
                draw.rectangle((start, y - half, end, y + half), fill=DARK.reason)
            else:
                draw.rectangle((start, y - half, end, y + half), outline=DARK.muted)
