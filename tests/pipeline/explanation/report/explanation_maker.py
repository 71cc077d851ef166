"""Maker of random explanations."""

import io
import random
from collections.abc import Sequence

from PIL import Image

from pipeline.explanation.edits import Edit, Edited, EditedPrediction
from pipeline.explanation.explanation import (
    WARNINGS,
    Explanation,
    Generator,
    Warned,
)
from pipeline.explanation.observations import (
    Box,
    Frame,
    Label,
    Name,
    People,
    Person,
    Sampling,
    Token,
    Track,
    Video,
    Window,
)
from pipeline.explanation.predictions import Prediction, Reason, Statement, TokenContribution

GROUPS = ("attention", "spatial", "contacting")
OBJECTS = ("cup/glass/bottle", "table", "phone/camera", "sofa/couch")
PREDICATES = ("holding", "not_contacting", "drinking_from", "in_front_of")
GENERATOR = Generator("a" * 64, "b" * 64, "c" * 64, "d" * 64, {}, "strict", "ground-truth", {})


def make_explanation(
    seed: int = 0,
    *,
    name: str = "CLIP1",
    objects: Sequence[str] = OBJECTS[:3],
    predicates: Sequence[str] = PREDICATES,
    frames: int = 16,
    windows: int = 1,
    actions: int = 5,
    people: int = 1,
    size: tuple[int, int] = (480, 270),
    images: bool = True,
    labels: tuple[str, ...] | None = ("c000", "c001"),
    warnings: Sequence[str] = ("LOW_MARGIN",),
    edited: bool = False,
) -> Explanation:
    """Make an explanation of random tokens, whose reasons are of all kinds."""
    draw = random.Random(seed)
    sampled = tuple(
        Frame(t, t * windows // max(frames, 1), 6 * t + 3, t / 2 + 0.25, True)
        for t in range(frames)
    )
    tokens = _tokens(draw, sampled, objects, predicates, size, windows)
    tracks: dict[int, list[int]] = {}
    for token in tokens:
        tracks.setdefault(token.track, []).append(token.id)
    predictions = _predictions(
        draw, tokens, sampled, actions, windows, f"Use {objects[0] if objects else None}"
    )
    used = [row.frame_index for row in sampled] if images else []
    duration = frames / 2 + 0.5
    given = None if labels is None else tuple(Label(label, f"Action {label}") for label in labels)
    video = Video(
        "V", "0" * 64, 24.0, 6 * frames + 9, *size, duration, 0, "none", False, False, given
    )
    # Pages escape ids even if `Video` accepts no unsafe id.
    object.__setattr__(video, "id", name)
    return Explanation(
        fingerprint="f" * 64,
        generator=GENERATOR,
        video=video,
        vocabulary="action_genome",
        boxes="detected",
        pairs=(),
        people=People(None, tuple(Person(i + 1, frames, i % 2) for i in range(people))),
        sampling=Sampling("segment-centres", sampled),
        windows=tuple(
            Window(
                number,
                (frames * number / windows / 2, frames * (number + 1) / windows / 2),
                tuple(draw.random() for _ in predictions),
            )
            for number in range(windows)
        ),
        tracks=tuple(
            Track(number, tokens[mine[0]].object.class_, tuple(mine))
            for number, mine in tracks.items()
        ),
        tokens=tokens,
        transitions=(),
        predictions=predictions,
        warnings=tuple(Warned(code, WARNINGS[code]) for code in warnings),
        edited=_edited(tokens, predictions) if edited else None,
        images={index: noisy_jpeg(index, size) for index in used},
    )


def _edited(tokens: tuple[Token, ...], predictions: tuple[Prediction, ...]) -> Edited:
    kind, word = tokens[0].object.class_, tokens[0].names[2].predicate or "none"
    return Edited(
        (Edit((0.0, 4.0), kind, "contacting", word, "not_contacting"),),
        tuple(token.id for token in tokens[:5]),
        tuple(
            EditedPrediction(
                row.class_id, row.name, row.window, row.score, row.score / 2, row.sentence,
                row.sentence, row.reason,
            )
            for row in predictions
        ),
    )  # fmt: skip


def noisy_jpeg(seed: int, size: tuple[int, int]) -> bytes:
    """Return an image of noise, which JPEG compresses badly, with a longest side of 480 pixels."""
    scale = 480 / max(size)
    small = max(round(size[0] * scale / 3), 1), max(round(size[1] * scale / 3), 1)
    noise = random.Random(seed).randbytes(small[0] * small[1] * 3)
    image = Image.frombytes("RGB", small, noise)
    buffer = io.BytesIO()
    image.resize((small[0] * 3, small[1] * 3)).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def _tokens(
    draw: random.Random,
    frames: Sequence[Frame],
    objects: Sequence[str],
    predicates: Sequence[str],
    size: tuple[int, int],
    windows: int,
) -> tuple[Token, ...]:
    tokens: list[Token] = []
    for frame in frames:
        for k, kind in enumerate(objects):
            if len(objects) > 1 and draw.random() < 0.2:
                continue
            x, y = draw.uniform(0, size[0] * 0.8), draw.uniform(0, size[1] * 0.8)
            box = (x, y, x + size[0] * 0.2, y + size[1] * 0.2)
            tokens.append(
                Token(
                    id=len(tokens),
                    t=frame.t,
                    k=k,
                    track=k * windows + frame.window,
                    time_s=frame.time_s,
                    frame_index=frame.frame_index,
                    human=Box("person", (size[0] * 0.3, 0.0, size[0] * 0.6, size[1] * 0.9), 0.9),
                    object=Box(kind, box, 0.8),
                    keep=draw.random() < 0.6,
                    keep_temporal=True,
                    keep_spatial=True,
                    keep_probability=0.5,
                    names=tuple(_name(draw, group, predicates) for group in GROUPS),
                )
            )
    return tuple(tokens)


def _name(draw: random.Random, group: str, predicates: Sequence[str]) -> Name:
    status = draw.choice(("confident", "confident", "uncertain", "unknown"))
    shown = None if status == "unknown" else draw.choice(predicates)
    right = draw.choice((None, 0.5, 0.93))
    return Name(group, shown, (shown,) if shown else (), 0.8, 0.1, status, right, None)


def _predictions(
    draw: random.Random,
    tokens: Sequence[Token],
    frames: Sequence[Frame],
    actions: int,
    windows: int,
    name: str,
) -> tuple[Prediction, ...]:
    window_of = {frame.t: frame.window for frame in frames}
    made = []
    for rank in range(actions):
        window = rank % windows
        kept = [token for token in tokens if token.keep and window_of[token.t] == window]
        score = 0.95 / (1 + rank / 4)
        reason = _reason(draw, kept)
        sentence = (
            f"{name} {rank} ({score:.2f}): the person is holding the cup at 1.2 s and no longer "
            "touches it at 2.2 s. Had the cup still been held, the score would be 0.12."
        )
        evidence = tuple(TokenContribution(token.id, 0.5) for token in kept)
        row = Prediction(
            rank + 1, f"c{rank:03}", f"{name} {rank}", score, score * 0.9, 1.0, score >= 0.5,
            window, evidence, (), reason, sentence,
        )  # fmt: skip
        made.append(row)
    return tuple(made)


def _reason(draw: random.Random, kept: Sequence[Token]) -> Reason:
    kind = draw.choice(("change", "change", "lasting", "none")) if kept else "none"
    if kind == "none":
        return Reason("none", None, None, None, None, None, None, (), 0.4, 0.4, None, None, ())
    track = draw.choice(kept).track
    mine = [token for token in kept if token.track == track]
    first, last = mine[0], mine[-1 if kind == "lasting" else min(1, len(mine) - 1)]
    between, thing = (first.time_s, last.time_s), first.object.class_
    before = "holding" if kind == "change" else None
    also = Statement("lasting", thing, track, "spatial", None, "in_front_of", between)
    return Reason(
        kind, thing, track, "contacting", before, "not_contacting", between,
        (first.id, last.id) if first is not last else (first.id,), 0.9, 0.2, 0.1,
        0.12 if before else None, (also,) if draw.random() < 0.3 else (),
    )  # fmt: skip
