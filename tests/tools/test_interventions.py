"""The measurements of tools.faithfulness on scorers for which the right answers are known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.explanation.explained_clip import ExplainedClip, Support, find_transitions
from pipeline.explanation.predictions import NOTHING, TokenContribution
from pipeline.explanation.reason import find_reasons
from pipeline.samples.clip_tokens import clip_tokens
from tests.pipeline.clips import random_clip
from tests.pipeline.explanation.test_reason import (
    GROUPS,
    PlantedScorer,
    View,
    bank,
    named,
    puts,
)
from tools.proofs.faithfulness.interventions import (
    edit_scores,
    extra_tokens,
    name_scores,
    order_scores,
    reason_scores,
)
from tools.proofs.faithfulness.readers import best_contribution, random_transition

CLIP = random_clip([2, 2])  # its content is not measured
#: Object 0 is put down once. Object 1 is only looked at.
TOKENS = named(
    (0, 0, "looking", "holding"),
    (1, 1, "away", "free"),
    (2, 0, "looking", "free"),
    (3, 1, "looking", "free"),
    (4, 1, "away", "free"),
    (5, 1, "looking", "free"),
)


def explained(rule: Callable[[View], float], contributions: list[float]) -> ExplainedClip:
    """Return the explanation of the only action of a planted scorer."""
    scorer = PlantedScorer(TOKENS, rule)
    weights = sorted(enumerate(contributions), key=lambda item: -item[1])
    support = Support(tuple(TokenContribution(i, value) for i, value in weights), ())
    return ExplainedClip(
        clip=CLIP,
        clip_tokens=clip_tokens(CLIP, 4),
        labels=frozenset({0}),
        logits=torch.zeros(0),
        scores=scorer.scores(scorer.subsets([TOKENS.kept]))[0].tolist(),
        tokens=TOKENS,
        usable=[*range(6)],
        transitions=find_transitions(TOKENS.rows, tuple(GROUPS)),
        scorer=scorer,
        support={0: support},
        reasons=dict(enumerate(find_reasons(scorer, TOKENS, bank(2), [0]))),
    )


def measure(clip: ExplainedClip) -> dict[str, float]:
    found: dict[str, float] = {}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for scores in (reason_scores, order_scores, edit_scores):
            for name, value in scores(clip, 0, rng).items():
                found[name] = found.get(name, 0.0) + value / 20
    return found


def test_a_network_that_rests_on_its_reason_is_measured_as_such() -> None:
    clip = explained(puts, [0.8, 0.0, 0.8, 0.0, 0.0, 0.0])
    found = measure(clip)
    assert clip.reasons[0].tokens == (0, 2)
    assert extra_tokens(clip) == [0]
    wrong = replace(clip.reasons[0], tokens=(0, 1, 2))
    assert extra_tokens(replace(clip, reasons={0: wrong})) == [1]
    assert found["sufficiency"] == pytest.approx(0.0)
    assert found["necessity"] == pytest.approx(0.8)
    assert found["empty"] == pytest.approx(0.8)
    # A random pair of 6 tokens is the right one in 1 of 15 cases, and contains one of them in 9.
    assert found["sufficiency_random"] == pytest.approx(0.8 * 14 / 15, abs=0.08)
    assert found["necessity_random"] == pytest.approx(0.8 * 9 / 15, abs=0.15)
    assert found["deletion"] < found["deletion_random"] - 0.1
    assert found["insertion"] > found["insertion_random"] + 0.1
    assert found["undone"] == pytest.approx(0.8)
    assert found["undone_random"] == pytest.approx(0.0)  # object 1 turns nothing
    assert random_transition(clip, "seed").kind == "change"
    assert best_contribution(clip, 0).to == "holding"


def test_a_constant_network_needs_no_token() -> None:
    clip = explained(lambda view: 0.7, [0.0] * 6)
    assert clip.reasons[0].kind == "none"
    found = order_scores(clip, 0, np.random.default_rng(0))
    assert {round(value, 6) for value in found.values()} == {0.7}
    assert edit_scores(clip, 0, np.random.default_rng(0)) == {}
    names = name_scores(bank(2), clip, np.random.default_rng(0))
    assert names == {"names": [0.0], "names_random": [0.0]}


def test_a_network_that_counts_tokens_is_as_random_as_its_controls() -> None:
    found = measure(explained(lambda view: 0.15 * len(view), [0.15] * 6))
    for name in ("sufficiency", "necessity", "deletion", "insertion"):
        assert found[name] == pytest.approx(found[f"{name}_random"], abs=1e-9)


def test_a_network_that_ignores_the_order_states_no_change() -> None:
    def both(view: View) -> float:
        said = {word for _, track, label in view for word in label if track == 0}
        return 0.9 if {"holding", "free"} <= said else 0.1

    clip = explained(both, [0.8, 0.0, 0.8, 0.0, 0.0, 0.0])
    assert clip.reasons[0].tokens == (0, 2)
    # Undoing the change removes "free", so a reason alone cannot tell order from co-occurrence.
    assert clip.reasons[0].kind == "change"
    backwards = named((0, 0, "looking", "free"), (2, 0, "looking", "holding"))
    scorer = PlantedScorer(backwards, both)
    (reason,) = find_reasons(scorer, backwards, bank(2), [0])
    assert (reason.from_, reason.to) == ("free", "holding")
    assert puts([(0, 0, {"free"}), (2, 0, {"holding"})]) == 0.1


def test_names_that_carry_the_decision_keep_the_score() -> None:
    clip = explained(puts, [0.8, 0.0, 0.8, 0.0, 0.0, 0.0])
    rng = np.random.default_rng(0)
    found = [name_scores(bank(2), clip, rng) for _ in range(30)]
    assert all(row["names"] == [0.0] for row in found)
    assert np.mean([row["names_random"] for row in found]) > 0.3


def test_clips_without_kept_tokens_have_defined_results() -> None:
    empty = named((0, 0, "looking", "holding"), keep=[])
    scorer = PlantedScorer(empty, lambda view: 0.7)
    clip = ExplainedClip(
        clip=CLIP,
        clip_tokens=clip_tokens(CLIP, 4),
        labels=frozenset(),
        logits=torch.zeros(0),
        scores=[0.7],
        tokens=empty,
        usable=[0],
        transitions=[],
        scorer=scorer,
        support={0: Support((), ())},
        reasons=dict(enumerate(find_reasons(scorer, empty, bank(2), [0]))),
    )
    rng = np.random.default_rng(0)
    assert name_scores(bank(2), clip, rng) == {"names": [], "names_random": []}
    assert random_transition(clip, "seed") == best_contribution(clip, 0) == NOTHING


def test_scores_are_tensors_of_subsets_and_actions() -> None:
    scorer = PlantedScorer(TOKENS, puts)
    scores: Tensor = scorer.scores(scorer.subsets([[0, 2], [2]]))
    assert scores[:, 0].tolist() == [0.9, 0.1]
