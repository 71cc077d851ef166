"""Eq. 11: what LaIAR is trained on, weighted, term by term."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.laiar import BranchOutputs
from model.losses import (
    loss_action_multi,
    loss_action_single,
    loss_cross_modal_bernoulli,
    loss_cross_modal_softmax,
    loss_similarity,
    loss_token_selection,
)
from model.tokens import TokenBatch


@dataclass(frozen=True)
class CriterionSettings:
    """Weights of Eq. 11 and the readings of its terms.

    Attributes:
        multi_label: several actions per video (Charades) or one (CAD-120).
        similarity: delta; selection: zeta; cross_modal: eta.
        reduction: over classes, `mean` or `sum` (multi-label terms).
        multi_positive: tokens that say the same triplet are no negatives of each other in L_sim.
        softmax_cross_modal: Eq. 10 as printed, for several actions per video too.

    Raises:
        ValueError: for a negative weight or another reduction.
    """

    multi_label: bool = True
    similarity: float = 0.1
    selection: float = 1.0
    cross_modal: float = 0.1
    reduction: str = "mean"
    multi_positive: bool = False
    softmax_cross_modal: bool = False

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction: mean or sum expected, got {self.reduction!r}")
        for name in ("similarity", "selection", "cross_modal"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: a weight >= 0 expected, got {getattr(self, name)}")


class LaIARCriterion(nn.Module):
    """L = L_v + L_s + delta L_sim + zeta L_tss + eta L_xm."""

    def __init__(self, settings: CriterionSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self, outputs: BranchOutputs, labels: Tensor, batch: TokenBatch, log_scale: Tensor
    ) -> dict[str, Tensor]:
        """Weighted terms.

        Args:
            outputs: of both branches; without the language side only `video` is there.
            labels: (B, C) floating of 0 and 1, or (B,) int64 for one action per video.
            batch: what the outputs were made from.
            log_scale: the learnable temperature of Eq. 8.

        Returns:
            `video`, `language`, `similarity`, `selection`, `cross_modal`: scalars that sum to the
            loss.
        """
        s, video, language = self.settings, outputs.video, outputs.language
        terms = {"video": self._action(video.logits, labels)}
        if language is None:
            return terms
        assert video.mimic_logits is not None
        assert batch.predicates is not None
        terms["language"] = self._action(language.logits, labels)
        triplets = None
        if s.multi_positive:
            said = (batch.predicates >= 0.5).long()
            ends = torch.stack([batch.human_labels, batch.object_labels], 1)
            triplets = torch.cat([ends, said], 1)
        terms["similarity"] = s.similarity * loss_similarity(
            video.embeddings[batch.mask],
            language.embeddings[batch.mask],
            log_scale,
            triplets=triplets,
        )
        terms["selection"] = s.selection * loss_token_selection(
            video.keep_gate, language.keep_gate, batch.mask
        )
        if s.multi_label and not s.softmax_cross_modal:
            distance = loss_cross_modal_bernoulli(video.mimic_logits, language.logits, s.reduction)
        else:
            distance = loss_cross_modal_softmax(video.mimic_logits, language.logits)
        terms["cross_modal"] = s.cross_modal * distance
        return terms

    def _action(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.settings.multi_label:
            return loss_action_multi(logits, labels, self.settings.reduction)
        return loss_action_single(logits, labels)
