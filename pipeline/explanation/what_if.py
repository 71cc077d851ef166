"""Prediction of a video whose named relations are edited in the joint space."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.edits import Edit, Edited, EditedPrediction, parse_edit
from pipeline.explanation.explained_clip import ExplainedClip, Network
from pipeline.explanation.observations import Name, Token
from pipeline.explanation.predictions import Prediction
from pipeline.explanation.reason import NamedTokens, find_reasons, renumbered
from pipeline.explanation.sentences import sentence_of
from pipeline.explanation.wording import load_wording

#: Largest error of times that are printed with two decimals, in seconds.
ROUNDING_S = 0.005


@dataclass(frozen=True)
class EditableWindow:
    """Explained window of a video.

    Attributes:
        explained: the window with the reasons of its actions.
        track: number of its first track in the explanation.
        token: number of its first token in the explanation.
    """

    explained: ExplainedClip
    track: int
    token: int


class EditableVideo:
    """Explained video whose named relations can be edited.

    Args:
        network: the network.
        video_id: id of the video.
        windows: the explained windows by number.
        threshold: smallest score of an action that is present.
    """

    def __init__(
        self,
        network: Network,
        video_id: str,
        windows: Mapping[int, EditableWindow],
        threshold: float,
    ) -> None:
        self._network, self._video_id = network, video_id
        self._windows, self._threshold = dict(windows), threshold
        self._wording = load_wording(network.card.cache.settings.vocabulary)

    def parse(self, text: str) -> Edit:
        """Parse an edit, see `parse_edit`."""
        cache = self._network.card.cache
        return parse_edit(text, cache.objects, cache.predicate_groups, self._wording)

    def edited(self, edits: Sequence[Edit], predictions: Sequence[Prediction]) -> Edited:
        """Predict the video after edits.

        An edit replaces the visual embedding v of each token that has the predicate, in the
        interval and of the object class, by v + s(new) - s(old). s(new) and s(old) are the language
        embeddings of the object class with the new and the old predicates. The changes along tracks
        are computed after the edits. The edits are made one after the other.

        Args:
            edits: the edits.
            predictions: predictions of the explanation.

        Raises:
            ItemError: NO_SUCH_RELATION if no token has the predicate of an edit.
        """
        rows: Mapping[int, Sequence[Token]] = {
            number: window.explained.tokens.rows for number, window in self._windows.items()
        }
        for edit in edits:
            made = {number: [_edited(row, edit) for row in rows[number]] for number in rows}
            if made == rows:
                raise self._nothing(edit, rows)
            rows = made
        tokens: list[int] = []
        found: dict[str, EditedPrediction] = {}
        for number, window in self._windows.items():
            old = window.explained.tokens
            changed = [i for i, row in enumerate(rows[number]) if row != old.rows[i]]
            tokens += [window.token + i for i in changed]
            new = replace(old, rows=rows[number])
            mine = [row.class_id for row in predictions if row.window == number]
            for row in self._predict(number, new, changed, mine):
                found.setdefault(row.class_id, row)
        order = [row.class_id for row in predictions]
        order += sorted(found.keys() - {*order}, key=lambda name: -found[name].score)
        return Edited(tuple(edits), tuple(tokens), tuple(found[name] for name in order))

    def _predict(
        self, number: int, tokens: NamedTokens, changed: list[int], class_ids: list[str]
    ) -> Iterator[EditedPrediction]:
        """Yield the predictions of a window: given actions, and those that become present."""
        window, network = self._windows[number], self._network
        old, classes = window.explained, network.card.classes
        scorer = old.scorer
        if changed:
            labels = [tokens.label(token) for token in changed]
            scorer = scorer.with_edit(old.tokens.edit(changed, labels))
        scores = scorer.scores(scorer.subsets([tokens.kept]))[0].tolist()
        actions = [c for c, (class_id, _) in enumerate(classes) if class_id in class_ids]
        actions += [
            c
            for c, score in enumerate(scores)
            if c not in actions and old.scores[c] < self._threshold <= score
        ]
        before = find_reasons(old.scorer, old.tokens, network.bank, actions)
        after = find_reasons(scorer, tokens, network.bank, actions)
        for c, reason_before, reason in zip(actions, before, after, strict=True):
            class_id, name = classes[c]
            yield EditedPrediction(
                class_id=class_id,
                name=name,
                window=number,
                score_before=old.scores[c],
                score=scores[c],
                sentence_before=sentence_of(
                    name, old.scores[c], reason_before, old.tokens.rows, self._wording
                ),
                sentence=sentence_of(name, scores[c], reason, tokens.rows, self._wording),
                reason=renumbered(reason, tracks=window.track, tokens=window.token),
            )

    def _nothing(self, edit: Edit, rows: Mapping[int, Sequence[Token]]) -> ItemError:
        """Return the error of an edit without tokens, which lists what there is."""
        every = sorted((row for part in rows.values() for row in part), key=lambda row: row.time_s)
        mine = [row for row in every if row.object.class_ == edit.object]
        if mine:
            there = ", ".join(_runs(mine, edit.group))
        else:
            there = ", ".join(sorted({row.object.class_ for row in every})) or "no object"
        start, end = edit.between_s
        return ItemError(
            FailureReason.NO_SUCH_RELATION,
            f"{self._video_id}: --edit: {edit.object} {edit.from_} expected from {start:g} s to "
            f"{end:g} s, got none; in its explained frames there is: {there}",
        )


def _edited(row: Token, edit: Edit) -> Token:
    """Return a token after an edit, or the same token."""
    start, end = edit.between_s
    is_inside = start - ROUNDING_S <= row.time_s <= end + ROUNDING_S
    if row.object.class_ != edit.object or not is_inside:
        return row
    return replace(row, names=tuple(_renamed(name, edit) for name in row.names))


def _renamed(name: Name, edit: Edit) -> Name:
    if name.group != edit.group or edit.from_ not in name.predicates:
        return name
    said = [edit.to if word == edit.from_ else word for word in name.predicates]
    name = replace(name, predicates=tuple(dict.fromkeys(said)))
    is_shown = name.predicate == edit.from_
    return replace(name, predicate=edit.to, status="confident") if is_shown else name


def _runs(rows: Sequence[Token], group: str) -> Iterator[str]:
    """Yield the predicates of tokens in a group with their times, in order of time."""

    def said(row: Token) -> str:
        words = [word for name in row.named(group) for word in name.predicates]
        return " and ".join(words) or "unknown"

    for words, run in groupby(rows, said):
        times = [row.time_s for row in run]
        yield f"{words} {times[0]:.2f}-{times[-1]:.2f} s"
