"""Training losses of the relation predictor (Cong et al., Sec. 3.4)."""

from typing import Literal

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from torch import Tensor

from relations.sttran import RelationLogits

MultiLabelLoss = Literal["margin", "bce"]


def relation_losses(
    logits: RelationLogits, predicates: Float[Tensor, "P R"], *, multi_label: MultiLabelLoss
) -> dict[str, Tensor]:
    """Compute one loss per group of predicates.

    Pairs without an annotated predicate in a group are ignored in that group, because the absence
    of all predicates cannot be annotated.

    Args:
        logits: output of the relation predictor for P pairs.
        predicates: annotated predicates, 0 or 1, in index order.
        multi_label: loss of the groups that are not exclusive. `margin` is the published
            `multi_label_margin` on probabilities, and `bce` is binary cross-entropy.

    Returns:
        A dict of one scalar per group. The loss of an exclusive group is cross-entropy. All losses
        are averaged over pairs. `bce` is also averaged over predicates. The loss of a group without
        annotations is 0.
    """
    parts = predicates.split([part.shape[1] for part in logits.groups.values()], 1)
    return {
        group: _exclusive(said, is_true)
        if group in logits.exclusive
        else _together(said, is_true, multi_label)
        for (group, said), is_true in zip(logits.groups.items(), parts, strict=True)
    }


def loss_objects(logits: Float[Tensor, "N L"], labels: Int64[Tensor, "N"]) -> Tensor:
    """Compute the cross-entropy of the object classifier, averaged over boxes.

    The loss is 0 if there are no boxes.

    Args:
        logits: logits over background and the object classes, L = O + 1.
        labels: object classes, without background.
    """
    return F.cross_entropy(logits, labels + 1) if len(labels) else logits.sum()


def multi_label_margin(
    scores: Float[Tensor, "P S"], is_true: Float[Tensor, "P S"]
) -> Float[Tensor, ""]:
    """Compute the multi-label margin loss, averaged over pairs.

        mean_p sum_(t true, f false) max(0, 1 - (s_t - s_f)) / S

    The result equals the result of `torch.nn.MultiLabelMarginLoss`, which STTran's implementation
    uses.
    The targets are 0 and 1 instead of padded lists of indices.

    Args:
        scores: s, scores of S predicates.
        is_true: 1 for annotated predicates, 0 for all others.
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
