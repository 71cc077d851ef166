"""Comparison of STTran's Faster R-CNN with stored numbers of six frames, stage by stage."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from detection.build import build_detector
from detection.detector import Detector
from detection.layouts import from_jwyang
from detection.preprocess import preprocess
from pipeline.weights.loading import load_state
from relations.boxes import union_boxes
from relations.spatial_masks import spatial_masks

Arrays = Mapping[str, np.ndarray]
Result = tuple[float, float, str]


def build_reference_detector(
    arrays: Arrays,
    shapes: Mapping[str, Sequence[int]],
    make: Callable[[str, Sequence[int]], np.ndarray],
) -> Detector:
    """Build the detector with the weights of the stored numbers.

    Args:
        arrays: contents of `detector_jwyang.npz`. Its four biases replace the generated biases.
        shapes: shape of each parameter by name.
        make: function that generates a parameter from its name and shape.
    """
    state = {key: torch.from_numpy(make(key, shape)) for key, shape in shapes.items()}
    for name in arrays:
        if name.startswith("override/"):
            state[name.removeprefix("override/")] = torch.from_numpy(arrays[name])
    num_classes = len(state["RCNN_cls_score.bias"]) - 1
    detector = build_detector(num_classes=num_classes, max_boxes=10_000)
    load_state(detector, from_jwyang(state))
    return detector


def check(arrays: Arrays, detector: Detector, num_frames: int | None = None) -> dict[str, Result]:
    """Compare every stage with the stored numbers.

    Args:
        arrays: contents of `detector_jwyang.npz`.
        detector: result of `build_reference_detector`.
        num_frames: number of frames to compare. Default: all frames. A frame takes several seconds.

    Returns:
        For each check, the largest error, its tolerance, and its frame and row.
    """
    frames = torch.from_numpy(arrays["frames"]).permute(0, 3, 1, 2)[:num_frames]
    out: dict[str, list[Result]] = {}
    with torch.inference_mode():
        for t in range(len(frames)):
            for name, result in _check_frame(arrays, detector, frames[t : t + 1], t).items():
                out.setdefault(name, []).append(result)
    return {name: max(rows, key=lambda row: row[0] / row[1]) for name, rows in out.items()}


def _check_frame(arrays: Arrays, detector: Detector, frame: Tensor, t: int) -> dict[str, Result]:
    blob = preprocess(frame, detector.preset.pixels).images
    maps = detector.feature_maps(frame)
    out = {
        "blob": _spots(arrays, "blob", blob, t, (2e-3, 0.0), t),
        "base_feat": _spots(arrays, "base_feat", maps.levels[0], t, (1e-3, 1e-4), t),
    }
    rois = torch.from_numpy(arrays["rois"][t])[:, 1:]
    proposals = detector.rpn(maps.levels, maps.padded_size, [maps.size])[0]
    same = proposals.shape == rois.shape
    out["rois"] = _compare(proposals, rois, 0.05, t) if same else _count(proposals, rois, t)
    head = detector.roi_head
    features = head.features(head.pool(maps.levels, [rois]))
    columns = arrays["pooled_feat/columns"]
    stored = torch.from_numpy(arrays["pooled_feat/value"][t])
    out["pooled_feat"] = _compare(features[:, columns], stored, 2e-3, t)
    wanted = torch.from_numpy(arrays["cls_prob"][t])
    log = head.cls_score(features).log_softmax(1)
    out["cls_prob"] = _compare(log.exp(), wanted, 5e-4, t)
    out["log_cls_prob"] = _compare(log, wanted.log(), 2e-3, t)
    deltas = torch.from_numpy(arrays["bbox_pred"][t])
    out["bbox_pred"] = _compare(head.bbox_pred(features), deltas, 2e-3, t)
    found = _check_detections(arrays, detector, frame, t)
    return out | found | _check_given(arrays, detector, frame, t)


def _check_detections(
    arrays: Arrays, detector: Detector, frame: Tensor, t: int
) -> dict[str, Result]:
    got = detector.detect(frame)[0][0]
    stored = {
        name: torch.from_numpy(arrays[f"sgdet_clipped/{name}"])
        for name in ("boxes", "det_labels", "det_scores", "distribution")
    }
    mine = stored["boxes"][:, 0] == t
    if len(got) != int(mine.sum()):
        return {"sgdet_clipped": (abs(len(got) - int(mine.sum())), 0.5, f"frame {t}: count")}
    labels = (got.labels + 1 != stored["det_labels"][mine]).float()
    return {
        "sgdet_clipped": _compare(got.boxes, stored["boxes"][mine, 1:], 0.05, t),
        "sgdet_labels": (float(labels.sum()), 0.5, f"frame {t}"),
        "sgdet_scores": _compare(got.scores, stored["det_scores"][mine], 5e-4, t),
        "sgdet_distribution": _compare(got.distribution, stored["distribution"][mine], 5e-4, t),
    }


def _check_given(arrays: Arrays, detector: Detector, frame: Tensor, t: int) -> dict[str, Result]:
    stored = torch.from_numpy(arrays["predcls/boxes"])
    mine = stored[:, 0] == t
    boxes = stored[mine, 1:].float()
    labels = torch.from_numpy(arrays["predcls/labels"])[mine].long() - 1
    found, maps = detector.describe(frame, [boxes], [labels])
    pairs = torch.from_numpy(arrays["predcls/pair_idx"]).long()
    rows = mine.nonzero()[:, 0]
    of_frame = torch.isin(pairs[:, 0], rows)
    local = pairs[of_frame] - rows[0]
    unions = union_boxes(boxes[local[:, 0]], boxes[local[:, 1]])
    wanted_unions = torch.from_numpy(arrays["predcls/union_boxes"])[of_frame, 1:]
    pooled = detector.pool_union(maps, [unions])[0]
    masks = spatial_masks(boxes[local[:, 0]], boxes[local[:, 1]])
    features = torch.from_numpy(arrays["predcls/features"])[mine]
    stored_masks = torch.from_numpy(arrays["predcls/spatial_masks"])[of_frame]
    spots = (pooled, t, (1e-3, 1e-4), int(of_frame.nonzero()[0]))
    return {
        "predcls_features": _compare(found[0].features, features, 2e-3, t),
        "predcls_union_boxes": _compare(maps.to_network(unions), wanted_unions, 0.05, t),
        "predcls_union_feat": _spots(arrays, "predcls/union_feat", *spots),
        "predcls_spatial_masks": _compare(masks, stored_masks, 1e-5, t),
    }


def _spots(
    arrays: Arrays, name: str, value: Tensor, t: int, tolerance: tuple[float, float], first: int
) -> Result:
    """Compare values at stored flat indices. `value[0]` is row `first` of the stored array."""
    index, wanted = arrays[f"{name}/index"], arrays[f"{name}/value"]
    start = value[0].numel() * first
    mine = (index >= start) & (index < start + value.numel())
    got = value.flatten().numpy()[index[mine] - start]
    allowed = tolerance[0] + tolerance[1] * np.abs(wanted[mine])
    error = np.abs(got - wanted[mine]) / allowed
    worst = float(error.max()) if len(error) else 0.0
    return worst * tolerance[0], tolerance[0], f"frame {t}, {int(mine.sum())} values"


def _compare(got: Tensor, wanted: Tensor, tolerance: float, t: int) -> Result:
    error = (got - wanted).abs()
    if not error.numel():
        return 0.0, tolerance, f"frame {t}: empty"
    row = int(error.flatten(1).amax(1).argmax()) if error.ndim > 1 else int(error.argmax())
    return float(error.max()), tolerance, f"frame {t}, row {row}"


def _count(got: Tensor, wanted: Tensor, t: int) -> Result:
    return float("inf"), 0.05, f"frame {t}: {len(wanted)} rows expected, got {len(got)}"
