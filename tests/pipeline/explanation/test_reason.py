from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from model.label_bank import LabelBank
from model.token_scorer import TokenEdit, TokenScorer
from pipeline.explanation.reason import NamedTokens, changed, find_reasons
from tests.pipeline.explanation.token_maker import make_name, make_token

GROUPS = {"attention": ("looking", "away"), "contacting": ("holding", "free", "wiping")}
WORDS = [word for names in GROUPS.values() for word in names]
View = list[tuple[int, int, set[str]]]  # (t, track, label) of the kept tokens, in order of time


class PlantedScorer(TokenScorer):
    """Scores an action by a rule on what the kept tokens say."""

    def __init__(self, tokens: NamedTokens, rule: Callable[[View], float]) -> None:
        self.tokens, self.rule = tokens, rule

    def subsets(self, rows: Sequence[Iterable[int]]) -> Tensor:
        keep = torch.zeros(len(rows), len(self.tokens.rows), dtype=torch.bool)
        for subset, tokens in zip(keep, rows, strict=True):
            subset[list(tokens)] = True
        return keep

    def scores(self, keep: Tensor, edits: Sequence[TokenEdit | None] = ()) -> Tensor:
        found = []
        for view, subset in enumerate(keep):
            said = {row.id: self.tokens.label(row.id) for row in self.tokens.rows}
            edit = edits[view] if edits else None
            if edit is not None:
                old = edit.new if edit.old is None else edit.old
                for token, before, new in zip(edit.tokens.tolist(), old, edit.new, strict=True):
                    words = {w for w, o in zip(WORDS, before, strict=True) if o}
                    assert edit.old is None or words == said[token]
                    said[token] = {w for w, o in zip(WORDS, new, strict=True) if o}
            rows = [self.tokens.rows[i] for i in subset.nonzero()[:, 0].tolist()]
            found.append(self.rule([(r.t, r.track, said[r.id]) for r in rows]))
        return torch.tensor(found, dtype=torch.float64)[:, None]


def named(*tokens: tuple[int, int, str, str], keep: Sequence[int] | None = None) -> NamedTokens:
    """Return tokens (t, track, attention, contacting). Track n is an object of class n."""
    rows = [
        make_token(
            i,
            t / 2,
            *(make_name(g, word) for g, word in zip(GROUPS, words, strict=True)),
            kind=f"object {track}",
            t=t,
            track=track,
            keep=keep is None or i in keep,
        )
        for i, (t, track, *words) in enumerate(tokens)
    ]
    return NamedTokens(
        rows, GROUPS, torch.tensor([[0, track] for _, track, *_ in tokens]).view(-1, 2)
    )


def bank(num_objects: int, *, is_single: bool = False) -> LabelBank:
    """Return a bank in which every combination of one predicate per group is known."""
    labels = [{a, c} for a in GROUPS["attention"] for c in GROUPS["contacting"]]
    if is_single:
        labels = [{word} for word in WORDS]
    rows = [[word in label for word in WORDS] for _ in range(num_objects) for label in labels]
    objects = torch.arange(num_objects).repeat_interleave(len(labels))
    pairs = torch.stack([torch.zeros_like(objects), objects], 1)
    return LabelBank(
        torch.zeros(len(rows), 2), pairs, torch.tensor(rows), torch.ones_like(objects), (2, 3),
        is_single=is_single,
    )  # fmt: skip


def reason_of(
    tokens: NamedTokens, rule: Callable[[View], float], **changes: bool
) -> dict[str, Any]:
    scorer = PlantedScorer(tokens, rule)
    (reason,) = find_reasons(scorer, tokens, bank(3, **changes), [0])
    return reason.to_dict()


def puts(view: View) -> float:
    """Score an action that is a change from holding to free, of any object."""
    return 0.9 if any(
        a[1] == b[1] and a[0] < b[0] and "holding" in a[2] and "free" in b[2]
        for a in view for b in view
    ) else 0.1  # fmt: skip


def test_reason_of_a_change_is_the_change_that_the_score_rests_on() -> None:
    tokens = named(
        (0, 0, "looking", "holding"),
        (1, 0, "looking", "holding"),
        (1, 1, "away", "free"),
        (2, 0, "away", "free"),
        (3, 1, "looking", "free"),
        (4, 0, "looking", "free"),
    )
    reason = reason_of(tokens, puts)
    assert reason == {
        "kind": "change",
        "object": "object 0",
        "track": 0,
        "group": "contacting",
        "from": "holding",
        "to": "free",
        "between_s": [0.0, 1.0],
        "tokens": [0, 3],
        "score_only": 0.9,
        "score_without": 0.9,  # tokens 1 and 5 show the change as well
        "score_without_track": 0.1,
        "score_if_unchanged": 0.1,
        "also": [],
    }


def test_a_change_is_between_consecutive_tokens_of_a_reason() -> None:
    def puts_for_good(view: View) -> float:
        return 0.9 if puts(view) > 0.5 and sum("free" in label for _, _, label in view) > 1 else 0.1

    tokens = named((0, 0, "away", "holding"), (1, 0, "away", "free"), (8, 0, "away", "free"))
    reason = reason_of(tokens, puts_for_good)
    assert reason["tokens"] == [0, 1, 2]
    assert (reason["from"], reason["to"], reason["between_s"]) == ("holding", "free", [0.0, 0.5])


def test_a_pair_whose_change_does_not_matter_is_a_lasting_relation() -> None:
    def holds_twice(view: View) -> float:
        return 0.9 if sum("holding" in label for _, _, label in view) >= 2 else 0.1

    tokens = named((0, 0, "looking", "holding"), (2, 0, "away", "holding"), (3, 1, "away", "free"))
    for is_single in (False, True):
        reason = reason_of(tokens, holds_twice, is_single=is_single)
        assert (reason["kind"], reason["group"], reason["from"], reason["to"]) == (
            "lasting", "contacting", None, "holding",
        )  # fmt: skip
        assert reason["between_s"] == [0.0, 1.0]
        assert reason["score_if_unchanged"] is None
        assert reason["score_without_track"] == 0.1


def test_other_tracks_of_a_reason_are_named_beside_the_main_one() -> None:
    def wipes_at_table(view: View) -> float:
        table = any(track == 1 and "away" in label for _, track, label in view)
        return 0.9 if table and puts(view) > 0.5 else 0.05

    tokens = named(
        (0, 1, "away", "wiping"), (1, 0, "looking", "holding"), (2, 0, "looking", "free")
    )
    reason = reason_of(tokens, wipes_at_table)
    assert (reason["kind"], reason["track"], reason["tokens"]) == ("change", 0, [0, 1, 2])
    assert reason["also"] == [
        {
            "kind": "lasting",
            "object": "object 1",
            "track": 1,
            "group": "attention",
            "from": None,
            "to": "away",
            "between_s": [0.0, 0.0],
        }
    ]


def test_discarded_tokens_are_in_no_reason_and_no_token_may_be_needed() -> None:
    tokens = named((0, 0, "looking", "holding"), (1, 0, "looking", "free"), keep=[1])
    reason = reason_of(tokens, puts)
    assert (reason["kind"], reason["tokens"], reason["between_s"]) == ("none", [], None)
    assert reason["score_only"] == reason["score_without"] == 0.1
    assert reason["also"] == []
    nothing = reason_of(named((0, 0, "looking", "holding"), keep=[]), lambda view: 0.7)
    assert (nothing["kind"], nothing["score_without_track"]) == ("none", None)


def test_tokens_without_a_name_are_still_part_of_the_reason() -> None:
    tokens = named((0, 0, "looking", "holding"), (1, 1, "away", "free"))
    unnamed = replace(tokens.rows[0], names=tuple(make_name(group) for group in GROUPS))
    tokens = replace(tokens, rows=[unnamed, tokens.rows[1]])
    alone = reason_of(tokens, lambda view: 0.9 if any(track == 0 for _, track, _ in view) else 0.1)
    assert (alone["kind"], alone["tokens"], alone["to"], alone["group"]) == (
        "lasting", [0], None, None,
    )  # fmt: skip
    both = reason_of(tokens, lambda view: 0.9 if len(view) == 2 else 0.1)
    assert sorted([both["track"], *(part["track"] for part in both["also"])]) == [0, 1]


def test_a_lasting_relation_is_stated_only_where_it_is_named() -> None:
    def both(view: View) -> float:
        mine = [label for _, track, label in view if track == 0]
        return 0.9 if len(mine) == 2 and any("holding" in label for label in mine) else 0.1

    tokens = named((0, 0, "looking", "holding"), (4, 0, "looking", "free"), (6, 1, "away", "free"))
    reason = reason_of(tokens, both)
    assert (reason["kind"], reason["to"], reason["between_s"]) == ("lasting", "holding", [0.0, 0.0])


def test_undoing_a_change_edits_the_tokens_with_the_later_name() -> None:
    tokens = named(
        (0, 0, "looking", "free"), (1, 0, "looking", "wiping"), (2, 0, "looking", "free")
    )
    names = tokens.rows[1].names[0], make_name("contacting", "wiping", "free")
    both = replace(tokens.rows[1], names=names)
    tokens = replace(tokens, rows=[tokens.rows[0], both, tokens.rows[2]])
    edit = tokens.undone(1, 2, "contacting")
    assert edit.tokens.tolist() == [0, 2]
    assert tokens.undone(0, 1, "contacting").tokens.tolist() == [1]


def test_ends_of_a_change_are_predicates_that_only_one_token_has() -> None:
    name = partial(make_name, "contacting")

    assert changed(name("touching", "holding"), name("drinking", "holding")) == (
        "touching",
        "drinking",
    )
    assert changed(name("drinking", "holding"), name("holding")) == ("drinking", "holding")
    assert changed(name("holding"), name("touching", "holding")) == ("holding", "touching")
    assert changed(name("touching", "holding"), name("holding", "touching")) is None
    assert changed(name(), name("holding")) is None
