"""One frame of an annotated video: the picture with boxes, above the bar with the actions."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.bar import MAX_ACTIONS, Bar
from pipeline.explanation.media.moments import moment_at, moments_of
from pipeline.explanation.media.painting import DARK, Mark, Rect, draw_marks
from pipeline.explanation.media.pairs import PairTimeline, ShownPair
from pipeline.explanation.wording import Wording, load_wording, words

#: Smallest width of a painted frame in pixels, so that its text can be read. Smaller pictures are
#: enlarged by a whole number up to `MAX_ZOOM`, but not beyond `MAX_HEIGHT`.
MIN_WIDTH, MAX_HEIGHT, MAX_ZOOM = 640, 1080, 4
#: Width of lines and size of labels as shares of the longest side of the picture.
LINE, LABEL = 0.004, 0.019


class Canvas:
    """Painter of the frames of an annotated video.

    Args:
        explanation: the explanation.
        times_s: times of all frames in seconds.
        end_s: end of the last frame in seconds.
        picture_size: width and height of the upright frames in pixels.

    Attributes:
        size: width and height of a painted frame in pixels, both even.
        picture: left, top, right and bottom of the picture in a painted frame.
        zoom: size of a pixel of the picture in a painted frame.
    """

    def __init__(
        self,
        explanation: Explanation,
        times_s: Sequence[float],
        end_s: float,
        picture_size: tuple[int, int],
    ) -> None:
        width, height = picture_size
        self.zoom = max(min(-(-MIN_WIDTH // width), MAX_HEIGHT // height, MAX_ZOOM), 1)
        shown = width * self.zoom, height * self.zoom
        whole = max(shown[0] + shown[0] % 2, MIN_WIDTH)
        self._wording = load_wording(explanation.vocabulary)
        self._times, self._pairs = times_s, PairTimeline(explanation, times_s)
        self._moments = moments_of(explanation.predictions[:MAX_ACTIONS], end_s)
        sampled = {times_s[number]: kept for number, kept in self._pairs.sampled.items()}
        self._bar = Bar(explanation, whole, end_s, sampled=sampled, moments=self._moments)
        left = (whole - shown[0]) // 2
        self.picture = (left, 0, left + shown[0], shown[1])
        total = shown[1] + self._bar.height
        self.size = (whole, total + total % 2)
        self._line = max(round(LINE * max(shown)), 2)
        self._label = min(max(round(LABEL * max(shown)), 12), 32)

    def paint(self, number: int, picture: Image.Image) -> Image.Image:
        """Return a frame with its boxes and the bar.

        Args:
            number: number of the frame in the video.
            picture: the upright frame, RGB.
        """
        time = self._times[number]
        if self.zoom > 1:
            size = picture.width * self.zoom, picture.height * self.zoom
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        marks = marks_of(self._pairs.at(number), self.zoom, self._wording)
        moment, is_within = moment_at(self._moments, time)
        frame = 2 * self._line
        if is_within:
            edge = 0, 0, picture.width - 1, picture.height - 1
            ImageDraw.Draw(picture).rectangle(edge, outline=DARK.reason, width=frame)
        draw_marks(picture, marks, self._label, self._line, frame)
        whole = Image.new("RGB", self.size, DARK.paper)
        whole.paste(picture, self.picture[:2])
        whole.paste(self._bar.paint(time, moment, is_within=is_within), (0, self.picture[3]))
        return whole


def marks_of(
    pairs: Sequence[ShownPair], scale: float, wording: Wording | None = None
) -> list[Mark]:
    """Return the boxes of pairs. Each box occurs once, also if it is part of several pairs.

    Args:
        pairs: pairs of one frame.
        scale: factor from pixels of the decoded frame to pixels of the picture.
        wording: words of the vocabulary. If None, labels do not state the relations of kept pairs.
    """
    objects: dict[tuple[str, Rect], list[ShownPair]] = {}
    for pair in pairs:
        objects.setdefault((pair.token.object.class_, pair.object), []).append(pair)
    marks = []
    for (name, box), mine in objects.items():
        shown = [pair for pair in mine if pair.token.keep] or mine[:1]
        is_kept = shown[0].token.keep
        label = name if wording is None or not is_kept else label_of(shown, wording)
        marks.append(Mark(_scaled(box, scale), False, label, is_kept, shown[0].is_sampled))
    humans: dict[Rect, Mark] = {}
    for pair in pairs:
        token = pair.token
        human = Mark(
            _scaled(pair.human, scale), True, token.human.class_, token.keep, pair.is_sampled
        )
        is_object = (token.human.class_, pair.human) in objects
        if not is_object and (token.keep or human.box not in humans):
            humans[human.box] = human
    return [*marks, *humans.values()]


def label_of(pairs: Sequence[ShownPair], wording: Wording) -> str:
    """Return an object and its relations in words.

    The last predicate group with a predicate, such as contacting, is the most informative.

    Args:
        pairs: pairs of the object.
        wording: words of the vocabulary.
    """
    shown = [next((n for n in reversed(p.token.names) if n.predicate), None) for p in pairs]
    names = {name.predicate: name for name in shown if name is not None and name.predicate}
    said = ", ".join(
        words(word) + ("" if names[word].status == "confident" else " ?")
        for word in wording.true_of_person(names)
    )
    thing = pairs[0].token.object.class_
    return f"{thing}: {said}" if said else thing


def _scaled(box: Rect, scale: float) -> Rect:
    x1, y1, x2, y2 = (round(value * scale, 1) for value in box)
    return x1, y1, x2, y2
