"""The terms of Eq. 11, as pure functions.

Symbols: z logits, y labels, u keep gates, V and S the joint embeddings; sg stops the gradient.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def loss_action_multi(
    logits: Float[Tensor, "B C"], labels: Float[Tensor, "B C"], reduction: str = "mean"
) -> Float[Tensor, ""]:
    """L_v or L_s of Eq. 7 for several actions per video: binary cross-entropy.

    Mean over videos; over classes the `mean` or the `sum`.
    """
    per_class = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
    return _over_classes(per_class, reduction).mean()


def loss_action_single(
    logits: Float[Tensor, "B C"], labels: Int64[Tensor, "B"]
) -> Float[Tensor, ""]:
    """L_v or L_s of Eq. 7 for one action per video: softmax cross-entropy, mean over videos."""
    return F.cross_entropy(logits.float(), labels)


def loss_similarity(
    visual: Float[Tensor, "M D"],
    semantic: Float[Tensor, "M D"],
    log_scale: Float[Tensor, ""],
    *,
    triplets: Int64[Tensor, "M W"] | None = None,
) -> Float[Tensor, ""]:
    """L_sim, Eq. 8: symmetric contrastive loss over the M real tokens of a batch.

        -1/2M sum_i [log softmax_j(t x_i y_j)_i + log softmax_j(t x_j y_i)_i],   t = exp(log_scale)

    with x, y the normalised embeddings.

    Args:
        visual: embeddings of the real tokens.
        semantic: same tokens, same order.
        log_scale: learnable; t is held below 100 as in CLIP.
        triplets: with codes of what each token says; tokens of one code then are no negatives of
            each other (the published loss counts them as such).

    Returns:
        The loss; zero, with a graph, for fewer than two tokens.
    """
    if len(visual) < 2:
        return (visual.sum() + semantic.sum() + log_scale) * 0.0
    x, y = F.normalize(visual.float(), dim=1), F.normalize(semantic.float(), dim=1)
    scores = log_scale.float().exp().clamp(max=100.0) * (x @ y.T)
    if triplets is not None:
        same = (triplets[:, None] == triplets[None]).all(2)
        same.fill_diagonal_(False)
        scores = scores.masked_fill(same, float("-inf"))
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def loss_token_selection(
    video_gate: Float[Tensor, "B T K"],
    language_gate: Float[Tensor, "B T K"],
    mask: Bool[Tensor, "B T K"],
) -> Float[Tensor, ""]:
    """L_tss, Eq. 9: the language's selection guides the video's, and is sparse.

        mean over real tokens of (u^v - sg(u^s))^2 + |u^s|

    The text says mean-squared, the formula an unsquared norm; the square is taken. Zero without a
    real token.
    """
    aligned = (video_gate.float() - language_gate.detach().float()).square()
    terms = (aligned + language_gate.float().abs()).masked_fill(~mask, 0.0)
    return terms.sum() / mask.sum().clamp(min=1)


def loss_cross_modal_bernoulli(
    mimic_logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    reduction: str = "mean",
) -> Float[Tensor, ""]:
    """L_xm for several actions per video: KL(p || q) of each class's Bernoulli, p the teacher's.

        sum or mean over c of p log(p/q) + (1-p) log((1-p)/(1-q)),   mean over videos

    The teacher (language) is detached. Eq. 10 prints a minus sign before the divergence; it is the
    divergence that is minimised.
    """
    teacher, mimic = teacher_logits.detach().float(), mimic_logits.float()
    p = teacher.sigmoid()
    on = p * (F.logsigmoid(teacher) - F.logsigmoid(mimic))
    off = (1 - p) * (F.logsigmoid(-teacher) - F.logsigmoid(-mimic))
    return _over_classes(on + off, reduction).mean()


def loss_cross_modal_softmax(
    mimic_logits: Float[Tensor, "B C"], teacher_logits: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    """L_xm, Eq. 10 as printed but for its sign: KL of the class distributions, mean over videos."""
    log_p = teacher_logits.detach().float().log_softmax(1)
    log_q = mimic_logits.float().log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def _over_classes(values: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: mean or sum over classes expected, got {reduction!r}")
    return values.mean(1) if reduction == "mean" else values.sum(1)
