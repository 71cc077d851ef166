"""Clips with the names of their tokens and the reasons of their actions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from model.label_bank import LabelBank, Names
from model.laiar import LaIAR
from model.token_scorer import TokenScorer
from model.tokens import ActionOutput, TokenBatch
from pipeline.cache.clip import CachedClip
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.naming import status_of
from pipeline.explanation.observations import Box, Name, Token, Transition, Unconstrained
from pipeline.explanation.predictions import Reason, TokenContribution, TransitionContribution
from pipeline.explanation.reason import NamedTokens, changed, find_reasons
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
class Support:
    """Contributions to an action.

    Attributes:
        evidence: `evidence` of the prediction.
        transitions: `transitions` of the prediction.
    """

    evidence: tuple[TokenContribution, ...]
    transitions: tuple[TransitionContribution, ...]


@dataclass(frozen=True)
class ExplainedClip:
    """Clip with the reasons of its actions.

    Attributes:
        clip: the sampled frames.
        clip_tokens: their tokens.
        labels: columns of the actions of the video.
        logits: (C,) float64 logit of each action.
        scores: score of each action.
        tokens: tokens with their names.
        usable: tokens that the network can keep, see `ActionOutput`.
        transitions: changes of named relations.
        scorer: scorer of the tokens.
        support: contributions to each explained action, by column.
        reasons: reason of each explained action, by column.
    """

    clip: CachedClip
    clip_tokens: ClipTokens
    labels: frozenset[int]
    logits: Tensor
    scores: list[float]
    tokens: NamedTokens
    usable: list[int]
    transitions: list[Transition]
    scorer: TokenScorer
    support: dict[int, Support]
    reasons: dict[int, Reason]


def explain_clip(
    network: Network,
    clip: CachedClip,
    threshold: float = 0.0,
    *,
    top: int | None = None,
    actions: Sequence[int] | None = None,
) -> ExplainedClip:
    """Find the reasons of actions of a clip.

    Args:
        network: the network.
        clip: sampled frames of the clip.
        threshold: smallest score of an explained action.
        top: number of explained actions, those with the highest scores in descending order. If
            not None, the threshold is not used.
        actions: columns of the explained actions. If not None, `threshold` and `top` are not used.
    """
    card = network.card
    tokens = clip_tokens(clip, card.settings.max_pairs)
    batch = tokens.batch.to(network.device)
    output = network.recognize(batch)
    with torch.inference_mode():
        scorer = TokenScorer(network.model, batch)
    rows = _token_rows(network, clip, tokens, output)
    groups = card.cache.predicate_groups
    named = NamedTokens(rows, groups, tokens.batch.pairs)
    logits = output.logits[0].double().cpu()
    scores = probabilities(logits[None].numpy(), multi_label=card.multi_label)[0].tolist()
    if actions is None and top is not None:
        actions = logits.argsort(descending=True, stable=True)[:top].tolist()
    if actions is None:
        actions = [column for column, score in enumerate(scores) if score >= threshold]
    transitions = find_transitions(rows, tuple(groups))
    contributions: Tensor = scorer.leave_one_out(output.keep[0][batch.mask[0]]).cpu()
    return ExplainedClip(
        clip,
        tokens,
        frozenset(column for column, _, _ in clip.header.actions or ()),
        logits,
        scores,
        named,
        output.usable[0][batch.mask[0]].nonzero()[:, 0].tolist(),
        transitions,
        scorer,
        {c: _support_of(rows, transitions, contributions[:, c].tolist(), card) for c in actions},
        dict(zip(actions, find_reasons(scorer, named, network.bank, actions), strict=True)),
    )


def find_transitions(tokens: Sequence[Token], groups: tuple[str, ...]) -> list[Transition]:
    """Find changes of the named relation between consecutive kept tokens of one track.

    The time of a change is the interval between the two sampled frames. See `changed` for `from`
    and `to`. Tokens without a name in a group are skipped in that group.

    Args:
        tokens: the tokens.
        groups: names of the predicate groups, in the order of `names` of each token.

    Returns:
        The transitions, sorted by time.
    """
    tracks: dict[int, list[Token]] = {}
    for token in tokens:
        if token.keep:
            tracks.setdefault(token.track, []).append(token)
    found: list[Transition] = []
    for number, track in tracks.items():
        for g, group in enumerate(groups):
            named = [t for t in track if t.names[g].predicate is not None]
            for before, after in itertools.pairwise(named):
                ends = changed(before.names[g], after.names[g])
                if ends is not None:
                    times, pair = (before.time_s, after.time_s), (before.id, after.id)
                    row = Transition(0, number, before.object.class_, group, *ends, times, pair)
                    found.append(row)
    found.sort(key=lambda row: (row.between_s, row.track, row.group))
    return [replace(row, id=i) for i, row in enumerate(found)]


def _token_rows(
    network: Network, clip: CachedClip, tokens: ClipTokens, output: ActionOutput
) -> list[Token]:
    """Return the tokens with their names."""
    card, bank, batch = network.card, network.bank, tokens.batch
    embeddings = output.embeddings[batch.mask.to(output.embeddings.device)].cpu()
    own = bank.name(embeddings, batch.pairs)
    free = bank.name(embeddings, batch.pairs, constrained=False)
    rows = []
    for m, (_, t, k) in enumerate(batch.mask.nonzero().tolist()):
        human, object_ = clip.pair_rows[int(tokens.pair_row[m])].tolist()
        rows.append(
            Token(
                id=m,
                t=t,
                k=k,
                track=int(batch.tracks[m]),
                time_s=float(clip.timestamps_s[t]),
                frame_index=int(clip.frame_index[t]),
                human=_box(clip, human, card),
                object=_box(clip, object_, card),
                keep=bool(output.keep[0, t, k]),
                keep_temporal=bool(output.keep_temporal[0, t]),
                keep_spatial=bool(output.keep_spatial[0, t, k]),
                keep_probability=float(output.keep_probability[0, t, k]),
                names=tuple(
                    _name(own[g], free[g], m, group, card, network.calibration)
                    for g, group in enumerate(card.cache.predicate_groups)
                ),
            )
        )
    return rows


def _box(clip: CachedClip, row: int, card: ModelCard) -> Box:
    x1, y1, x2, y2 = clip.boxes[row].tolist()
    name = card.cache.objects[int(clip.labels[row])]
    return Box(name, (x1, y1, x2, y2), float(clip.scores[row]))


def _name(
    own: Names, free: Names, m: int, group: str, card: ModelCard, calibration: dict[str, Any]
) -> Name:
    words = [name for names in card.cache.predicate_groups.values() for name in names]
    known = calibration.get("groups", {}).get(group, {})
    predicate, margin = int(own.predicate[m]), float(own.margin[m])
    start = 0
    for other_group, its_names in card.cache.predicate_groups.items():
        if other_group == group:
            break
        start += len(its_names)
    other, its_object = int(free.predicate[m]), int(free.object[m])
    nearest = None
    if other >= 0:
        nearest = Unconstrained(words[other], card.cache.objects[its_object], float(free.cosine[m]))
    return Name(
        group=group,
        predicate=words[predicate] if predicate >= 0 else None,
        predicates=tuple(words[start + int(r)] for r in own.said[m].nonzero()[:, 0]),
        cosine=float(own.cosine[m]),
        margin=margin,
        status=status_of(predicate, margin, known.get("threshold")),
        right_on_validation=_right(margin, known.get("bins") or []),
        unconstrained=nearest,
    )


def _right(margin: float, bins: list[dict[str, Any]]) -> float | None:
    """Return the accuracy of the calibration bin of a margin, or None below the lowest bin."""
    below = [row for row in bins if row["margin_from"] <= margin]
    return below[-1]["right"] if below else None


def _support_of(
    tokens: list[Token], transitions: list[Transition], contributions: list[float], card: ModelCard
) -> Support:
    """Return the contributions to an action in descending order."""
    parts = [TokenContribution(t.id, contributions[t.id]) for t in tokens if t.keep]
    parts.sort(key=lambda part: (-part.contribution, part.token))
    carried = [
        TransitionContribution(row.id, sum(contributions[i] for i in row.tokens))
        for row in transitions
    ]
    carried = [row for row in carried if row.contribution > 0]
    # Changes of several groups between the same two tokens have the same contribution. The last
    # group (contacting) is the most informative and comes first.
    order = {group: -g for g, group in enumerate(card.cache.predicate_groups)}
    carried.sort(
        key=lambda row: (
            -row.contribution,
            order[transitions[row.transition].group],
            row.transition,
        )
    )
    return Support(tuple(parts), tuple(carried))
