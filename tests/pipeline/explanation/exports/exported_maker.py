"""Maker of exported videos with names that file formats must escape."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.explanation.exports.exported import ClassNames, ExportedVideo
from pipeline.explanation.exports.writing import ExportFormat, write_exports
from pipeline.explanation.observations import Frame, Window
from tests.pipeline.explanation.report.explanation_maker import make_explanation

HOSTILE = (
    'say "no" \\ to it',
    "one, two; three",
    "line\nbreak\ttab",
    "<b>&amp; 'tag'</b>",
    "naïve 人 \U0001f642",
    "$video %s {x}",
)
CLASSES = ClassNames(
    actions=tuple((f"c{i:03}", f"do {name}") for i, name in enumerate(HOSTILE)),
    objects=("person", *HOSTILE),
)
#: Path that must be escaped in URLs and JSON.
PATH = Path("/videos/a b/ü#1%.mp4").absolute()


def make_video(
    seed: int = 0, name: str = "CLIP1", *, path: Path | None = PATH, **changes: object
) -> ExportedVideo:
    """Make an exported video of random tokens with the names of `HOSTILE`."""
    given: dict = {"objects": HOSTILE[:3], "predicates": HOSTILE, "images": False} | changes
    made = make_explanation(seed, name=name, **given)
    names = dict(CLASSES.actions)
    rows = tuple(
        replace(row, name=names[row.class_id], sentence=f"{names[row.class_id]} ({row.score})")
        for row in made.predictions
    )
    draw = random.Random(seed)
    scores = tuple(draw.random() for _ in CLASSES.actions)
    return ExportedVideo(replace(made, predictions=rows), path, scores)


def make_overlapping() -> ExportedVideo:
    """Make a video of two windows that share their middle frames, with the same boxes in both."""
    video = make_video(frames=12, windows=2, objects=HOSTILE[:1])
    explanation = video.explanation
    place = {t: (t if t < 6 else t - 3) for t in range(12)}  # frames 3 to 5 occur twice
    frames = tuple(
        replace(row, frame_index=10 * place[row.t], time_s=place[row.t] / 2)
        for row in explanation.sampling.frames
    )
    of = {frame.t: frame for frame in frames}
    tokens = tuple(
        replace(
            token,
            frame_index=of[token.t].frame_index,
            time_s=of[token.t].time_s,
            object=replace(token.object, box=(float(place[token.t]), 1.0, 60.0, 70.0)),
            keep=token.t >= 6,
        )
        for token in explanation.tokens
    )
    made = replace(
        explanation,
        sampling=replace(explanation.sampling, frames=frames),
        tokens=tokens,
        windows=(Window(0, (0.0, 2.5), (0.5,) * 5), Window(1, (1.5, 4.0), (0.5,) * 5)),
    )
    return replace(video, explanation=made)


def odd_videos() -> list[ExportedVideo]:
    """Return videos without tokens, predictions, frames, a path or a frame size, in this order."""
    whole = make_video(5, "PLAIN")
    empty = make_video(6, "NOFRAME", frames=0, actions=0)
    return [
        make_video(1, "NOTOKEN", objects=()),
        make_video(2, "NOACTION", actions=0),
        empty,
        replace(whole, path=None),
        make_video(4, "NOSIZE", size=(0, 0)),
    ]


def export(
    kind: ExportFormat, videos: Sequence[ExportedVideo], out: Path, classes: ClassNames = CLASSES
) -> Path:
    """Write one format and return the folder of its files."""
    write_exports([kind], videos, out, classes)
    return out / "exports"


def frames_of(video: ExportedVideo) -> dict[int, Frame]:
    """Return the first sampled frame of each frame index."""
    found: dict[int, Frame] = {}
    for frame in video.explanation.sampling.frames:
        found.setdefault(frame.frame_index, frame)
    return found
