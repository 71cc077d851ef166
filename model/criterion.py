"""Training loss of LaIAR (Eq. 11), a weighted sum of five terms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from model.labels import THRESHOLD
from model.losses import (
    loss_action_multi,
    loss_action_single,
    loss_cross_modal_bernoulli,
    loss_cross_modal_softmax,
    loss_reading,
    loss_similarity,
    loss_token_selection,
    mean_gate,
)
from model.tokens import BranchOutputs, TokenBatch


@runtime_checkable
class OtherParts(Protocol):
    """Other parts of a step, for L_sim of Eq. 8, which compares all tokens of the step.

    A step is divided if several processes or several passes share it.
    """

    @property
    def share(self) -> float:
        """One, divided by the number of parts."""
        ...

    def join(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows of all parts, in the same order in every part, for each tensor.

        Only the rows of this part have a gradient.
        """
        ...


@dataclass(frozen=True)
class CriterionSettings:
    """Weights and options of the terms of Eq. 11.

    Attributes:
        multi_label: True if a video can have several actions (Charades), False if it has exactly
            one (CAD-120).
        similarity: weight delta of L_sim.
        selection: weight zeta of L_tss, for selector=gumbel.
        cross_modal: weight eta of L_xm.
        excerpts: weight of the loss of the language branch on excerpts of the videos, for
            `multi_label`. The paper has no such term.
        reduction: reduction of the multi-label terms over classes, `mean` or `sum`.
        multi_positive: if True, tokens with the same triplet are not negatives of each other in
            L_sim. It has no effect with reading, where L_sim compares tokens with labels.
        softmax_cross_modal: if True, L_xm uses the softmax of Eq. 10 even if `multi_label` is True.
        balanced_labels: if True, tokens of rare labels have a larger weight in L_sim
            (`LabelReader.set_labels`). It has no effect without reading.

    Raises:
        ValueError: if a weight is negative or `reduction` is unknown.
    """

    multi_label: bool = True
    similarity: float = 0.1
    selection: float = 1.0
    cross_modal: float = 0.1
    excerpts: float = 0.0
    reduction: str = "mean"
    multi_positive: bool = False
    softmax_cross_modal: bool = False
    balanced_labels: bool = False

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction: mean or sum expected, got {self.reduction!r}")
        for name in ("similarity", "selection", "cross_modal", "excerpts"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: a weight >= 0 expected, got {getattr(self, name)}")


class LaIARCriterion(nn.Module):
    """Training loss L = L_v + L_s + delta L_sim + zeta L_tss + eta L_xm (Eq. 11).

    Args:
        settings: weights and options of the terms.
    """

    def __init__(self, settings: CriterionSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self,
        outputs: BranchOutputs,
        labels: Tensor,
        batch: TokenBatch,
        log_scale: Tensor | None,
        others: OtherParts | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted terms of the loss.

        Args:
            outputs: outputs of both branches.
            labels: (B, C) floating-point values 0 and 1, or NaN where unknown, if `multi_label` is
                True, else (B,) int64 class indices.
            batch: batch from which `outputs` were computed.
            log_scale: logarithm of the learnable scale t of Eq. 8; None without two branches.
            others: other parts of the step. Over all parts, the values and the gradients of
                `similarity` add up to those of the whole step (without reading).

        Returns:
            Scalars `video`, `language`, `similarity`, `selection` and `cross_modal`. Their sum is
            the loss. With one branch, only its own terms are computed: `video`, or `language` and
            `selection`. With selector=subset, `selection` is `BranchOutputs.selection`. Otherwise
            it is the weighted L_tss, or with one branch the sparsity of its selection.
        """
        s, video, language = self.settings, outputs.video, outputs.language
        if video is None:
            assert language is not None
            selection = outputs.selection
            if selection is None:
                selection = s.selection * mean_gate(language.keep_gate, batch.mask)
            terms = {"language": self._action(language.logits, labels)}
            return terms | {"selection": selection}
        terms = {"video": self._action(video.logits, labels)}
        if language is None:
            return terms
        assert video.mimic_logits is not None
        assert log_scale is not None
        assert batch.predicates is not None
        terms["language"] = self._action(language.logits, labels)
        targets = outputs.targets
        if targets is not None:
            visual = video.embeddings[batch.mask]
            weights = targets.weights if s.balanced_labels else None
            similarity = loss_reading(visual, targets.embeddings, targets.index, log_scale, weights)
        else:
            similarity = self._similarity(similarity_rows(outputs, batch), log_scale, others)
        terms["similarity"] = s.similarity * similarity
        gates = (video.keep_gate, language.keep_gate)
        terms["selection"] = (
            s.selection * loss_token_selection(*gates, batch.mask)
            if outputs.selection is None
            else outputs.selection
        )
        if s.multi_label and not s.softmax_cross_modal:
            distance = loss_cross_modal_bernoulli(video.mimic_logits, language.logits, s.reduction)
        else:
            distance = loss_cross_modal_softmax(video.mimic_logits, language.logits)
        terms["cross_modal"] = s.cross_modal * distance
        return terms

    def _similarity(
        self, rows: list[Tensor], log_scale: Tensor, others: OtherParts | None
    ) -> Tensor:
        if others is not None:
            rows = others.join(rows)
            # Each part computes the whole loss, and its gradient for the rows of this part.
            log_scale = _scaled(log_scale, value=1.0, gradient=others.share)
        triplets = rows[2] if self.settings.multi_positive else None
        loss = loss_similarity(rows[0], rows[1], log_scale, triplets=triplets)
        return loss if others is None else _scaled(loss, value=others.share, gradient=1.0)

    def clip_loss(self, outputs: BranchOutputs, labels: Tensor, whole: Tensor) -> Tensor:
        """Compute the term `video` from subsets of the tokens and clip features of whole videos.

        A clip feature also shows the actions that a subset of the tokens does not show. Their
        labels are therefore unknown.

        Args:
            outputs: outputs for the subsets.
            labels: (B, C) labels of the subsets, for `multi_label`.
            whole: (B, C) labels of the whole videos.
        """
        assert outputs.video is not None
        return self._action(outputs.video.logits, labels.masked_fill(labels != whole, math.nan))

    def excerpt_loss(self, logits: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Compute the weighted loss of the language branch on excerpts of the videos.

        Args:
            logits: (B, C) logits of the language branch, for each of n excerpts per video.
            labels: (B, C) labels of these excerpts, 0, 1, or NaN where unknown.
        """
        terms = [self._action(*pair) for pair in zip(logits, labels, strict=True)]
        return self.settings.excerpts * torch.stack(terms).mean()

    def _action(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.settings.multi_label:
            return loss_action_multi(logits, labels, self.settings.reduction)
        return loss_action_single(logits, labels)


def similarity_rows(outputs: BranchOutputs, batch: TokenBatch) -> list[Tensor]:
    """Return the tensors that L_sim of Eq. 8 compares between all tokens of a step.

    Returns:
        (M, D) embeddings of the video branch, (M, D) embeddings of the language branch, and
        (M, 2 + R) int64 codes of the triplets of the tokens.
    """
    video, language = outputs.video, outputs.language
    assert video is not None
    assert language is not None
    assert batch.predicates is not None
    said = (batch.predicates >= THRESHOLD).long()
    codes = torch.cat([batch.human_labels[:, None], batch.object_labels[:, None], said], 1)
    return [video.embeddings[batch.mask], language.embeddings[batch.mask], codes]


def _scaled(x: Tensor, *, value: float, gradient: float) -> Tensor:
    """Return `value` x, whose gradient is `gradient` times that of x."""
    return gradient * x + (value - gradient) * x.detach()
