"""Results of an evaluation: `metrics.json`, AP and recall per class, and scores."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import (
    MeanAveragePrecision,
    charades_map,
    none_if_nan,
    tie_grouped_map,
)
from pipeline.evaluation.recall import recall_of_scores
from pipeline.evaluation.scoring import Scores
from pipeline.evaluation.submission import submission_line
from pipeline.runtime.files import write_atomically
from pipeline.weights.model_card import ModelCard

METRICS_SCHEMA = "laiar.metrics/1"
#: Scores in the format of the official evaluation of Charades.
SUBMISSION = "charades_scores.txt"
#: Recall per class of a single-label network.
RECALLS = "per_class_recall.csv"


def metrics_dict(
    found: Scores, card: ModelCard, split: str, scores: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Return the metrics as a dict for JSON.

    A mean over no values is None. For a single-label network, the dict also contains those of
    `MeanAverageRecall.to_dict`.

    Args:
        found: scores of the evaluated clips.
        card: card of the network.
        split: name of the evaluated split.
        scores: (V + M, C) scores of these clips and of M missing videos.
        labels: (V + M, C) bool labels.
    """
    official, grouped = _maps(scores, labels, card)
    return {
        "schema": METRICS_SCHEMA,
        "split": split,
        "videos": len(found.video_ids),
        "failed": len(found.failed),
        "classes": len(card.classes),
        "classes_without_positives": official.num_skipped,
        "map_official": none_if_nan(official.map),
        "map_tie_grouped": none_if_nan(grouped.map),
        "wap_official": none_if_nan(official.weighted),
        "num": _mean(found.kept),
        "num_noise": _mean(found.drawn),
        "num_usable": _mean(found.usable),
        "num_all": _mean(found.tokens),
        "empty_selections": int((found.kept == 0).sum()),
        "network": card.settings.network,
        "preset": card.settings.preset,
        "boxes": card.cache.settings.boxes,
        "relations_in_training": card.relations,
    } | _recalls(scores, labels, card)


def clip_metrics(
    found: Scores, card: ModelCard, scores: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Return how much the scores rest on clip features, which no relation explains.

    See `metrics_dict` for the arguments.

    Returns:
        A dict with `network`, the name of the video network; `logit_share`, the mean of
        |c| / (|c| + |r|) over videos and classes, where c and r are the parts of a logit from the
        clip feature and from the relations; and `map_official` or `mar` of the relations alone.
    """
    assert card.clip_features is not None
    clip = np.zeros_like(found.logits) if found.clip_logits is None else found.clip_logits
    bare = replace(found, logits=found.logits - clip)
    size = np.abs(clip) + np.abs(bare.logits)
    share = np.abs(clip) / np.where(size > 0, size, 1.0)
    rest = np.concatenate([bare.scores, scores[len(bare.scores) :]])
    metric = "map_official" if card.multi_label else "mar"
    value = metrics_dict(bare, card, "", rest, labels)[metric]
    name = card.clip_features.network
    return {"network": name, "logit_share": _mean(share), "relations_only": {metric: value}}


def _recalls(scores: np.ndarray, labels: np.ndarray, card: ModelCard) -> dict[str, Any]:
    """Return the recall of each class and its mean; nothing for a multi-label network."""
    if card.multi_label:
        return {}
    tree = recall_of_scores(scores, labels).to_dict()
    rows = zip(card.classes, tree["recall"], strict=True)
    return tree | {"recall": [{"class_id": i, "name": name} | row for (i, name), row in rows]}


def _maps(
    scores: np.ndarray, labels: np.ndarray, card: ModelCard
) -> tuple[MeanAveragePrecision, MeanAveragePrecision]:
    """Return the official mAP and the mAP with grouped ties.

    Videos without any label do not count. For a subset of the classes, they are left out in advance
    (`with_known_labels`), and a video with labels of other classes only is a negative.
    """
    is_subset = card.columns is not None
    return (
        charades_map(scores, labels, rank_unlabelled_last=not is_subset),
        tie_grouped_map(scores, labels, all_rows=is_subset),
    )


def write_tables(
    out: Path,
    found: Scores,
    ranked: tuple[np.ndarray, np.ndarray],
    card: ModelCard,
    order: dict[str, Any],
) -> None:
    """Write `per_class_ap.csv`, `scores.npz` and `charades_scores.txt`.

    For a single-label network, also write `per_class_recall.csv`.

    Args:
        out: output folder.
        found: scores of the evaluated clips.
        ranked: scores and labels that are ranked, see `metrics_dict`.
        card: card of the network.
        order: further arrays of `scores.npz`.
    """
    official, grouped = _maps(*ranked, card)
    table = pd.DataFrame(card.classes, columns=["class_id", "name"]).assign(
        positives=official.num_positives, ap=official.ap, ap_tie_grouped=grouped.ap
    )
    _write_table(out / "per_class_ap.csv", table)
    if recalls := _recalls(*ranked, card):
        _write_table(out / RECALLS, pd.DataFrame(recalls["recall"]))
    buffer = io.BytesIO()
    ids = np.array(found.video_ids, dtype=np.str_)
    np.savez(buffer, scores=found.scores, labels=found.labels, ids=ids, **order)
    write_atomically(out / "scores.npz", buffer.getvalue())
    lines = map(submission_line, found.video_ids, found.scores)
    write_atomically(out / SUBMISSION, "".join(lines).encode())


def _write_table(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, table.to_csv(index=False, na_rep="", float_format="%.6f").encode())


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
