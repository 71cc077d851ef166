"""Rationales and truth of names on clips for which the right answers are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.label_bank import LabelBank
from pipeline.errors import UsageError
from pipeline.explanation.explained_clip import ExplainedClip, Support
from pipeline.explanation.predictions import TokenContribution
from tests.pipeline.explanation.test_reason import WORDS, View, bank, named, puts
from tests.tools.test_interventions import TOKENS, explained
from tools.proofs.faithfulness.names import most_frequent, name_truth
from tools.proofs.faithfulness.rationales import (
    MAPPING,
    OBJECTS,
    rationale_scores,
    read_objects,
)
from tools.world.true_relations import Truth

OBJECT = frozenset({"object 0"})
WEIGHTS = [0.8, 0.0, 0.7, 0.0, 0.0, 0.0]


def during(
    start_s: float,
    end_s: float,
    rule: Callable[[View], float] = puts,
    weights: list[float] = WEIGHTS,
) -> ExplainedClip:
    """Return an explained clip of `TOKENS`, every 0.5 s, with the action in an interval."""
    clip = explained(rule, weights)
    header = replace(clip.clip.header, actions=((0, start_s, end_s),))
    return replace(clip, clip=replace(clip.clip, header=header))


def test_reason_in_the_object_and_interval_of_the_action_is_perfect() -> None:
    found = rationale_scores(during(0.0, 1.0), 0, OBJECT)
    assert found == {
        "rationale precision": 1.0,
        "rationale precision, chance": pytest.approx(2 / 6),
        "rationale recall": 1.0,
        "rationale recall, chance": pytest.approx(2 / 6),
        "pointing": 1.0,
        "pointing, chance": pytest.approx(2 / 6),
        "pointing in time": 1.0,
        "pointing in time, chance": pytest.approx(3 / 6),  # token 1 shows another object
    }


def test_reason_outside_the_interval_or_of_another_object_is_wrong() -> None:
    found = rationale_scores(during(1.0, 2.5), 0, OBJECT)
    assert found is not None
    assert (found["rationale precision"], found["rationale recall"]) == (0.5, 1.0)
    assert (found["pointing"], found["pointing in time"]) == (0.0, 0.0)
    found = rationale_scores(during(0.0, 1.0), 0, frozenset({"object 1"}))
    assert found is not None
    assert (found["rationale precision"], found["rationale recall"]) == (0.0, 0.0)
    assert (found["pointing"], found["pointing in time"]) == (0.0, 1.0)


def test_random_reasons_have_the_values_of_chance() -> None:
    clip, rng = during(0.0, 1.0), np.random.default_rng(0)
    sums: dict[str, float] = {}
    for _ in range(500):
        tokens, order = rng.choice(6, 2, replace=False).tolist(), rng.permutation(6).tolist()
        support = Support(tuple(TokenContribution(i, 0.0) for i in order), ())
        drawn = replace(
            clip,
            reasons={0: replace(clip.reasons[0], tokens=tuple(tokens))},
            support={0: support},
        )
        for name, value in (rationale_scores(drawn, 0, OBJECT) or {}).items():
            sums[name] = sums.get(name, 0.0) + value / 500
    for name in ("rationale precision", "rationale recall", "pointing", "pointing in time"):
        assert sums[name] == pytest.approx(sums[f"{name}, chance"], abs=0.06)


def test_actions_without_a_token_of_their_object_have_no_rationale() -> None:
    assert rationale_scores(during(0.1, 0.4), 0, OBJECT) is None
    assert rationale_scores(during(0.0, 1.0), 0, frozenset({"object 7"})) is None
    none = during(0.0, 1.0, lambda view: 0.7)
    found = rationale_scores(none, 0, OBJECT)
    assert found is not None  # a reason without tokens has no precision
    assert {*found} == {
        "pointing", "pointing, chance", "pointing in time", "pointing in time, chance",
    }  # fmt: skip
    nothing = replace(none, support={0: Support((), ())})
    assert rationale_scores(nothing, 0, OBJECT) == {}
    empty = replace(none, tokens=named())
    assert rationale_scores(empty, 0, OBJECT) is None


def test_objects_of_classes_are_matched_by_their_parts(tmp_path: Path) -> None:
    (tmp_path / MAPPING).write_text(
        "c000 o001 v000\nc001 o000 v001\nc002 o002 v001\nc003 o003 v0\n"
    )
    (tmp_path / OBJECTS).write_text("o000 None\no001 closet\no002 hair\no003 cup/glass/bottle\n")
    vocabulary = ("person", "closet/cabinet", "door", "doorknob", "glass")
    found = read_objects(tmp_path, ("c000", "c001", "c002", "c003"), vocabulary)
    assert found == {"c000": {"closet/cabinet"}, "c002": frozenset(), "c003": {"glass"}}
    with pytest.raises(UsageError, match="object of class c004"):
        read_objects(tmp_path, ("c004",), vocabulary)
    (tmp_path / MAPPING).write_text("c000\n")
    with pytest.raises(UsageError, match=f"{MAPPING}:1: 3 columns expected"):
        read_objects(tmp_path, ("c000",), vocabulary)
    (tmp_path / OBJECTS).unlink()
    with pytest.raises(UsageError, match=f"{OBJECTS} not found"):
        read_objects(tmp_path, ("c000",), vocabulary)


def labels(*rows: tuple[int, set[str], int], is_single: bool = False) -> LabelBank:
    """Return a bank of labels (object class, predicates, count)."""
    return LabelBank(
        torch.zeros(len(rows), 2),
        torch.tensor([[0, row[0]] for row in rows], dtype=torch.int64).view(-1, 2),
        torch.tensor([word in row[1] for row in rows for word in WORDS], dtype=torch.bool).reshape(
            -1, len(WORDS)
        ),
        torch.tensor([row[2] for row in rows], dtype=torch.int64),
        (2, 3),
        is_single=is_single,
    )


def test_most_frequent_label_is_that_of_the_class_or_of_all() -> None:
    known = labels(
        (0, {"looking", "holding"}, 5),
        (0, {"away", "holding", "wiping"}, 6),
        (1, {"looking", "holding"}, 4),
        (2, {"away"}, 1),
    )

    def words(found: list[int]) -> list[str | None]:
        return [WORDS[i] if i >= 0 else None for i in found]

    assert words(most_frequent(known, torch.tensor([0, 0]))) == [
        "away",
        "wiping",
    ]  # the rarer of two predicates
    assert words(most_frequent(known)) == ["looking", "holding"]  # 5 + 4 tokens
    assert words(most_frequent(known, torch.tensor([0, 2]))) == ["away", None]
    assert most_frequent(known, torch.tensor([0, 3])) == [-1, -1]
    single = labels((0, {"looking"}, 2), (0, {"away"}, 3), (0, {"free"}, 9), is_single=True)
    assert words(most_frequent(single, torch.tensor([0, 0]))) == ["away", "free"]
    assert most_frequent(labels()) == [-1, -1]


def test_true_and_false_names_are_counted_for_known_objects() -> None:
    clip = during(0.0, 1.0)
    said = torch.tensor([[word in TOKENS.label(i) for word in WORDS] for i in range(6)])
    threads = torch.tensor([0, 1, 0, 1, 1, -1])
    known = labels((0, {"looking", "free"}, 3), (1, {"away", "free"}, 2))
    found = name_truth(known, clip, Truth(threads, said))
    assert found["name is true, attention"] == found["name is true, contacting"] == [True] * 5
    assert np.sum(found["name is true, contacting, most frequent of class"]) == 4
    # tokens 0 and 2 look, and tokens 1 and 4 of object 1 look away
    assert np.sum(found["name is true, attention, most frequent of class"]) == 4
    assert np.sum(found["name is true, attention, most frequent"]) == 3
    wrong = name_truth(known, clip, Truth(threads, ~said))
    assert not any(wrong["name is true, attention"])
    only = said.clone()
    only[:, :2] = False  # no true predicate of the group attention
    assert "name is true, attention" not in name_truth(known, clip, Truth(threads, only))
    assert name_truth(bank(2), replace(clip, tokens=named()), Truth(threads, said)) == {}
