"""Reasons of predicted actions: minimal sets of kept tokens, described by their names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from model.label_bank import LabelBank
from model.minimal_reason import MinimalReason, minimal_reasons
from model.token_scorer import TokenEdit, TokenScorer
from pipeline.explanation.observations import Name, Token
from pipeline.explanation.predictions import NOTHING, Reason, Statement

#: Largest distance in sampled frames of two tokens that are tried as a change, if they are not
#: consecutive kept tokens of their track.
REACH = 2

StatementT = TypeVar("StatementT", bound=Statement)


@dataclass(frozen=True)
class NamedTokens:
    """Tokens of a video with their names.

    Attributes:
        rows: the tokens.
        groups: names of the predicates of each group, in index order.
        pairs: (M, 2) int64 object classes of the human and the object of each token.
    """

    rows: Sequence[Token]
    groups: dict[str, tuple[str, ...]]
    pairs: Tensor

    @property
    def words(self) -> tuple[str, ...]:
        """Names of all predicates, in index order."""
        return tuple(word for names in self.groups.values() for word in names)

    @property
    def kept(self) -> list[int]:
        """Kept tokens, in order of time."""
        return [row.id for row in self.rows if row.keep]

    def tracks(self, tokens: Sequence[int]) -> dict[int, list[int]]:
        """Group tokens by their track."""
        found: dict[int, list[int]] = {}
        for token in tokens:
            found.setdefault(self.rows[token].track, []).append(token)
        return found

    def name(self, token: int, group: str) -> Name:
        """Return the name of a token in a group."""
        return self.rows[token].named(group)[0]

    def label(self, token: int) -> set[str]:
        """Return the predicates of all groups by which a token is named."""
        return {word for name in self.rows[token].names for word in name.predicates}

    def certainty(self, token: int) -> float:
        """Return the smallest margin of the names of a token."""
        return min((name.margin for name in self.rows[token].names), default=0.0)

    def edit(self, tokens: Sequence[int], labels: Sequence[set[str]]) -> TokenEdit:
        """Return the edit that replaces the labels of tokens."""
        old = [[word in self.label(token) for word in self.words] for token in tokens]
        new = [[word in label for word in self.words] for label in labels]
        return TokenEdit(torch.tensor(tokens), torch.tensor(new), torch.tensor(old))

    def undo(self, tokens: Sequence[int], first: int, group: str) -> TokenEdit:
        """Return the edit that gives tokens the predicates of another token in a group."""
        before, inside = set(self.name(first, group).predicates), set(self.groups[group])
        return self.edit(tokens, [self.label(token) - inside | before for token in tokens])

    def undone(self, first: int, second: int, group: str) -> TokenEdit:
        """Return the edit that undoes a change, so that it happens nowhere on its track.

        Every kept token of the track that has the predicates of the second token in the group gets
        those of the first token.

        Args:
            first: first token of the change.
            second: second token of the change.
            group: group of the change.
        """
        after = set(self.name(second, group).predicates)
        track = self.tracks(self.kept)[self.rows[first].track]
        said = [token for token in track if set(self.name(token, group).predicates) == after]
        return self.undo(said, first, group)


@dataclass(frozen=True)
class _Part:
    """What the tokens of one track say in a reason.

    `rank` orders what a reason can state: the score if the change is undone, or the effect of the
    lasting predicate with a negative sign.
    """

    kind: str
    track: int
    group: str | None
    before: str | None
    after: str | None
    tokens: tuple[int, ...]
    rank: float


@dataclass(frozen=True)
class _Candidate:
    """Candidate for what a track says, with the views of the video that decide about it.

    `part.rank` is not known yet. A change has a view of the reason in which it is undone in all
    groups, and a view of all kept tokens in which it is undone in its group. A lasting predicate
    has one view for each known label with the predicate, and one for each known label without it.
    """

    part: _Part
    views: tuple[list[int], list[int]]


class _Views:
    """Subsets of the tokens of a video with edits, which are scored together."""

    def __init__(self, scorer: TokenScorer) -> None:
        self._scorer = scorer
        self._views: list[tuple[Sequence[int], TokenEdit | None]] = []
        self._scores: list[list[float]] = []

    def add(self, tokens: Sequence[int], edit: TokenEdit | None = None) -> int:
        """Add a view and return its number."""
        self._views.append((tokens, edit))
        return len(self._views) - 1

    def score(self, view: int, action: int) -> float:
        """Return the score of an action in a view. All views are scored in the first call."""
        if not self._scores:
            subsets = self._scorer.subsets([tokens for tokens, _ in self._views])
            self._scores = self._scorer.scores(subsets, [edit for _, edit in self._views]).tolist()
        return self._scores[view][action]


def find_reasons(
    scorer: TokenScorer, tokens: NamedTokens, bank: LabelBank, actions: Sequence[int]
) -> list[Reason]:
    """Find the reason of each action.

    The tokens of a reason are those of its minimal reason R (`minimal_reasons`). Its kind is

    - `none`, if R is empty;
    - `change`, if R contains two consecutive tokens of one track whose names differ, and R no
      longer suffices if the later token gets the label of the earlier one in the joint space. Of
      all such changes and groups, the reason states the one whose undoing lowers the score most:
      among all kept tokens, those of the track that have the name of the later token in this group
      get that of the earlier one;
    - `lasting` otherwise. The reason states the predicate with the largest effect, which is the
      mean score from R over the known labels of the object class that contain the predicate, less
      the largest score over those without it. All tokens of the track in R get these labels.

    If R has tokens of several tracks, the same rules decide what each of them says, changes first.

    Args:
        scorer: scorer of the video.
        tokens: tokens of the video with their names.
        bank: label bank, which contains the known labels of each object class.
        actions: columns of the actions.

    Returns:
        The reason of each action.
    """
    found = _minimal(scorer, tokens, actions)
    views = _Views(scorer)
    candidates = [_candidates(views, tokens, bank, reason) for reason in found]
    parts = [_parts(views, *pair) for pair in zip(found, candidates, strict=True)]
    views = _Views(scorer)
    without = [_without(views, tokens, part[0].track) if part else None for part in parts]
    reasons = []
    for reason, said, view in zip(found, parts, without, strict=True):
        main = said[0] if said else None
        statement = NOTHING if main is None else _described(tokens, main)
        reasons.append(
            Reason(
                **vars(statement),
                tokens=tuple(reason.tokens),
                score_only=reason.score_only,
                score_without=reason.score_without,
                score_without_track=None if view is None else views.score(view, reason.action),
                score_if_unchanged=main.rank if main and main.kind == "change" else None,
                also=tuple(_described(tokens, part) for part in said[1:]),
            )
        )
    return reasons


def _minimal(
    scorer: TokenScorer, tokens: NamedTokens, actions: Sequence[int]
) -> list[MinimalReason]:
    kept = tokens.kept
    time = [row.t for row in tokens.rows]
    pairs = [
        (first, second)
        for track in tokens.tracks(kept).values()
        for place, first in enumerate(track)
        for later, second in enumerate(track[place + 1 :])
        if later == 0 or time[second] - time[first] <= REACH
    ]
    return minimal_reasons(
        lambda sets: scorer.scores(scorer.subsets(sets)),
        kept,
        actions,
        pairs,
        {token: tokens.certainty(token) for token in kept},
    )


def _candidates(
    views: _Views, tokens: NamedTokens, bank: LabelBank, reason: MinimalReason
) -> list[_Candidate]:
    found = []
    for track, row in tokens.tracks(reason.tokens).items():
        for first, second in pairwise(row):
            if tokens.label(first) == tokens.label(second):
                continue
            whole = views.add(reason.tokens, tokens.edit([second], [tokens.label(first)]))
            for group in tokens.groups:
                ends = changed(*(tokens.name(token, group) for token in (first, second)))
                if ends is not None:
                    undone = views.add(tokens.kept, tokens.undone(first, second, group))
                    part = _Part("change", track, group, *ends, (first, second), 0.0)
                    found.append(_Candidate(part, ([whole], [undone])))
        unnamed = _Part("lasting", track, None, None, None, tuple(row), math.inf)
        found.append(_Candidate(unnamed, ([], [])))
        known = [
            (label, views.add(reason.tokens, tokens.edit(row, [label] * len(row))))
            for label in _known_labels(tokens, bank, row[0])
        ]
        for group in tokens.groups:
            names = [tokens.name(token, group).predicates for token in row]
            for word in sorted({word for said in names for word in said}):
                part = _Part("lasting", track, group, None, word, tuple(row), 0.0)
                ours = [view for label, view in known if word in label]
                others = [view for label, view in known if word not in label]
                found.append(_Candidate(part, (ours, others)))
    return found


def renumbered(reason: Reason, *, tracks: int, tokens: int) -> Reason:
    """Return the reason of a window with the numbers of the whole video.

    Args:
        reason: the reason, as numbered in the window.
        tracks: number of the first track of the window.
        tokens: number of the first token of the window.
    """

    def part_of(part: StatementT) -> StatementT:
        return replace(part, track=None if part.track is None else tracks + part.track)

    return replace(
        part_of(reason),
        tokens=tuple(tokens + token for token in reason.tokens),
        also=tuple(part_of(part) for part in reason.also),
    )


def changed(first: Name, second: Name) -> tuple[str, str] | None:
    """Return what changes between the names of two tokens in a group.

    Args:
        first: name of the earlier token.
        second: name of the later token.

    Returns:
        A predicate that only the first name has, and one that only the second name has. If a name
        has no such predicate, it is the one that the name shows. None if the predicates are equal
        or a token has no name.
    """
    names = [name.predicates for name in (first, second)]
    if not all(names) or set(names[0]) == set(names[1]):
        return None
    return _only(first, names[1]), _only(second, names[0])


def _only(name: Name, others: Sequence[str]) -> str:
    words = [str(name.predicate), *name.predicates]
    return next((word for word in words if word not in others), words[0])


def _known_labels(tokens: NamedTokens, bank: LabelBank, token: int) -> list[set[str]]:
    """Return the known labels of a token's classes.

    A bank with single predicates does not know which predicates occur together. There, the label of
    the token with another predicate in one of the groups counts as known.
    """
    own = bank.predicates[bank.of_pair(tokens.pairs[token])]
    labels = [{tokens.words[i] for i in row.nonzero()[:, 0].tolist()} for row in own]
    if not bank.is_single:
        return labels
    groups = [set(names) for names in tokens.groups.values()]
    return [
        tokens.label(token) - group | label
        for label in labels
        for group in groups
        if label <= group
    ]


def _parts(views: _Views, reason: MinimalReason, candidates: list[_Candidate]) -> list[_Part]:
    """Return what each track of a reason says, the main track first."""
    best: dict[int, _Part] = {}
    for candidate in reversed(candidates):  # ties: the last group, contacting, says most
        part = candidate.part
        ours, others = ([views.score(v, reason.action) for v in side] for side in candidate.views)
        if part.kind == "change":
            if ours[0] >= reason.target:
                continue
            rank = others[0]
        else:
            rank = max(others) - sum(ours) / len(ours) if ours and others else math.inf
        part, there = replace(part, rank=rank), best.get(part.track)
        if there is None or _order(part) < _order(there):
            best[part.track] = part
    return sorted(best.values(), key=lambda part: (*_order(part), part.track))


def _order(part: _Part) -> tuple[bool, float]:
    return part.kind != "change", part.rank


def _without(views: _Views, tokens: NamedTokens, track: int) -> int:
    """Add the view of the kept tokens of all other tracks."""
    return views.add([token for token in tokens.kept if tokens.rows[token].track != track])


def _described(tokens: NamedTokens, part: _Part) -> Statement:
    said: Sequence[int] = part.tokens
    if part.kind == "lasting" and part.group is not None:
        said = [
            token
            for token in part.tokens
            if part.after in tokens.name(token, part.group).predicates
        ]
    return Statement(
        kind=part.kind,
        object=tokens.rows[part.tokens[0]].object.class_,
        track=part.track,
        group=part.group,
        from_=part.before,
        to=part.after,
        between_s=(tokens.rows[said[0]].time_s, tokens.rows[said[-1]].time_s),
    )
