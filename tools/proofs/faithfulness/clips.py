"""Explained clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.label_bank import LabelBank
from model.laiar import LaIAR
from model.token_scorer import TokenScorer
from model.tokens import ActionOutput, TokenBatch
from pipeline.cache.clip import CachedClip
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.builder import Evidence, find_transitions, support_of, token_rows
from pipeline.explanation.reason import NamedTokens, find_reasons
from pipeline.samples.clip_tokens import ClipTokens, clip_tokens
from pipeline.weights.model_card import ModelCard


@dataclass(frozen=True)
class Network:
    """Trained network with its label bank.

    Attributes:
        model: network in eval mode on `device`.
        card: card of the network.
        bank: label bank that names the tokens.
        calibration: content of `calibration.json`.
        device: device of the network.
        keeps_all: whether all tokens are kept, instead of those that the selectors keep.
    """

    model: LaIAR
    card: ModelCard
    bank: LabelBank
    calibration: dict[str, Any]
    device: torch.device
    keeps_all: bool = False

    def recognize(self, batch: TokenBatch) -> ActionOutput:
        """Predict the actions of one video from its kept tokens."""
        batch = batch.to(self.device)
        with torch.inference_mode():
            keep = batch.mask if self.keeps_all else None
            return self.model.recognize(batch, keep=keep, gather=True)


@dataclass(frozen=True)
class ExplainedClip:
    """Clip with the reasons of its actions.

    Attributes:
        clip: the sampled frames.
        clip_tokens: their tokens.
        labels: columns of the actions of the video.
        scores: score of each action.
        tokens: tokens with their names.
        usable: tokens that the network can keep, see `ActionOutput`.
        transitions: `transitions` of the explanation.
        scorer: scorer of the tokens.
        support: `evidence` and `transitions` of each explained action, by column.
        reasons: reason of each explained action, by column.
    """

    clip: CachedClip
    clip_tokens: ClipTokens
    labels: frozenset[int]
    scores: list[float]
    tokens: NamedTokens
    usable: list[int]
    transitions: list[dict[str, Any]]
    scorer: TokenScorer
    support: dict[int, dict[str, Any]]
    reasons: dict[int, dict[str, Any]]


def explain_clip(
    network: Network,
    clip: CachedClip,
    threshold: float = 0.0,
    *,
    actions: Sequence[int] | None = None,
) -> ExplainedClip:
    """Find the reasons of all actions whose score is at least a threshold.

    Args:
        network: the network.
        clip: sampled frames of a clip with labels.
        threshold: smallest score of an explained action.
        actions: columns of the explained actions. If not None, the threshold is not used.
    """
    card = network.card
    tokens = clip_tokens(clip, card.settings.max_pairs)
    batch = tokens.batch.to(network.device)
    output = network.recognize(batch)
    with torch.inference_mode():
        scorer = TokenScorer(network.model, batch)
    rows = token_rows(
        Evidence(clip, tokens, output, scorer, network.calibration), network.bank, card
    )
    groups = card.cache.predicate_groups
    named = NamedTokens(rows, groups, tokens.batch.object_labels)
    logits = output.logits.double().cpu().numpy()
    scores = probabilities(logits, multi_label=card.multi_label)[0].tolist()
    if actions is None:
        actions = [column for column, score in enumerate(scores) if score >= threshold]
    transitions = find_transitions(rows, tuple(groups))
    contributions: Tensor = scorer.leave_one_out(output.keep[0][batch.mask[0]]).cpu()
    return ExplainedClip(
        clip,
        tokens,
        frozenset(column for column, _, _ in clip.header.actions or ()),
        scores,
        named,
        output.usable[0][batch.mask[0]].nonzero()[:, 0].tolist(),
        transitions,
        scorer,
        {c: support_of(rows, transitions, contributions[:, c].tolist(), card) for c in actions},
        dict(zip(actions, find_reasons(scorer, named, network.bank, actions), strict=True)),
    )
