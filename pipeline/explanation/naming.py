"""Construction of the label bank, and calibration of the names that it assigns to tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.label_bank import LabelBank, LabelBankBuilder, Names
from model.laiar import LaIAR
from pipeline.samples.dataset import ClipDataset, batches

CALIBRATION_SCHEMA = "laiar.calibration/1"
#: Required accuracy of the names whose margin is at or above the threshold.
TARGET = 0.8
_NUM_BINS = 10


def build_bank(
    model: LaIAR,
    data: ClipDataset,
    device: torch.device,
    *,
    num_objects: int,
    batch_size: int,
    workers: int = 0,
) -> LabelBank:
    """Build the label bank from the embeddings of the language branch on the training videos.

    Args:
        model: network on `device`. It is set to eval mode.
        data: training samples with relations.
        device: device of the model.
        num_objects: number of object classes.
        batch_size: number of videos per batch.
        workers: number of processes that read the cache. If 0, the main process reads it.

    Returns:
        Label bank with one prototype per object class and predicate of the training videos.
    """
    model.eval()
    builder = LabelBankBuilder(num_objects, model.semantic.group_sizes, model.settings.dim)
    with torch.inference_mode():
        for batch in batches(data, batch_size, workers=workers):
            if batch.tokens is None:
                continue
            tokens = batch.tokens.to(device)
            language = model(tokens).language
            assert language is not None
            builder.add(language.embeddings, tokens)
    return builder.build()


@dataclass(frozen=True)
class _Trials:
    """Margins and correctness of token names in one predicate group.

    Only tokens with known relations are included.
    """

    margin: Tensor
    is_right: Tensor
    is_right_unconstrained: Tensor


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

    A name is correct if its predicate is one of the known predicates of the token in this group.
    Tokens without a known predicate or without a name in a group are ignored for this group.

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
        `accuracy_unconstrained`, `threshold` and `bins` (`margin_from`, `tokens`, `right`). The
        threshold is the lowest `margin_from` for which the names with this or a larger margin have
        an accuracy of at least `TARGET`. The threshold is None if there is no such bin.
    """
    found: list[list[_Trials]] = [[] for _ in groups]
    model.eval()
    with torch.inference_mode():
        for batch in batches(data, batch_size, workers=workers):
            if batch.tokens is None or batch.tokens.predicates is None:
                continue
            tokens = batch.tokens.to(device)
            embeddings = model.recognize(tokens).embeddings[tokens.mask]
            own = bank.name(embeddings, tokens.object_labels)
            free = bank.name(embeddings, tokens.object_labels, constrained=False)
            start = 0
            for g, size in enumerate(bank.group_sizes):
                assert tokens.predicates is not None
                span = range(start, start + size)
                found[g].append(_trials(own[g], free[g], tokens.predicates, span))
                start += size
    return {
        "schema": CALIBRATION_SCHEMA,
        "videos": len(data),
        "target": TARGET,
        "groups": {name: _summary(rows) for name, rows in zip(groups, found, strict=True)},
    }


def status_of(predicate: int, margin: float, threshold: float | None) -> str:
    """Return the status of a name.

    The status is `unknown` if there is no name, `confident` if the margin is at or above the
    threshold, and `uncertain` otherwise.
    """
    if predicate < 0:
        return "unknown"
    return "confident" if threshold is not None and margin >= threshold else "uncertain"


def _trials(own: Names, free: Names, predicates: Tensor, span: range) -> _Trials:
    inside = predicates[:, span.start : span.stop] >= 0.5
    counts = inside.any(1) & (own.predicate >= 0)

    def right(names: Names) -> Tensor:
        place = (names.predicate - span.start).clamp(min=0)
        return inside.gather(1, place[:, None])[:, 0][counts].cpu()

    return _Trials(own.margin[counts].cpu(), right(own), right(free))


def _summary(rows: list[_Trials]) -> dict[str, Any]:
    margin = torch.cat([r.margin for r in rows]) if rows else torch.zeros(0)
    if not len(margin):
        unknown = dict.fromkeys(("accuracy", "accuracy_unconstrained", "threshold"))
        return {"tokens": 0, **unknown, "bins": []}
    is_right = torch.cat([r.is_right for r in rows]).double()
    free = torch.cat([r.is_right_unconstrained for r in rows]).double()
    order = margin.argsort(stable=True)
    bins, threshold = [], None
    for part in order.tensor_split(min(_NUM_BINS, len(order))):
        low = float(margin[part[0]])
        bins.append(
            {"margin_from": low, "tokens": len(part), "right": float(is_right[part].mean())}
        )
        if threshold is None and float(is_right[margin >= low].mean()) >= TARGET:
            threshold = low
    return {
        "tokens": len(margin),
        "accuracy": float(is_right.mean()),
        "accuracy_unconstrained": float(free.mean()),
        "threshold": threshold,
        "bins": bins,
    }
