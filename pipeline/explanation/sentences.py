"""Sentences that state the reasons of predicted actions."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.explanation.observations import PERSON, Name, Token
from pipeline.explanation.predictions import Reason, Statement
from pipeline.explanation.wording import Wording


def sentence_of(
    name: str, score: float, reason: Reason, tokens: Sequence[Token], wording: Wording
) -> str:
    """State the reason of an action in words.

    Args:
        name: name of the action.
        score: score of the action.
        reason: the reason.
        tokens: the tokens of the video.
        wording: words of the vocabulary.

    Returns:
        One or two sentences. A question mark follows what a name states that is not confident.
    """
    head = f"{name} ({score:.2f}): "
    if reason.object is None or reason.between_s is None:
        return f"{head}no relation is needed, the score without any is {reason.score_only:.2f}."
    writer = _Writer(wording, tokens)
    said, subject = [], ""
    parts = [reason, *reason.also]
    for number, part in enumerate(parts):
        new = writer.subject(part)
        said.append((f"{new} " if new != subject else "") + writer.clauses(part, parts[:number]))
        subject = new
    thing = wording.object(reason.object)
    if reason.from_ is not None:
        had = wording.clause(reason.from_, "had", thing)
        if reason.from_ in _said(reason, tokens, reason.between_s[1]):
            had = "without this change"
        end = f" {had[0].upper()}{had[1:]}, the score would be {reason.score_if_unchanged:.2f}."
    else:
        gone = thing if writer.is_of_person(reason) else "this relation"
        end = f" Without {gone}, the score would be {reason.score_without_track:.2f}."
    return f"{head}{', and '.join(said)}.{end}"


@dataclass(frozen=True)
class _Writer:
    """Writer of what the tracks of a reason state.

    Attributes:
        wording: words of the vocabulary.
        tokens: the tokens of the video.
    """

    wording: Wording
    tokens: Sequence[Token]

    def subject(self, part: Statement) -> str:
        """Return what a sentence is about: the person, or the first box of the pair."""
        token = self._first(part)
        return self.wording.object(PERSON if token is None else self._whole(token))

    def is_of_person(self, part: Statement) -> bool:
        """Return whether the pair of a track is the person with an object."""
        token = self._first(part)
        return token is None or token.human.class_ == PERSON

    def clauses(self, part: Statement, earlier: Sequence[Statement]) -> str:
        """Describe one track of a reason, without the subject.

        Args:
            part: what the track states.
            earlier: what is stated before.
        """
        assert part.object is not None
        assert part.between_s is not None
        wording, (start, end) = self.wording, part.between_s
        is_same = [same for other in earlier if (same := self._is_same(part, other)) is not None]
        thing = wording.object(part.object, is_other=is_same != [] and not any(is_same))
        first, last = times(start, end)
        marks = {time: _mark(part, self.tokens, time) for time in (start, end)}
        if part.to is None:
            said = f"is with {thing}{self._by(part, None, start, any(is_same))} (?)"
        elif part.from_ is not None:
            by = self._by(part, part.from_, start, any(is_same))
            before = wording.clause(part.from_, "is", thing) + by + marks[start]
            by = self._by(part, part.to, end)
            after = wording.clause(part.to, "then", wording.pronoun(part.object)) + by + marks[end]
            return f"{before} at {first} s and {after} at {last} s"
        else:
            by = self._by(part, part.to, start, any(is_same))
            said = wording.clause(part.to, "is", thing) + by + (marks[start] or marks[end])
        return f"{said} at {first} s" if first == last else f"{said} between {first} s and {last} s"

    def _by(
        self, part: Statement, predicate: str | None, time: float, is_other: bool = False
    ) -> str:
        """Return the part of the person, if the clause would be wrong or confusing without it."""
        token = self._first(part)
        if token is None or self._whole(token) == token.human.class_:
            return ""
        noun = self.wording.noun(token.human.class_)
        if is_other:
            return f" with the other {noun}"
        unless = None if predicate is None else self.wording.unless(predicate)
        here = [row for row in self.tokens if row.track == part.track and row.time_s == time]
        others = [
            word
            for mine in here
            for row in self.tokens
            if row.track != part.track and self._is_alike(mine, row) and mine.has_same_object(row)
            for name in row.names
            for word in name.predicates
        ]
        return f" with one {noun}" if unless in others else ""

    def _is_same(self, part: Statement, other: Statement) -> bool | None:
        """Return whether two tracks have the same object; None if their words differ anyway.

        Tracks without a common frame count as tracks of the same object.
        """
        mine, theirs = ([t for t in self.tokens if t.track == p.track] for p in (part, other))
        if not mine or not theirs or not self._is_alike(mine[0], theirs[0]):
            return None
        found = [a.has_same_object(b) for a in mine for b in theirs]
        known = [same for same in found if same is not None]
        return any(known) or not known

    def _is_alike(self, first: Token, second: Token) -> bool:
        """Return whether two pairs have the same words for their boxes."""
        ends = [(token.human.class_, token.object.class_) for token in (first, second)]
        return ends[0] == ends[1]

    def _first(self, part: Statement) -> Token | None:
        return next((token for token in self.tokens if token.track == part.track), None)

    def _whole(self, token: Token) -> str:
        return self.wording.whole(token.human.class_)


def times(start: float, end: float) -> tuple[str, str]:
    """Format two times in seconds, with a second decimal only if they are equal without it."""
    short = f"{start:.1f}", f"{end:.1f}"
    return (f"{start:.2f}", f"{end:.2f}") if short[0] == short[1] and start != end else short


def _mark(part: Statement, tokens: Sequence[Token], time: float) -> str:
    """Return a question mark if the name of the part's token at this time is not confident."""
    names = _names(part, tokens, time)
    return "" if all(name.status == "confident" for name in names) else " (?)"


def _said(part: Statement, tokens: Sequence[Token], time: float) -> list[str]:
    """Return the predicates by which the part's token at this time is named in its group."""
    return [word for name in _names(part, tokens, time) for word in name.predicates]


def _names(part: Statement, tokens: Sequence[Token], time: float) -> list[Name]:
    return [
        name
        for token in tokens
        if token.track == part.track and token.time_s == time
        for name in token.names
        if name.group == part.group
    ]
