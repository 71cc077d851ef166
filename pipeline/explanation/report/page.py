"""Report page of an explained video."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import PERSON, Token
from pipeline.explanation.predictions import Prediction, Statement
from pipeline.explanation.report.drawing import Drawing, canvas, draw
from pipeline.explanation.report.rendering import render, seconds
from pipeline.explanation.report.timeline import timelines
from pipeline.explanation.wording import Wording, load_wording, words

#: Most actions, and most ignored tokens of a track, that a page lists.
MAX_ACTIONS, MAX_IGNORED = 50, 30


@dataclass(frozen=True)
class Strip:
    """Frames of what a reason states about one track.

    Attributes:
        title: the object, and what is stated.
        first: first frame.
        second: last frame, or None if it is the first.
        between: time between the frames in words.
    """

    title: str
    first: Drawing
    second: Drawing | None
    between: str


@dataclass(frozen=True)
class Action:
    """Predicted action on the page.

    Attributes:
        prediction: the prediction.
        is_annotated: whether the action is a label, or None if the video is not annotated.
        strips: frames of its reason.
        change: frames of another change that contributes to it, or None.
        scores: other scores and their meaning.
        curve: scores of the windows, or None if there is one window.
    """

    prediction: Prediction
    is_annotated: bool | None
    strips: tuple[Strip, ...]
    change: Strip | None
    scores: tuple[tuple[str, float], ...]
    curve: dict[str, Any] | None


def report_page(explanation: Explanation) -> str:
    """Return the report page of an explanation as HTML.

    The page is self-contained. Frames without an image are drawn as boxes on a plain background.

    Args:
        explanation: the explanation, possibly without images.
    """
    labels, wording = explanation.video.labels, load_wording(explanation.vocabulary)
    chosen = explanation.predictions[:MAX_ACTIONS]
    annotated = None if labels is None else {label.class_id for label in labels}
    reasons = {token for prediction in chosen for token in prediction.reason.tokens}
    windows = [row.window for row in chosen] or [row.window for row in explanation.sampling.frames]
    lanes = timelines(explanation, {*windows[:MAX_ACTIONS]}, reasons)
    tokens = {
        token.id: _detail(explanation, token) for timeline in lanes for token in timeline.tokens
    }
    actions = [
        Action(
            prediction,
            None if annotated is None else prediction.class_id in annotated,
            tuple(_strips(explanation, prediction)),
            _change(explanation, prediction),
            tuple(_scores(explanation, prediction, wording)),
            _curve(explanation, rank, prediction),
        )
        for rank, prediction in enumerate(chosen)
    ]
    window = windows[0] if windows else 0
    here = [t.id for timeline in lanes if timeline.window == window for t in timeline.tokens]
    first = [token for row in chosen[:1] for token in row.reason.tokens if token in tokens]
    return "".join(
        render(
            "report",
            explanation=explanation,
            canvas=canvas(explanation),
            images=_images(explanation),
            actions=actions,
            timelines=lanes,
            window=window,
            ignored=_ignored(explanation),
            shown=next(iter([*first, *here, *tokens]), None),
            is_here=bool(here),
            kept_edits=_kept_edits(explanation),
            data={
                "tokens": tokens,
                "actions": [
                    {"window": row.window, "tokens": [*row.reason.tokens]} for row in chosen
                ],
            },
        )
    )


def _images(explanation: Explanation) -> dict[int, str]:
    """Return the images of the frames that have tokens, in base64."""
    frames = {token.frame_index for token in explanation.tokens} & explanation.images.keys()
    return {i: base64.b64encode(explanation.images[i]).decode() for i in sorted(frames)}


def _kept_edits(explanation: Explanation) -> int:
    """Return the number of edited tokens that are kept."""
    tokens = explanation.edited.tokens if explanation.edited else ()
    return sum(explanation.tokens[token].keep for token in tokens)


def _detail(explanation: Explanation, token: Token) -> dict[str, Any]:
    """Return what the page shows of a token that is pointed at, as JSON."""
    kept = "kept" if token.keep else "discarded"
    rows = [
        {
            "group": words(name.group),
            "predicate": words(name.predicate or "unknown"),
            "status": name.status,
            "right": "not known"
            if name.right_on_validation is None
            else f"{name.right_on_validation:.0%}",
        }
        for name in token.shown_names
    ]
    said = ", ".join(row["predicate"] for row in rows) or "no name"
    title = f"{token.title} at {seconds(token.time_s)}"
    drawing = draw(explanation, token, f"{title}: {said}")
    return {"title": title, "kept": kept, "names": rows, "drawing": drawing.to_dict()}


def _strips(explanation: Explanation, prediction: Prediction) -> Iterator[Strip]:
    """Yield the frames of what each track of a reason states."""
    ids = set(prediction.reason.tokens)
    reason = [token for token in explanation.tokens if token.id in ids]
    kept = [token for token in explanation.tokens if token.keep]
    for part in (prediction.reason, *prediction.reason.also):
        if part.between_s is None:
            continue
        ends = [
            next((t for t in (*reason, *kept) if t.track == part.track and t.time_s == time), None)
            for time in part.between_s
        ]
        first, last = ends[0] or ends[1], ends[1] or ends[0]
        if first is None or last is None:
            continue
        yield _strip(explanation, part, first, last)


def _strip(explanation: Explanation, part: Statement, first: Token, last: Token) -> Strip:
    """Return the frames of what a track states, between two tokens."""
    second = None if first is last else draw(explanation, last, _caption(last, part, part.to))
    return Strip(
        title=_stated(first, part),
        first=draw(explanation, first, _caption(first, part, part.from_ or part.to)),
        second=second,
        between=seconds(abs(last.time_s - first.time_s)),
    )


def _change(explanation: Explanation, prediction: Prediction) -> Strip | None:
    """Return the frames of the change with the largest contribution, unless the reason has it."""
    rows = [explanation.transitions[part.transition] for part in prediction.transitions[:1]]
    stated = {(part.track, part.between_s) for part in (prediction.reason, *prediction.reason.also)}
    for row in rows:
        if (row.track, row.between_s) not in stated:
            part = Statement(
                "change", row.object, row.track, row.group, row.from_, row.to, row.between_s
            )
            return _strip(explanation, part, *(explanation.tokens[token] for token in row.tokens))
    return None


def _caption(token: Token, part: Statement, predicate: str | None) -> str:
    said = f": {words(predicate)}" if predicate else ""
    return f"{seconds(token.time_s)}{said}"


def _stated(token: Token, part: Statement) -> str:
    after = words(part.to or "unknown")
    if part.kind == "change":
        return f"{token.title}: from {words(part.from_ or 'unknown')} to {after}"
    return f"{token.title}: {after}"


def _scores(
    explanation: Explanation, prediction: Prediction, wording: Wording
) -> Iterator[tuple[str, float]]:
    """Yield what the score would be otherwise, in words."""
    reason = prediction.reason
    if not reason.tokens:
        yield "without any token", reason.score_only
        return
    noun = "the token" if len(reason.tokens) == 1 else f"the {len(reason.tokens)} tokens"
    yield f"from {noun} of the reason alone", reason.score_only
    yield f"without {noun} of the reason", reason.score_without
    thing = wording.object(reason.object or "object")
    token = explanation.tokens[reason.tokens[0]]
    token = next((t for t in explanation.tokens if t.track == reason.track), token)
    track = thing if token.human.class_ == PERSON else "this pair"
    changed = thing if token.is_single else f"the relation to {thing}"
    if reason.score_without_track is not None:
        yield f"without every token of {track}", reason.score_without_track
    if reason.score_if_unchanged is not None:
        yield (
            f"if {changed} had stayed “{words(reason.from_ or 'the same')}”",
            reason.score_if_unchanged,
        )


def _curve(explanation: Explanation, rank: int, prediction: Prediction) -> dict[str, Any] | None:
    """Return the scores of an action over the windows, as a drawing of 760 x 140 pixels."""
    windows = [window for window in explanation.windows if rank < len(window.scores)]
    if len(windows) < 2:
        return None
    start = min(window.between_s[0] for window in windows)
    end = max(window.between_s[1] for window in windows)
    scale = 700 / max(end - start, 1e-6)

    def place(time: float) -> float:
        return round(40 + (time - start) * scale, 1)

    points = [
        (place(sum(window.between_s) / 2), round(100 - 90 * window.scores[rank], 1))
        for window in windows
    ]
    best = next((w for w in windows if w.id == prediction.window), windows[0])
    left, right = place(best.between_s[0]), place(best.between_s[1])
    return {
        "points": " ".join(f"{x},{y}" for x, y in points),
        "dots": points if len(points) <= 60 else [],
        "left": left,
        "width": max(right - left, 2.0),
        "start": start,
        "end": end,
        "label": f"The highest score is {prediction.score:.2f}, from {seconds(best.between_s[0])} "
        f"to {seconds(best.between_s[1])}.",
        "count": len(windows),
    }


def _ignored(explanation: Explanation) -> list[dict[str, Any]]:
    """Return the times of the discarded tokens of each track."""
    tracks: dict[int, list[Token]] = {}
    for token in explanation.tokens:
        tracks.setdefault(token.track, []).append(token)
    rows = []
    for mine in tracks.values():
        times = [token.time_s for token in mine if not token.keep]
        if times:
            rows.append(
                {
                    "object": mine[0].title,
                    "times": ", ".join(
                        f"{time:.2f}".rstrip("0").rstrip(".") for time in times[:MAX_IGNORED]
                    ),
                    "more": max(len(times) - MAX_IGNORED, 0),
                    "count": len(times),
                    "total": len(mine),
                }
            )
    return rows
