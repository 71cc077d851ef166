"""Measurements of the selection of tokens on videos for which the right answers are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from model.tokens import ActionOutput, TokenBatch
from pipeline.explanation.explained_clip import ExplainedClip
from pipeline.samples.clip_tokens import clip_tokens
from tests.pipeline.clips import random_clip
from tests.pipeline.explanation.test_reason import named, puts
from tests.tools.test_interventions import explained
from tests.tools.test_reason_stability import network
from tools.proofs.faithfulness.videos import (
    VideoSelection,
    degeneration,
    mask_probe,
    mean_auc,
    order_values,
    selection_rows,
    video_selection,
)

V, T, K, C = 80, 4, 3, 3


def clip_of(keep: list[int] | None = None, usable: int = 6) -> ExplainedClip:
    """Return a clip of one token in each of six frames."""
    clip = random_clip([2] * 6)
    tokens = named(
        *((t, 0, "looking", "holding" if t < 3 else "free") for t in range(6)), keep=keep
    )
    found = explained(puts, [0.0] * 6)
    scorer: Any = found.scorer
    scorer.tokens = tokens
    return replace(
        found, clip=clip, clip_tokens=clip_tokens(clip, 4), tokens=tokens, usable=[*range(usable)]
    )


def test_selection_of_a_video_and_a_random_one_of_the_same_size() -> None:
    clip = clip_of([0, 3])
    drawn = [video_selection(clip, np.random.default_rng(seed)) for seed in range(300)]
    first = drawn[0]
    assert first.keep.shape == first.random_keep.shape == (6, 1)
    assert first.keep[:, 0].tolist() == [True, False, False, True, False, False]
    assert first.labels.tolist() == [True]
    assert all(row.random_keep.sum() == 2 for row in drawn)
    shares = np.mean([row.random_keep[:, 0] for row in drawn], 0)
    assert shares == pytest.approx(np.full(6, 2 / 6), abs=0.1)
    # 9 of 15 pairs are a token before and one after the change
    score = np.mean([row.random_scores[0] for row in drawn])
    assert score == pytest.approx(0.1 + 0.8 * 9 / 15, abs=0.1)
    few = video_selection(clip_of([0, 3], usable=4), np.random.default_rng(0))
    assert not few.random_keep[4:].any()


def test_videos_without_tokens_or_labels_have_a_selection() -> None:
    found = video_selection(clip_of([]), np.random.default_rng(0))
    assert not found.keep.any()
    assert not found.random_keep.any()
    clip = random_clip([1, 1])
    empty = replace(
        clip_of([]), clip=clip, clip_tokens=clip_tokens(clip, 4), usable=[], labels=frozenset()
    )
    found = video_selection(empty, np.random.default_rng(0))
    assert (found.keep.size, found.labels.tolist()) == (0, [False])
    rows = selection_rows([found], 0)
    assert {row["mean"] for row in rows.values()} == {None}
    assert selection_rows([], 0) == {}
    assert degeneration(empty) == {"no token kept": 1.0, "all tokens kept": 0.0}


def test_trivial_selections_are_counted() -> None:
    assert degeneration(clip_of([])) == {"no token kept": 1.0, "all tokens kept": 0.0}
    assert degeneration(clip_of()) == {"no token kept": 0.0, "all tokens kept": 1.0}
    assert degeneration(clip_of([0])) == {"no token kept": 0.0, "all tokens kept": 0.0}
    assert degeneration(clip_of([0], usable=1))["all tokens kept"] == 1.0


def videos(*, leaks: bool, scores_help: bool = True, size: int = V) -> list[VideoSelection]:
    """Return videos whose masks show the labels, or whose masks are random."""
    rng = np.random.default_rng(0)
    found = []
    for row in range(size):
        labels = rng.random(C) < 0.5
        labels[row % C] = True  # no video is without labels
        keep = rng.random((T + row % 2, K)) < 0.5  # videos have different numbers of frames
        drawn = rng.permuted(keep.flatten()).reshape(keep.shape)
        if leaks:
            keep[0] = labels
        noise, other = rng.random((2, C))
        found.append(VideoSelection(labels, noise + 2 * labels * scores_help, other, keep, drawn))
    return found


def test_probe_predicts_labels_from_masks_that_show_them() -> None:
    rows = selection_rows(videos(leaks=True), 0)
    assert rows["mask probe"]["mean"] > 0.97
    assert rows["mask probe, random"]["mean"] == pytest.approx(0.5, abs=0.12)
    assert rows["mask probe, difference"]["low"] > 0.2
    assert rows["mask probe"]["videos"] == V // 2


def test_probe_of_random_masks_is_at_chance() -> None:
    rows = selection_rows(videos(leaks=False), 0)
    assert rows["mask probe"]["mean"] == pytest.approx(0.5, abs=0.12)
    span = rows["mask probe, difference"]
    assert span["low"] < 0 < span["high"]


def test_probe_needs_videos_and_positives() -> None:
    assert selection_rows(videos(leaks=True, size=19), 0)["mask probe"]["mean"] is None
    masks = [video.keep for video in videos(leaks=True)]
    labels = np.zeros((V, 2), bool)
    labels[:9, 0] = True  # at most 4 of them are in one of the halves
    labels[:, 1] = True  # no negatives
    found, known = mask_probe(masks, labels, 0)
    assert found.shape == known.shape == (V // 2, 1)
    assert mean_auc(found, known) is None


def test_mean_auc_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random((30, 4)) < 0.4, rng.integers(0, 5, (30, 4)).astype(float)
    labels[:, 3] = False
    expected = np.mean([roc_auc_score(labels[:, c], scores[:, c]) for c in range(3)])
    assert mean_auc(scores, labels) == pytest.approx(expected)


def test_scores_of_the_selection_are_compared_with_those_of_random_tokens() -> None:
    rows = selection_rows(videos(leaks=False), 0)
    assert rows["mAP"]["mean"] == pytest.approx(1.0)
    difference = rows["mAP, difference"]
    assert difference["mean"] == rows["mAP"]["mean"] - rows["mAP, random"]["mean"]
    assert 0.1 < difference["low"] < difference["mean"] < difference["high"]
    same = selection_rows(videos(leaks=False, scores_help=False), 0)["mAP, difference"]
    assert same["low"] < 0 < same["high"]


def test_network_that_reads_the_order_flips_and_one_that_ignores_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = clip_of()
    trained = network(random_clip([2] * 6, predicates=26))

    def order_of(weights: torch.Tensor, labels: set[int]) -> dict[str, list[float]]:
        """Measure a network whose class 0 adds weighted features of the tokens in their order."""

        def recognize(batch: TokenBatch, **options: Any) -> Any:
            lead = (batch.object_features[:, 0].double() * weights).sum()
            return ActionOutput(torch.stack([lead, -lead, lead * 0])[None], *[batch.mask] * 7)

        monkeypatch.setattr(trained.model, "recognize", recognize)
        logits = recognize(clip.clip_tokens.batch).logits[0]
        scored = replace(clip, scores=logits.sigmoid().tolist(), labels=frozenset(labels))
        return order_values(trained, scored, [(0, 1)])

    blind, ordered = torch.ones(6), torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    assert order_of(blind, {0})["inverse pairs, flips"] == [0.0]
    assert order_of(ordered, {0})["inverse pairs, flips"] == [1.0]
    for weights in (blind, ordered):  # one of two inverse classes is right
        found = [order_of(weights, {c})["inverse pairs, accuracy"] for c in (0, 1)]
        assert sorted(found) == [[0.0], [1.0]]
    assert order_of(ordered, {0, 1}) == order_of(ordered, {2}) == {}
