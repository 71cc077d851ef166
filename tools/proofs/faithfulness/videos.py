"""Measurements of the selection of tokens over all videos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

from pipeline.evaluation.inverse_pairs import score_inverse_pairs
from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.explained_clip import ExplainedClip, Network
from pipeline.samples.clip_tokens import reverse_tokens
from tools.compare_scores import interval

#: Smallest number of videos of the probe, and of positive videos of a class in each half of them.
LEAST_VIDEOS, LEAST_POSITIVES = 20, 5
#: Penalties of the probe. Leave-one-out errors on the first half of the videos select one.
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
RESAMPLES = 200
#: Function from (V, C) scores and (V, C) labels to a metric.
Metric = Callable[[np.ndarray, np.ndarray], float | None]


@dataclass(frozen=True)
class VideoSelection:
    """Selection of one video and a random selection of as many of its usable tokens.

    Attributes:
        labels: (C,) bool, True for the actions of the video.
        scores: (C,) scores from the kept tokens.
        random_scores: (C,) scores from the random tokens.
        keep: (T, K) bool, the kept tokens.
        random_keep: (T, K) bool, the random tokens.
    """

    labels: np.ndarray
    scores: np.ndarray
    random_scores: np.ndarray
    keep: np.ndarray
    random_keep: np.ndarray


def video_selection(clip: ExplainedClip, rng: np.random.Generator) -> VideoSelection:
    """Return the selection of a clip and a random selection of the same size."""
    kept = clip.tokens.kept
    drawn = sorted(rng.choice(clip.usable, len(kept), replace=False).tolist()) if kept else []
    scores = clip.scorer.scores(clip.scorer.subsets([drawn]))[0].cpu().numpy()
    mask = clip.clip_tokens.batch.mask[0]
    grids = []
    for tokens in (kept, drawn):
        packed = torch.zeros(int(mask.sum()), dtype=torch.bool)
        packed[tokens] = True
        grids.append(torch.zeros_like(mask).masked_scatter(mask, packed).numpy())
    labels = np.isin(np.arange(len(clip.scores)), [*clip.labels])
    return VideoSelection(labels, np.array(clip.scores), scores, *grids)


def degeneration(clip: ExplainedClip) -> dict[str, float]:
    """Return whether the selection is trivial.

    `no token kept` is 1 if the network keeps no token of the video, and `all tokens kept` is 1 if
    there are usable tokens and the network keeps all of them.
    """
    kept = len(clip.tokens.kept)
    return {
        "no token kept": float(not kept),
        "all tokens kept": float(0 < kept == len(clip.usable)),
    }


def order_values(
    network: Network, clip: ExplainedClip, pairs: Sequence[tuple[int, int]]
) -> dict[str, list[float]]:
    """Return the results of the inverse pairs of one video, see `score_inverse_pairs`.

    A case is a pair of which exactly one class is an action of the video. The mean over the cases
    of all videos is the accuracy, and the share of flips. By chance, the accuracy is 0.5. A network
    that ignores the order of the frames has no flips.
    """
    output = network.recognize(reverse_tokens(clip.clip_tokens.batch))
    logits = output.logits.double().cpu().numpy()
    again = probabilities(logits, multi_label=network.card.multi_label)
    labels = np.isin(np.arange(len(clip.scores)), [*clip.labels])[None]
    found = score_inverse_pairs(np.array([clip.scores]), again, labels, pairs)
    if found.accuracy is None or found.flips is None:
        return {}
    return {
        "inverse pairs, accuracy": [found.accuracy] * found.cases,
        "inverse pairs, accuracy, chance": [0.5] * found.cases,
        "inverse pairs, flips": [found.flips] * found.cases,
    }


def selection_rows(videos: Sequence[VideoSelection], seed: int) -> dict[str, dict[str, Any]]:
    """Return the mAP and the mask probe of a set of videos.

    `mAP` is that of the scores from the kept tokens, and `mAP, random` that of the scores from as
    many random usable tokens. `mask probe` is the mean AUC of `mask_probe` for the kept tokens, and
    `mask probe, random` that for the random tokens. The rows with `difference` are the first less
    the second, with a 95 % interval from a paired bootstrap over videos; for the probe, over its
    test videos.

    Args:
        videos: selections of the videos.
        seed: seed of the halves of the videos and of the bootstrap.
    """
    if not videos:
        return {}
    labels = np.stack([video.labels for video in videos])
    scores = np.stack([video.scores for video in videos])
    drawn = np.stack([video.random_scores for video in videos])
    rows = _compared("mAP", scores, drawn, labels, _map, seed)
    probes = [
        mask_probe(masks, labels, seed)
        for masks in ([v.keep for v in videos], [v.random_keep for v in videos])
    ]
    ours, control = probes
    return rows | _compared("mask probe", ours[0], control[0], ours[1], mean_auc, seed)


def mask_probe(
    masks: Sequence[np.ndarray], labels: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the labels of videos from their masks of kept tokens alone.

    The features are the entries of the masks, padded to one size. A ridge regression is fitted to a
    random half of the videos and predicts the labels of the other half.

    Args:
        masks: (T, K) bool mask of each video.
        labels: (V, C) bool.
        seed: seed of the halves.

    Returns:
        Predictions and labels of the second half, for the classes with at least `LEAST_POSITIVES`
        positive videos in both halves. There is no class for less than `LEAST_VIDEOS` videos.
    """
    V = len(masks)
    order = np.random.default_rng(seed).permutation(V)
    halves = order[: V // 2], order[V // 2 :]
    positives = np.minimum(*(labels[half].sum(0) for half in halves))
    known = positives >= LEAST_POSITIVES
    T, K = (max(mask.shape[axis] for mask in masks) for axis in (0, 1))
    if V < LEAST_VIDEOS or not known.any() or not T * K:
        return np.zeros((len(halves[1]), 0)), np.zeros((len(halves[1]), 0), bool)
    features = np.zeros((V, T, K))
    for row, mask in zip(features, masks, strict=True):
        row[: mask.shape[0], : mask.shape[1]] = mask
    features = features.reshape(V, -1)
    probe = RidgeCV(PENALTIES).fit(features[halves[0]], labels[halves[0]][:, known].astype(float))
    found = probe.predict(features[halves[1]]).reshape(len(halves[1]), -1)
    return found, labels[halves[1]][:, known]


def mean_auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean area under the ROC curve over the classes with positives and negatives.

    Ties count half. The result is None if there is no such class.

    Args:
        scores: (V, C) real numbers.
        labels: (V, C) bool.
    """
    ups, downs = labels.sum(0), (~labels).sum(0)
    known = (ups > 0) & (downs > 0)
    if not known.any():
        return None
    ranks = (rankdata(scores[:, known], axis=0) * labels[:, known]).sum(0)
    ups, downs = ups[known], downs[known]
    return float(((ranks - ups * (ups + 1) / 2) / (ups * downs)).mean())


def _map(scores: np.ndarray, labels: np.ndarray) -> float | None:
    found = charades_map(scores, labels).map
    return found if np.isfinite(found) else None


def _compared(
    name: str,
    ours: np.ndarray,
    control: np.ndarray,
    labels: np.ndarray,
    metric: Metric,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return the rows of a metric of two sets of scores, and of the difference."""
    values = [metric(scores, labels) for scores in (ours, control)]
    span: dict[str, float | None] = {"low": None, "high": None}
    difference = None
    if values[0] is not None and values[1] is not None:
        difference = values[0] - values[1]
        low, high = interval(
            (control, control), (ours, ours), labels, lambda s, _, known: metric(s, known),
            resamples=RESAMPLES, seed=seed,
        )  # fmt: skip
        span = {"low": low, "high": high}
    none = {"low": None, "high": None}
    size = {"count": len(labels), "videos": len(labels)}
    return {
        name: {"mean": values[0]} | none | size,
        f"{name}, random": {"mean": values[1]} | none | size,
        f"{name}, difference": {"mean": difference} | span | size,
    }
