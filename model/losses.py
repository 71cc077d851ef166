"""Terms of Eq. 11 as pure functions.

Notation: z are logits, y are labels, u are keep gates, and sg stops the gradient.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def loss_action_multi(
    logits: Float[Tensor, "B C"], labels: Float[Tensor, "B C"], reduction: str = "mean"
) -> Float[Tensor, ""]:
    """Compute L_v or L_s (Eq. 7), the binary cross-entropy for several actions per video.

        -mean_b sum_c [y_bc log sigmoid(z_bc) + (1 - y_bc) log(1 - sigmoid(z_bc))]

    Args:
        logits: action logits z.
        labels: labels y, 0 or 1, or NaN where they are unknown. Unknown labels contribute nothing.
        reduction: reduction over the known classes, `sum` (as in the equation) or `mean`.

    Raises:
        ValueError: if `reduction` is unknown.
    """
    known = ~labels.isnan()
    y = labels.float().nan_to_num()
    values = F.binary_cross_entropy_with_logits(logits.float(), y, reduction="none") * known
    if reduction == "mean":
        return (values.sum(1) / known.sum(1).clamp(min=1)).mean()
    return _over_classes(values, reduction).mean()


def loss_action_single(
    logits: Float[Tensor, "B C"], labels: Int64[Tensor, "B"]
) -> Float[Tensor, ""]:
    """Compute L_v or L_s (Eq. 7), the softmax cross-entropy for one action per video.

    Args:
        logits: action logits z.
        labels: class index of each video.

    Returns:
        The mean over videos.
    """
    return F.cross_entropy(logits.float(), labels)


def loss_similarity(
    visual: Float[Tensor, "M D"],
    semantic: Float[Tensor, "M D"],
    log_scale: Float[Tensor, ""],
    *,
    triplets: Int64[Tensor, "M W"] | None = None,
) -> Float[Tensor, ""]:
    """Compute L_sim (Eq. 8), the symmetric contrastive loss over the M real tokens of a batch.

        -1/(2M) sum_i [log softmax_j(t v_i s_j)_i + log softmax_j(t v_j s_i)_i],  t = exp(log_scale)

    v and s are the L2-normalised visual and semantic embeddings.

    Args:
        visual: video embeddings of the real tokens.
        semantic: language embeddings of the same tokens, in the same order.
        log_scale: learnable logarithm of t. As in CLIP, t is clamped to at most 100.
        triplets: integer codes of each token's triplet. Tokens with equal codes are not negatives
            of each other. If None, all other tokens are negatives, as in the published loss.

    Returns:
        The loss. With fewer than two tokens, the loss and its gradients are zero.
    """
    if len(visual) < 2:
        return (visual.sum() + semantic.sum() + log_scale) * 0.0
    x, y = F.normalize(visual.float(), dim=1), F.normalize(semantic.float(), dim=1)
    scores = log_scale.float().exp().clamp(max=100.0) * (x @ y.T)
    if triplets is not None:
        code = triplets.unique(dim=0, return_inverse=True)[1]  # one number per distinct triplet
        same = code[:, None] == code[None]
        same.fill_diagonal_(False)
        scores = scores.masked_fill(same, float("-inf"))
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def loss_reading(
    visual: Float[Tensor, "M D"],
    labels: Float[Tensor, "E D"],
    index: Int64[Tensor, "M"],
    log_scale: Float[Tensor, ""],
    weights: Float[Tensor, "E"] | None = None,
) -> Float[Tensor, ""]:
    """Compute L_sim (Eq. 8) between M tokens and all E labels of the training videos.

        -1/M' sum_i w_{e(i)} log softmax_e(t v_i s_e)_{e(i)},  t = exp(log_scale)

    v_i is the L2-normalised visual embedding of token i, s_e the L2-normalised language embedding
    of label e, and e(i) the label of token i. M' is the number of tokens with a label. In
    `loss_similarity`, the candidates are the tokens of the batch, which contains few of the labels
    that are easily confused.

    Args:
        visual: visual embeddings of the tokens.
        labels: language embeddings of the labels.
        index: label of each token, -1 for a token whose label is not among the E labels.
        log_scale: learnable logarithm of t. As in CLIP, t is clamped to at most 100.
        weights: weight w of the tokens of each label; None for 1.

    Returns:
        The loss. If no token has a label, the loss and its gradients are zero.
    """
    if not bool((index >= 0).any()):
        return (visual.sum() + labels.sum() + log_scale) * 0.0
    x, y = F.normalize(visual.float(), dim=1), F.normalize(labels.float(), dim=1)
    scores = log_scale.float().exp().clamp(max=100.0) * (x @ y.T)
    if weights is None:
        return F.cross_entropy(scores, index, ignore_index=-1)
    total = F.cross_entropy(scores, index, weight=weights, ignore_index=-1, reduction="sum")
    return total / (index >= 0).sum()


def loss_token_selection(
    video_gate: Float[Tensor, "B T K"],
    language_gate: Float[Tensor, "B T K"],
    mask: Bool[Tensor, "B T K"],
) -> Float[Tensor, ""]:
    """Compute L_tss (Eq. 9), which aligns the video selection with a sparse language selection.

        mean over real tokens of (u^v - sg(u^s))^2 + |u^s|

    The text of the paper describes a mean-squared error, but Eq. 9 contains an unsquared norm. This
    function uses the square. The loss is zero if there are no real tokens.

    Args:
        video_gate: u^v, gates of the video branch.
        language_gate: u^s, gates of the language branch.
        mask: True for real tokens.
    """
    aligned = (video_gate.float() - language_gate.detach().float()).square()
    return mean_gate(aligned, mask) + mean_gate(language_gate, mask)


def mean_gate(gate: Float[Tensor, "B T K"], mask: Bool[Tensor, "B T K"]) -> Float[Tensor, ""]:
    """Compute the mean of |gate| over the real tokens, zero if there are none."""
    values = gate.float().abs().masked_fill(~mask, 0.0)
    return values.sum() / mask.sum().clamp(min=1)


def loss_cross_modal_bernoulli(
    mimic_logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    reduction: str = "mean",
) -> Float[Tensor, ""]:
    """Compute L_xm for several actions per video, KL(p || q) of Bernoulli distributions.

        mean_b sum_c [p_bc log(p_bc / q_bc) + (1 - p_bc) log((1 - p_bc) / (1 - q_bc))]

    p and q are the class probabilities of the teacher and the mimic. The paper has a minus sign
    before the divergence in Eq. 10. This function returns the divergence itself, which training
    minimises.

    Args:
        mimic_logits: logits of q, the video branch's estimate of the language branch.
        teacher_logits: logits of p, from the language branch. They get no gradient.
        reduction: reduction over classes, `sum` (as in the equation) or `mean`.

    Raises:
        ValueError: if `reduction` is unknown.
    """
    values = bernoulli_divergence(teacher_logits.detach(), mimic_logits)
    return _over_classes(values, reduction).mean()


def bernoulli_divergence(
    logits_p: Float[Tensor, "*N C"], logits_q: Float[Tensor, "*N C"]
) -> Float[Tensor, "*N C"]:
    """Compute KL(p || q) of the Bernoulli distributions of each class, in nats.

    Args:
        logits_p: logits of p.
        logits_q: logits of q.
    """
    x, y = logits_p.float(), logits_q.float()
    p = x.sigmoid()
    on = p * (F.logsigmoid(x) - F.logsigmoid(y))
    off = (1 - p) * (F.logsigmoid(-x) - F.logsigmoid(-y))
    return on + off


def loss_cross_modal_softmax(
    mimic_logits: Float[Tensor, "B C"], teacher_logits: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    """Compute L_xm (Eq. 10), KL(p || q) of softmax distributions.

    p and q are the class probabilities of the teacher and the mimic. The minus sign of Eq. 10 is
    omitted. The loss is the mean over videos.

    Args:
        mimic_logits: logits of q, the video branch's estimate of the language branch.
        teacher_logits: logits of p, from the language branch. They get no gradient.
    """
    return softmax_divergence(teacher_logits.detach(), mimic_logits).mean()


def softmax_divergence(
    logits_p: Float[Tensor, "*N C"], logits_q: Float[Tensor, "*N C"]
) -> Float[Tensor, "*N"]:
    """Compute KL(p || q) of the softmax distributions over C classes, in nats.

    Args:
        logits_p: logits of p.
        logits_q: logits of q.
    """
    log_p, log_q = logits_p.float().log_softmax(-1), logits_q.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _over_classes(values: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: mean or sum over classes expected, got {reduction!r}")
    return values.mean(1) if reduction == "mean" else values.sum(1)
