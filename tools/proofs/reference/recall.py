"""Comparison of scene-graph recall with STTran's evaluator, frame by frame."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from relations.recall import CONSTRAINTS, K, SceneGraph, frame_recall

Arrays = Mapping[str, np.ndarray]
Result = tuple[float, float, str]
MODES = ("predcls", "sgcls", "sgdet")


def check_recall(arrays: dict[str, np.ndarray], _states: dict[str, Any]) -> dict[str, Result]:
    """Compare the recall in three modes, under three constraints and for four values of K."""
    truth = [_truth(arrays, t) for t in range(len(arrays["gt_person_box"]))]
    out = {}
    for mode in MODES:
        predicted = [_predicted(arrays, mode, t) for t in range(len(truth))]
        for constraint in CONSTRAINTS:
            found = [frame_recall(a, b, constraint) for a, b in zip(truth, predicted, strict=True)]
            ours = np.array([[frame.recall(k) for k in K] for frame in found])
            wanted = arrays[f"{mode}/{constraint}/recall_per_frame"]
            error = np.abs(ours - wanted)
            mean = np.abs(ours.mean(0) - arrays[f"{mode}/{constraint}/recall"]).max()
            where = f"frame {int(error.max(1).argmax())}"
            out[f"{mode}/{constraint}"] = (float(max(error.max(), mean)), 1e-9, where)
    return out


def _truth(arrays: Arrays, t: int) -> SceneGraph:
    mine = arrays["gt_object_frame"] == t
    attention = np.eye(3, dtype=np.float64)[arrays["gt_attention"][mine]]
    boxes = np.concatenate([arrays["gt_person_box"][t : t + 1], arrays["gt_object_box"][mine]])
    count = int(mine.sum())
    return SceneGraph(
        boxes,
        np.concatenate([[1], arrays["gt_object_class"][mine]]),
        np.ones(count + 1),
        np.stack([np.zeros(count, dtype=int), 1 + np.arange(count)], 1),
        np.concatenate([attention, arrays["gt_spatial"][mine], arrays["gt_contacting"][mine]], 1),
        (3, 6, 17),
    )


def _predicted(arrays: Arrays, mode: str, t: int) -> SceneGraph:
    a = {name: arrays[f"{mode}/{name}"] for name in ("boxes", "labels", "scores", "im_idx")}
    mine = a["im_idx"] == t
    logits = torch.from_numpy(arrays[f"{mode}/attention_logits"][mine])
    parts = [
        logits.double().softmax(1).numpy(),
        arrays[f"{mode}/spatial_prob"][mine],
        arrays[f"{mode}/contacting_prob"][mine],
    ]
    pairs = arrays[f"{mode}/pair_idx"][mine]
    predicates = np.concatenate(parts, 1).astype(np.float64)
    scores = a["scores"].astype(np.float64)
    return SceneGraph(a["boxes"][:, 1:], a["labels"], scores, pairs, predicates, (3, 6, 17))
