"""Comparison of the weight rule, the Charades mAP, GPO and the spatial masks."""

import json
from typing import Any

import numpy as np
import torch

from model.gpo import GPO, position_code
from pipeline.evaluation.metrics import MeanAveragePrecision, charades_map, tie_grouped_map
from relations.spatial_masks import spatial_masks
from tools.proofs.reference.weight_rule import make_tensor

Result = tuple[float, float, str]


def check_weight_rule(states: dict[str, Any]) -> dict[str, Result]:
    """Compare the first three values, the sum and the sum of squares of some tensors."""
    worst, where = 0.0, "none"
    for name, row in states["rule_check"].items():
        file, key = name.split(":", 1)
        value = make_tensor(states["seed"], key, states["keys"][file][key]).astype(np.float64)
        got = [*value.ravel()[:3], value.sum(), (value**2).sum()]
        wanted = [*row["first"], row["sum"], row["sum_of_squares"]]
        error = max(abs(g - w) / (1 + abs(w)) for g, w in zip(got, wanted, strict=True))
        if error > worst:
            worst, where = error, name
    return {"weight_rule": (worst, 1e-5, where)}


def check_charades_map(arrays: dict[str, np.ndarray], _states: dict[str, Any]) -> dict[str, Result]:
    """Compare every definition of mAP in the reference, with and without tied scores."""
    labels, present = arrays["labels"].astype(bool), arrays["present"].astype(bool)
    out = {}
    for kind in ("scores", "scores_ties"):
        scores = arrays[kind].astype(np.float64)
        ours = {
            f"official/{kind}": charades_map(scores, labels),
            f"official_missing/{kind}": charades_map(scores, labels, present=present),
            f"gsig/{kind}": charades_map(scores, labels),
            f"gsig_no_inf_rule/{kind}": charades_map(scores, labels, rank_unlabelled_last=False),
            f"fair/{kind}/all_rows": tie_grouped_map(scores, labels, all_rows=True),
            f"fair/{kind}/labelled_rows": tie_grouped_map(scores, labels),
        }
        for name, result in ours.items():
            out[name] = _compare_map(arrays, name, result)
    return out


def _compare_wap_vector(wanted: np.ndarray, result: MeanAveragePrecision) -> float:
    """Return the largest difference from gsig's `charades_map`, AP * n / sum(n) per class."""
    ours = result.ap * result.num_positives / result.num_positives.sum()
    return float(np.nanmax(np.abs(wanted - ours)))


def _compare_map(arrays: dict[str, np.ndarray], name: str, result: MeanAveragePrecision) -> Result:
    wanted = arrays[f"{name}/ap"]
    if not np.array_equal(np.isnan(wanted), np.isnan(result.ap)):
        return float("inf"), 1e-9, "classes without positives"
    errors = {"ap": float(np.nanmax(np.abs(wanted - result.ap)))}
    for key, value in (("map_nan_aware", result.map), ("wap_nan_safe", result.weighted)):
        if f"{name}/{key}" in arrays:
            errors[key] = abs(float(arrays[f"{name}/{key}"]) - value)
    if f"{name}/wap_vector" in arrays:
        errors["wap_vector"] = _compare_wap_vector(arrays[f"{name}/wap_vector"], result)
    where = max(errors, key=errors.__getitem__)
    return errors[where], 1e-9, where


def check_spatial_masks(
    arrays: dict[str, np.ndarray], _states: dict[str, Any]
) -> dict[str, Result]:
    """Compare the masks of fifty pairs of boxes."""
    pairs = torch.from_numpy(arrays["pairs"])
    error = np.abs(spatial_masks(pairs[:, :4], pairs[:, 4:]).numpy() - arrays["masks"])
    return {"masks": (float(error.max()), 1e-5, f"pair {int(error.max((1, 2, 3)).argmax())}")}


def check_gpo(arrays: dict[str, np.ndarray], states: dict[str, Any]) -> dict[str, Result]:
    """Compare the positional encoding and three batches of sets."""
    seed = json.loads(str(arrays["meta"][0]))["seed"]
    shapes = states["keys"]["gpo"].items()
    gpo = GPO().eval()
    gpo.load_state_dict({k: torch.from_numpy(make_tensor(seed, k, shape)) for k, shape in shapes})
    code = arrays["positional_encoding_160"]
    out = {"positional_encoding": _relative(position_code(*code.shape).numpy(), code)}
    for case in ("a", "b", "c"):
        features = torch.from_numpy(arrays[f"{case}/features"])
        with torch.no_grad():
            pooled, weights = gpo(features, torch.from_numpy(arrays[f"{case}/lengths"]).long())
        out[f"{case}/pooled"] = _relative(pooled.numpy(), arrays[f"{case}/pooled"])
        out[f"{case}/weights"] = _relative(weights.numpy(), arrays[f"{case}/weights"])
    return out


def _relative(got: np.ndarray, wanted: np.ndarray) -> Result:
    """Return the largest excess of the error over a relative error of 1e-4."""
    if got.shape != wanted.shape:
        return float("inf"), 1e-5, f"shape {wanted.shape} expected, got {got.shape}"
    excess = np.maximum(np.abs(got - wanted) - 1e-4 * np.abs(wanted), 0)
    place = np.unravel_index(int(excess.argmax()), excess.shape)
    return float(excess.max()), 1e-5, str(tuple(int(i) for i in place))
