"""Construction of the label bank, and calibration of the names that it assigns to tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.label_bank import LabelBank, LabelBankBuilder, Names, distinct_bank
from model.labels import THRESHOLD, TokenLabels
from model.laiar import LaIAR
from pipeline.evaluation.names import all_groups
from pipeline.samples.dataset import ClipDataset, batches
from pipeline.weights.run_folder import CALIBRATION_SCHEMA

#: Required accuracy of the names whose margin is at or above the threshold.
TARGET = 0.9
_NUM_BINS = 10
_SIDE = 1.645  # one-sided 95 % quantile of the normal distribution


def build_bank(
    model: LaIAR,
    data: ClipDataset,
    device: torch.device,
    *,
    batch_size: int,
    workers: int = 0,
) -> LabelBank:
    """Build a label bank with single predicates, for embeddings with context.

    The prototypes are means of the embeddings of the language branch on the training videos.

    Args:
        model: network on `device`. It is set to eval mode.
        data: training samples with relations.
        device: device of the model.
        batch_size: number of videos per batch.
        workers: number of processes that read the cache. If 0, the main process reads it.

    Returns:
        Label bank with one prototype per pair of classes and predicate of the training videos.
    """
    model.eval()
    builder = LabelBankBuilder(model.semantic.group_sizes, model.settings.dim)
    with torch.inference_mode():
        for batch in batches(data, batch_size, workers=workers):
            if batch.tokens is None:
                continue
            tokens = batch.tokens.to(device)
            language = model(tokens).language
            assert language is not None
            builder.add(language.embeddings, tokens)
    return builder.build()


def label_bank(model: LaIAR, labels: TokenLabels) -> LabelBank:
    """Build the label bank of a network whose embeddings have no context.

    The prototype of a label is its language embedding. Labels without predicates name nothing and
    are left out.

    Args:
        model: trained network.
        labels: distinct labels of the training tokens.
    """
    labels = labels.with_predicates()
    model.eval()
    device = model.log_scale.device
    with torch.inference_mode():
        prototypes = model.embed_labels(labels.pairs.to(device), labels.predicates.to(device))
    return distinct_bank(prototypes, labels, model.semantic.group_sizes)


@dataclass(frozen=True)
class Trials:
    """Names of tokens with known relations, in one predicate group.

    Attributes:
        video: (M,) int64 number of the token's video.
        margin: (M,) margin of the name.
        right: (M,) bool, whether the shown predicate is one of the known predicates.
        right_unconstrained: (M,) bool, likewise with the prototypes of all object classes.
        exact: (M,) bool, whether all predicates of the name equal the known ones.
        said, known: (M, size) bool, predicates of the name, and known predicates.
    """

    video: Tensor
    margin: Tensor
    right: Tensor
    right_unconstrained: Tensor
    exact: Tensor
    said: Tensor
    known: Tensor


def calibrate(
    model: LaIAR,
    bank: LabelBank,
    data: ClipDataset,
    device: torch.device,
    *,
    groups: tuple[str, ...],
    batch_size: int,
    workers: int = 0,
) -> dict[str, Any]:
    """Measure the accuracy of names as a function of their margin, on held-out videos.

    A name is right if the predicate that it shows is one of the known predicates of the token in
    this group. Tokens without a known predicate in a group are ignored for this group.

    Args:
        model: network on `device`. It is set to eval mode.
        bank: label bank that assigns the names.
        data: held-out samples with relations.
        device: device of the model.
        groups: names of the predicate groups.
        batch_size: number of videos per batch.
        workers: number of processes that read the cache. If 0, the main process reads it.

    Returns:
        Content of `calibration.json`. Each of its `groups` has `tokens`, `accuracy`,
        `accuracy_unconstrained`, `exact` (share of names with exactly the known predicates),
        `recall` (mean over predicates of the share of their tokens whose names contain them),
        `threshold` and `bins` (`margin_from`, `tokens`, `right`). The threshold is the smallest
        of 100 quantiles of the margin for which `lower_bound` of the names with this or a larger
        margin is at least `TARGET`, and None if there is none. `all_groups` has the shares of
        tokens that are right, and exact, in all groups with a known predicate at once.
    """
    found: list[list[Trials]] = [[] for _ in groups]
    whole: list[Tensor] = []
    model.eval()
    videos = 0
    with torch.inference_mode():
        for batch in batches(data, batch_size, workers=workers):
            if batch.tokens is None or batch.tokens.predicates is None:
                continue
            tokens = batch.tokens.to(device)
            assert tokens.predicates is not None
            output = model.recognize(tokens, keep=tokens.mask)  # no selection is needed
            embeddings = output.embeddings[tokens.mask]
            own = bank.name(embeddings, tokens.pairs)
            free = bank.name(embeddings, tokens.pairs, constrained=False)
            video = tokens.mask.nonzero()[:, 0] + videos
            videos += len(batch.video_ids)
            parts = tokens.predicates.split(bank.group_sizes, 1)
            columns = []
            start = 0
            for g, part in enumerate(parts):
                said = part >= THRESHOLD
                right, exact, trials = _trials(own[g], free[g], said, start, video)
                found[g].append(trials)
                columns.append(torch.stack([said.any(1), right, exact]))
                start += part.shape[1]
            whole.append(torch.stack(columns, 2).cpu())
    rows = torch.cat(whole, 1) if whole else torch.zeros(3, 0, len(groups), dtype=torch.bool)
    every = zip(("tokens", "accuracy", "exact"), all_groups(*rows), strict=True)
    return {
        "schema": CALIBRATION_SCHEMA,
        "videos": len(data),
        "target": TARGET,
        "groups": {name: _summary(parts) for name, parts in zip(groups, found, strict=True)},
        "all_groups": dict(every),
    }


def without_names(groups: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of `calibration.json` for a network without names.

    Args:
        groups: names of the predicate groups.
    """
    return {
        "schema": CALIBRATION_SCHEMA,
        "videos": 0,
        "target": TARGET,
        "groups": {name: _summary([]) for name in groups},
        "all_groups": {"tokens": 0, "accuracy": None, "exact": None},
    }


def status_of(predicate: int, margin: float, threshold: float | None) -> str:
    """Return the status of a name.

    The status is `unknown` if there is no name, `confident` if the margin is at or above the
    threshold, and `uncertain` otherwise.
    """
    if predicate < 0:
        return "unknown"
    return "confident" if threshold is not None and margin >= threshold else "uncertain"


def lower_bound(right: Tensor, video: Tensor) -> float:
    """Return the lower 95 % bound (one-sided) of the share of right names, over videos.

    Names of one video are not independent. The variance of the share p = sum_v r_v / sum_v n_v is
    therefore estimated over videos,

        V / (V - 1) sum_v (r_v - p n_v)^2 / (sum_v n_v)^2,

    and the bound is that of Wilson's interval for a number of independent names with this
    variance. That number is at most the number of names, and the number of videos if the variance
    is zero.

    Args:
        right: (M,) bool, whether each name is right.
        video: (M,) int64 video of each name.
    """
    M = len(right)
    if not M:
        return 0.0
    _, place = video.unique(return_inverse=True)
    V = int(place.max()) + 1
    n = torch.zeros(V, dtype=torch.float64).index_add_(0, place, torch.ones(M).double())
    r = torch.zeros(V, dtype=torch.float64).index_add_(0, place, right.double())
    p = float(r.sum() / M)
    rest = (r - p * n).square()
    rest[rest < (1e-9 * n) ** 2] = 0.0  # rounding errors
    variance = float(rest.sum()) * V / max(V - 1, 1) / M**2
    independent = min(p * (1 - p) / variance, M) if variance > 0 else V
    square = _SIDE**2 / max(independent, 1e-9)
    middle = p + square / 2
    spread: float = (square * (p * (1 - p) + square / 4)) ** 0.5
    return max((middle - spread) / (1 + square), 0.0)


def _trials(
    own: Names, free: Names, known: Tensor, start: int, video: Tensor
) -> tuple[Tensor, Tensor, Trials]:
    """Return whether each token is right and exact, and the trials of tokens that count."""

    def right(names: Names) -> Tensor:
        place = (names.predicate - start).clamp(min=0)
        return known.gather(1, place[:, None])[:, 0] & (names.predicate >= 0)

    is_right, exact = right(own), (own.said == known).all(1)
    counts = known.any(1)
    columns = (video, own.margin, is_right, right(free), exact, own.said, known)
    return is_right, exact, Trials(*(column[counts].cpu() for column in columns))


def _summary(rows: list[Trials]) -> dict[str, Any]:
    columns = zip(*(vars(row).values() for row in rows), strict=True)
    joined = Trials(*(torch.cat(parts) for parts in columns)) if rows else None
    if joined is None or not len(joined.margin):
        names = ("accuracy", "accuracy_unconstrained", "exact", "recall", "threshold")
        return {"tokens": 0, **dict.fromkeys(names), "bins": []}
    margin, is_right = joined.margin, joined.right
    order = margin.argsort(stable=True)
    bins = []
    for part in order.tensor_split(min(_NUM_BINS, len(order))):
        low = float(margin[part[0]])
        right = float(is_right[part].double().mean())
        bins.append({"margin_from": low, "tokens": len(part), "right": right})
    occurs = joined.known.sum(0)
    recalls = ((joined.said & joined.known).sum(0) / occurs)[occurs > 0]
    return {
        "tokens": len(margin),
        "accuracy": float(is_right.double().mean()),
        "accuracy_unconstrained": float(joined.right_unconstrained.double().mean()),
        "exact": float(joined.exact.double().mean()),
        "recall": float(recalls.double().mean()),
        "threshold": _threshold(joined),
        "bins": bins,
    }


def _threshold(trials: Trials) -> float | None:
    """Return the smallest of 100 quantiles of the margin with a sufficient lower bound."""
    quantiles = torch.linspace(0, 1, 101, dtype=torch.float64)[:-1]
    for low in trials.margin.double().quantile(quantiles).tolist():
        above = trials.margin.double() >= low
        if lower_bound(trials.right[above], trials.video[above]) >= TARGET:
            return float(low)
    return None
