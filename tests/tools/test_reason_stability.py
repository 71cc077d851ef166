"""Stability of reasons and randomised parameters on clips with known answers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.labels import TokenLabels
from model.laiar import LaIAR
from pipeline.explanation.explained_clip import ExplainedClip, Network, explain_clip
from pipeline.explanation.naming import label_bank
from pipeline.explanation.predictions import NOTHING, Reason
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.weights.model_card import ModelCard
from tests.pipeline.cache_maker import cache_info
from tests.pipeline.clips import random_clip
from tests.pipeline.explanation.test_explanation import CALIBRATION, SETTINGS
from tests.pipeline.explanation.test_reason import puts
from tests.tools.test_interventions import explained
from tools.proofs.faithfulness.randomised import (
    READING,
    jaccard,
    randomised_scores,
    with_random_parameters,
)
from tools.proofs.faithfulness.stability import Stability
from tools.proofs.faithfulness.summary import mean_with_interval

CLIP = explained(puts, [0.8, 0.0, 0.8, 0.0, 0.0, 0.0])


def reason(**changes: Any) -> Reason:
    return replace(CLIP.reasons[0], object="cup", between_s=(1.0, 2.0), **changes)


def clip_with(scores: list[float], **reasons: Reason) -> ExplainedClip:
    """Return a clip with scores, and reasons of the actions a0, a1, and so on."""
    return replace(CLIP, scores=scores, reasons={int(a[1:]): r for a, r in reasons.items()})


def means(pairs: list[tuple[ExplainedClip, ExplainedClip]]) -> dict[str, float]:
    stability = Stability()
    for number, (first, second) in enumerate(pairs):
        stability.add(str(number), first, second)
    return {n: mean_with_interval(v)["mean"] for n, v in stability.values(0).items()}


def test_equal_caches_have_equal_reasons_and_controls_differ() -> None:
    cup, box = clip_with([0.9], a0=reason()), clip_with([0.5], a0=replace(reason(), object="box"))
    found = means([(cup, cup), (box, box)])
    assert found == {
        "stability, explained": 1.0,
        "stability, statement": 1.0,
        "stability, statement, random": 0.0,
        "stability, time": 1.0,
        "stability, mean change": 0.0,
        "stability, mean change, random": pytest.approx(0.4),
        "stability, largest change": 0.0,
        "stability, largest change, random": pytest.approx(0.4),
    }


def test_constant_reasons_are_as_stable_as_their_control() -> None:
    found = means(
        [(clip_with([0.9], a0=reason()),) * 2] * 1 + [(clip_with([0.9], a0=reason()),) * 2]
    )
    for name in ("statement", "time", "mean change", "largest change"):
        assert found[f"stability, {name}"] == found[f"stability, {name}, random"]


def test_differences_between_caches_are_counted() -> None:
    first = clip_with([0.9, 0.8, 0.2], a0=reason(), a1=reason(to="wiping"))
    second = clip_with([0.7, 0.8, 0.9], a0=replace(reason(), between_s=(2.5, 3.0)), a2=reason())
    found = means([(first, second)])
    assert found["stability, explained"] == pytest.approx(1 / 3)
    assert (found["stability, statement"], found["stability, time"]) == (1.0, 0.0)
    assert found["stability, statement, random"] == 0.0  # that of the other action of the video
    assert found["stability, mean change"] == pytest.approx((0.2 + 0.0 + 0.7) / 3)
    assert found["stability, largest change"] == pytest.approx(0.7)
    none = replace(reason(), **vars(NOTHING))
    assert "stability, time" not in means([(clip_with([0.9], a0=none),) * 2])
    assert means([]) == means([(clip_with([0.1]),) * 2]) == {}


def network(clip: Any) -> Network:
    """Return a random network that has read the labels of a clip."""
    torch.manual_seed(0)
    settings = SETTINGS.resolved()
    batch = clip_tokens(clip, settings.max_pairs, "ground-truth").batch
    assert batch.predicates is not None
    labels = TokenLabels.of_tokens(batch.pairs, batch.predicates >= 0.5)
    card = ModelCard(settings, cache_info(), "ground-truth", 8, 4, num_labels=len(labels))
    model = card.build().eval().requires_grad_(False)
    assert isinstance(model, LaIAR)
    assert model.reader is not None
    model.reader.set_labels(labels)
    return Network(model, card, label_bank(model, labels), CALIBRATION, torch.device("cpu"))


def test_randomised_network_reads_the_same_tokens_and_scores_them_otherwise() -> None:
    clip = random_clip([4, 3, 5, 4, 3, 4], predicates=26)
    trained = network(clip)
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    other = with_random_parameters(trained, 0)
    batch = clip_tokens(clip, 4).batch
    for name, value in other.model.state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], before[name])
        if name.split(".")[0] in READING:
            assert torch.equal(value, before[name])
        assert torch.equal(value.flatten().sort()[0], before[name].flatten().sort()[0])
    ours, theirs = (net.model.recognize(batch, keep=batch.mask) for net in (trained, other))
    assert torch.equal(ours.embeddings, theirs.embeddings)
    assert (ours.logits - theirs.logits).abs().max() > 0.01
    weight = next(n for n in before if n.startswith("former") and before[n].ndim == 2)
    assert not torch.equal(other.model.state_dict()[weight], before[weight])


def test_reasons_of_the_same_network_are_equal_and_random_ones_are_not() -> None:
    clip = random_clip([4, 3, 5, 4, 3, 4], predicates=26)
    trained = network(clip)
    found = explain_clip(trained, clip)
    kept = found.tokens.kept
    assert len(kept) > 4
    same = randomised_scores(trained, found, np.random.default_rng(0))
    reasons = [row for row in found.reasons.values() if row.tokens]
    assert same["randomised parameters"] == [1.0] * len(reasons)
    assert same["randomised parameters, no token"] == [0.0] * len(reasons)
    one = replace(found, reasons={0: reason(tokens=tuple(kept[:1]))})
    rng, drawn = np.random.default_rng(0), []
    for _ in range(40):
        drawn += randomised_scores(trained, one, rng)["randomised parameters, random"]
    assert np.mean(drawn) == pytest.approx(1 / len(kept), abs=0.05)
    none = replace(found, reasons={0: reason(tokens=())})
    assert not any(randomised_scores(trained, none, rng).values())


def test_jaccard_similarity() -> None:
    assert jaccard([], []) == jaccard([1, 2], [2, 1]) == 1.0
    assert jaccard([1], []) == jaccard([1], [2]) == 0.0
    assert jaccard([1, 2], [2, 3]) == pytest.approx(1 / 3)
