"""What the relation predictor learns from (Cong et al., Sec. 3.4)."""

from typing import Literal

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from torch import Tensor

from relations.sttran import RelationLogits

MultiLabelLoss = Literal["margin", "bce"]


def relation_losses(
    logits: RelationLogits, predicates: Float[Tensor, "P R"], *, multi_label: MultiLabelLoss
) -> dict[str, Tensor]:
    """A term per group of predicates.

    Args:
        logits: of P pairs.
        predicates: annotated, 0 or 1, attention first. Pairs without any in a group do not count
            there: nobody annotates that none holds.
        multi_label: of the spatial and the contacting group. `margin`: the published loss,
            `multi_label_margin` on probabilities; `bce`: binary cross-entropy.

    Returns:
        `attention`: cross-entropy, mean over pairs; `spatial`, `contacting`: mean over pairs (bce:
        and predicates). A group without any annotation gives 0.
    """
    sizes = [part.shape[1] for part in (logits.attention, logits.spatial, logits.contacting)]
    attention, spatial, contacting = predicates.split(sizes, 1)
    return {
        "attention": _exclusive(logits.attention, attention),
        "spatial": _together(logits.spatial, spatial, multi_label),
        "contacting": _together(logits.contacting, contacting, multi_label),
    }


def loss_objects(logits: Float[Tensor, "N L"], labels: Int64[Tensor, "N"]) -> Tensor:
    """Cross-entropy of the object classifier, mean over boxes; its class 0 is background."""
    return F.cross_entropy(logits, labels + 1) if len(labels) else logits.sum()


def multi_label_margin(
    scores: Float[Tensor, "P S"], is_true: Float[Tensor, "P S"]
) -> Float[Tensor, ""]:
    """Mean over pairs of sum_(t true, f false) max(0, 1 - (s_t - s_f)) / S.

    `torch.nn.MultiLabelMarginLoss` of the original, with 0-1 targets instead of padded lists.
    """
    gap = (1 - (scores[:, :, None] - scores[:, None, :])).clamp(min=0)
    counts = is_true[:, :, None] * (1 - is_true[:, None, :])
    return ((gap * counts).sum((1, 2)) / scores.shape[1]).mean()


def _exclusive(logits: Tensor, is_true: Tensor) -> Tensor:
    known = is_true.any(1)
    if not bool(known.any()):
        return logits.sum() * 0
    return F.cross_entropy(logits[known].float(), is_true[known].argmax(1))


def _together(logits: Tensor, is_true: Tensor, kind: MultiLabelLoss) -> Tensor:
    known = is_true.any(1)
    if not bool(known.any()):
        return logits.sum() * 0
    logits, is_true = logits[known].float(), is_true[known].float()
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, is_true)
    return multi_label_margin(logits.sigmoid(), is_true)
