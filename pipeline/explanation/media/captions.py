"""WebVTT captions of the named relations of a video."""

import html
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import NamedTuple

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import Token
from pipeline.explanation.wording import words


class Cue(NamedTuple):
    """Caption of a part of a video.

    Attributes:
        id: id of the cue.
        start: start in milliseconds.
        end: end in milliseconds, after the start.
        text: the caption, without markup.
    """

    id: str
    start: int
    end: int
    text: str


def captions(explanation: Explanation) -> str:
    """Return the captions of an explanation as WebVTT, in order of time.

    A relation has one cue for each run of kept tokens of a track, in consecutive sampled frames,
    with the same name in a predicate group. A sampled frame stands for the time up to the middle
    between it and its neighbours. A transition has one cue, between its two sampled frames. A
    question mark follows names that are not confident.

    Args:
        explanation: the explanation.
    """
    cues = sorted([*_relations(explanation), *_transitions(explanation)], key=lambda c: c[1:3])
    parts = ["WEBVTT\n", *map(_block, cues)]
    return "\n".join(parts)


def _block(cue: Cue) -> str:
    text = html.escape(" ".join(cue.text.split()), quote=False)
    return f"{cue.id}\n{_time(cue.start)} --> {_time(cue.end)}\n{text}\n"


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def _cue(kind: str, number: int, start: float, end: float, text: str) -> Cue:
    first = max(round(start * 1000), 0)
    return Cue(f"{kind}-{number}", first, max(round(end * 1000), first + 1), text)


def _relations(explanation: Explanation) -> Iterator[Cue]:
    spans, number = _spans(explanation), 0
    for track in explanation.tracks:
        tokens = [explanation.tokens[i] for i in track.tokens]
        for group in dict.fromkeys(name.group for token in tokens for name in token.names):
            for run in _runs(tokens, group):
                names = [name for token in run for name in token.named(group)]
                mark = "" if all(name.status == "confident" for name in names) else " (?)"
                said = " and ".join(map(words, _said(run[0], group)))
                start, end = spans[run[0].t][0], spans[run[-1].t][1]
                yield _cue("relation", number, start, end, f"{tokens[0].title}: {said}{mark}")
                number += 1


def _runs(tokens: list[Token], group: str) -> Iterator[list[Token]]:
    """Yield the runs of kept tokens of consecutive sampled frames with the same name."""
    run: list[Token] = []
    for token in tokens:
        said = _said(token, group) if token.keep else ()
        if run and (said != _said(run[0], group) or token.t != run[-1].t + 1):
            yield run
            run = []
        if said:
            run.append(token)
    if run:
        yield run


def _transitions(explanation: Explanation) -> Iterator[Cue]:
    for row in explanation.transitions:
        title = explanation.tokens[row.tokens[0]].title
        text = f"{title}: {words(row.from_)} → {words(row.to)}"
        yield _cue("transition", row.id, *row.between_s, text)


def _said(token: Token, group: str) -> tuple[str, ...]:
    return tuple(word for name in token.named(group) for word in name.predicates)


def _spans(explanation: Explanation) -> dict[int, tuple[float, float]]:
    """Return the time in seconds for which each sampled frame stands."""
    found: dict[int, tuple[float, float]] = {}
    end = explanation.video.duration_s
    for _, window in groupby(explanation.sampling.frames, lambda frame: frame.window):
        frames = [*window]
        times = [frame.time_s for frame in frames]
        edges = [0.0, end]
        if len(times) > 1:
            middles = [(before + after) / 2 for before, after in pairwise(times)]
            first, last = 2 * times[0] - middles[0], 2 * times[-1] - middles[-1]
            edges = [min(max(time, 0.0), end) for time in (first, *middles, last)]
        found |= dict(zip((frame.t for frame in frames), pairwise(edges), strict=True))
    return found
