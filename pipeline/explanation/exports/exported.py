"""Types of an exported video, and its boxes by frame."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import PERSON, Frame, Token, Video
from pipeline.explanation.wording import Wording, load_wording

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class ClassNames:
    """Classes of a trained network.

    Attributes:
        actions: (id, name) of each of the C action classes, in the order of the scores.
        objects: names of the object classes, `person` first.
    """

    actions: tuple[tuple[str, str], ...]
    objects: tuple[str, ...]


@dataclass(frozen=True)
class ExportedVideo:
    """Explained video.

    Attributes:
        explanation: its explanation.
        path: absolute path of the video, or None if the video is not a file.
        scores: score of each of the C action classes.
    """

    explanation: Explanation
    path: Path | None
    scores: tuple[float, ...]

    @property
    def location(self) -> str:
        """Path of the video, or `ID.mp4` if the video is not a file."""
        return f"{self.explanation.video.id}.mp4" if self.path is None else str(self.path)


@dataclass(frozen=True)
class FrameBox:
    """Box of an object, or of the subject of pairs: a person, a hand or the head.

    Attributes:
        class_: object class.
        box: x1, y1, x2, y2 in pixels of the decoded frame.
        score: score of the detector, or 1 if annotated.
        track: track of an object, or None for a subject.
        relations: shown predicates of an object, one per pair and predicate group with a name.
        is_kept: whether a token with the box is kept.
    """

    class_: str
    box: XYXY
    score: float
    track: int | None
    relations: tuple[str, ...]
    is_kept: bool


@dataclass(frozen=True)
class FrameBoxes:
    """Boxes of a sampled frame.

    Attributes:
        frame_index: number of the frame in the video, from 0.
        time_s: time of the frame in seconds.
        windows: windows that the frame belongs to.
        boxes: subjects, then objects. Each box occurs once.
    """

    frame_index: int
    time_s: float
    windows: frozenset[int]
    boxes: tuple[FrameBox, ...]

    @property
    def persons(self) -> tuple[FrameBox, ...]:
        """Boxes of persons whose relations are used."""
        return tuple(box for box in self.boxes if box.track is None and box.class_ == PERSON)


def boxes_by_frame(explanation: Explanation) -> list[FrameBoxes]:
    """Return the boxes of each sampled frame, in order of frames.

    Overlapping windows can share a frame. It is returned once. A box that several tokens share has
    the track and the relations of the first kept token, or of the first token if none is kept. If
    it is part of several pairs of a window, it has the first of their tracks, and all relations of
    kept pairs that hold for the person.
    """
    wording = load_wording(explanation.vocabulary)
    frames: dict[int, list[Frame]] = {}
    for row in explanation.sampling.frames:
        frames.setdefault(row.frame_index, []).append(row)
    tokens: dict[int, list[Token]] = {index: [] for index in frames}
    for token in explanation.tokens:
        tokens[token.frame_index].append(token)
    return [
        FrameBoxes(
            index,
            rows[0].time_s,
            frozenset(row.window for row in rows),
            _boxes(tokens[index], wording),
        )
        for index, rows in sorted(frames.items())
    ]


def relative_box(box: XYXY, video: Video) -> XYXY | None:
    """Return a box relative to the size of a frame, clipped to it.

    Args:
        box: x1, y1, x2, y2 in pixels of the decoded frame.
        video: video of the frame.

    Returns:
        x1, y1, x2, y2 from 0 to 1, or None if the frame has no size.
    """
    if not (video.width > 0 and video.height > 0):
        return None
    x1, y1, x2, y2 = (
        min(max(value / size, 0.0), 1.0)
        for value, size in zip(box, (video.width, video.height) * 2, strict=True)
    )
    return x1, y1, x2, y2


def _boxes(tokens: Sequence[Token], wording: Wording) -> tuple[FrameBox, ...]:
    """Return the boxes of the tokens of a frame: subjects, then objects."""
    objects = _unique(_object(token, tokens, wording) for token in tokens)
    subjects = _unique(map(_subject, tokens))
    known = {(row.class_, row.box) for row in objects}
    return (*(row for row in subjects if (row.class_, row.box) not in known), *objects)


def _subject(token: Token) -> FrameBox:
    return FrameBox(token.human.class_, token.human.box, token.human.score, None, (), token.keep)


def _object(token: Token, tokens: Sequence[Token], wording: Wording) -> FrameBox:
    """Return the object of a token, with what the other pairs of the object state."""
    same = [other for other in tokens if other.has_same_object(token)]
    shown = [other for other in same if other.keep] if token.keep else [token]
    named = dict.fromkeys(
        (name.group, name.predicate) for other in shown for name in other.names if name.predicate
    )
    row, track = token.object, min(other.track for other in same)
    return FrameBox(
        row.class_,
        row.box,
        row.score,
        track,
        wording.true_of_person([word for _, word in named]),
        token.keep,
    )


def _unique(boxes: Iterable[FrameBox]) -> list[FrameBox]:
    found: dict[tuple[str, XYXY], FrameBox] = {}
    for row in boxes:
        known = found.setdefault((row.class_, row.box), row)
        if row.is_kept and not known.is_kept:
            found[row.class_, row.box] = row
    return list(found.values())
