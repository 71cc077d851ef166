"""Comparison of STTran, in its three modes, with stored numbers of a five-frame video."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from relations.boxes import union_boxes
from relations.pair_batch import PairBatch
from relations.scene_objects import SceneObjects, classify_objects, refine_detections
from relations.settings import PredictorSettings
from relations.spatial_masks import spatial_masks
from relations.sttran import RelationLogits, STTran
from tools.proofs.reference.weight_rule import generator, make_tensor

Arrays = Mapping[str, np.ndarray]
Result = tuple[float, float, str]
#: Absolute and relative tolerance of the outputs.
_TOLERANCE = 1e-3, 1e-4


def build_reference_predictor(states: Mapping[str, Any], seed: int) -> STTran:
    """Build the predictor of the stored numbers, with STTran's rule for single frames."""
    model = STTran(PredictorSettings(single_frame="original")).eval()
    keys = states["keys"]["sttran"]
    state = {key: torch.from_numpy(make_tensor(seed, key, shape)) for key, shape in keys.items()}
    model.load_state_dict(state)
    return model


def check_names(states: Mapping[str, Any]) -> dict[str, Result]:
    """Compare the parameter names and shapes with the published checkpoint."""
    with torch.device("meta"):
        ours = {name: list(value.shape) for name, value in STTran().state_dict().items()}
    theirs = states["keys"]["sttran"]
    wrong = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
    where = wrong[0] if wrong else f"{len(theirs)} names"
    return {"sttran_names": (float(len(wrong)), 0.0, where)}


def check_predcls(arrays: dict[str, np.ndarray], states: dict[str, Any]) -> dict[str, Result]:
    """Compare the relations of annotated boxes and classes.

    The check runs on all frames, on all frames except frame 2, and on frame 0 alone.
    """
    model, video = _open(arrays, states, "predcls")
    boxes = torch.from_numpy(arrays["in/boxes"])
    frame = torch.from_numpy(arrays["in/im_idx"]).long()
    pairs = torch.from_numpy(arrays["in/pair_idx"]).long()
    masks = spatial_masks(boxes[pairs[:, 0], 1:], boxes[pairs[:, 1], 1:])
    labels = torch.from_numpy(arrays["in/labels"]).long() - 1
    out = {"masks": _compare(masks, arrays["in/spatial_masks"], (1e-5, 0.0))}
    cases = (("out", frame >= 0, 5), ("gap", frame != 2, 5), ("single", frame == 0, 1))
    for case, keep, num_frames in cases:
        per_pair = (pairs[keep], video["union_feat"][keep], masks[keep])
        counts = torch.bincount(frame[keep], minlength=num_frames)
        batch = PairBatch(video["features"], labels, *per_pair, counts, torch.tensor([num_frames]))
        with torch.inference_mode():
            logits = model(batch)
        out |= _outputs(arrays, logits, case)
        if case == "out":
            out |= _intermediates(arrays, logits, batch)
    return out


def check_sgcls(arrays: dict[str, np.ndarray], states: dict[str, Any]) -> dict[str, Result]:
    """Compare the relations of annotated boxes with the classes of the object classifier."""
    model, video = _open(arrays, states, "sgcls")
    frame, boxes, distribution = _objects(arrays)
    with torch.inference_mode():
        logits = model.object_classifier(video["features"], distribution, boxes)
        objects = classify_objects(logits, frame, 5)
        return _graph(arrays, model, video, objects)


def check_sgdet(arrays: dict[str, np.ndarray], states: dict[str, Any]) -> dict[str, Result]:
    """Compare the relations of detected boxes."""
    model, video = _open(arrays, states, "sgdet")
    frame, boxes, distribution = _objects(arrays)
    with torch.inference_mode():
        objects = refine_detections(boxes, distribution, frame, 5)
        return _graph(arrays, model, video, objects)


def _objects(arrays: Arrays) -> tuple[Tensor, Tensor, Tensor]:
    boxes = torch.from_numpy(arrays["in/boxes"])
    return boxes[:, 0].long(), boxes[:, 1:], torch.from_numpy(arrays["in/distribution"])


def _graph(
    arrays: Arrays, model: STTran, video: dict[str, Tensor], objects: SceneObjects
) -> dict[str, Result]:
    pairs = objects.pairs()
    wanted = arrays["out/pair_idx"]
    if len(objects.source) != len(arrays["out/boxes"]) or pairs.shape != wanted.shape:
        counts = f"{len(wanted)} pairs of {len(arrays['out/boxes'])} boxes expected"
        return {"counts": (float("inf"), 0.0, f"{counts}, got {len(pairs)}")}
    boxes = torch.from_numpy(arrays["in/boxes"])[objects.source, 1:]
    frame, scale = objects.frame[pairs[:, 1]], float(arrays["in/im_info"])
    union = union_boxes(boxes[pairs[:, 0]], boxes[pairs[:, 1]]) * scale
    rois = torch.cat([frame[:, None].float(), union], 1)
    pooled = roi_align(video["fmaps"], rois, (7, 7), 1 / 16, 0, aligned=False)
    masks = spatial_masks(boxes[pairs[:, 0]], boxes[pairs[:, 1]])
    features, num = video["features"][objects.source], torch.bincount(frame, minlength=5)
    batch = PairBatch(features, objects.labels, pairs, pooled, masks, num, torch.tensor([5]))
    logits = model(batch)
    return {
        "pair_idx": _exact(pairs, wanted),
        "im_idx": _exact(frame, arrays["out/im_idx"]),
        "pred_labels": _exact(objects.labels + 1, arrays["out/pred_labels"]),
        "human_idx": _exact(objects.person, arrays["out/human_idx"][:, 0]),
        "boxes": _compare(boxes, arrays["out/boxes"][:, 1:], (1e-3, 0.0)),
        "pred_scores": _compare(objects.scores, arrays["out/pred_scores"], (1e-5, 0.0)),
        "distribution": _compare(objects.distribution, arrays["out/distribution"], (1e-5, 0.0)),
        "union_box": _compare(rois, arrays["out/union_box"], (1e-3, 0.0)),
        "union_feat": _compare(pooled[:, :16, 3, 3], arrays["out/union_feat_spot"], (1e-3, 1e-4)),
        "masks": _compare(masks, arrays["out/spatial_masks"], (1e-5, 0.0)),
        **_outputs(arrays, logits, "out"),
        **_intermediates(arrays, logits, batch),
    }


def _open(arrays: Arrays, states: Mapping[str, Any], mode: str) -> tuple[STTran, dict[str, Tensor]]:
    """Return the network and its generated inputs.

    Raises:
        ValueError: if the generated inputs differ from the stored columns.
    """
    meta = json.loads(str(arrays["meta"][0]))
    inputs = {}
    for name, shape in meta["not_stored"].items():
        noise = generator(meta["seed"], f"input/{mode}/{name}").standard_normal(shape)
        value = np.maximum(noise, 0).astype(np.float32)
        spot = arrays[f"in/{name}_spot"]
        corner = value[:, : spot.shape[1]].reshape(*spot.shape, -1)[..., 0]
        if not np.allclose(corner, spot, atol=1e-6):
            raise ValueError(f"{name}: the generated input differs from the stored columns")
        inputs[name] = torch.from_numpy(value)
    return build_reference_predictor(states, meta["seed"]), inputs


def _outputs(arrays: Arrays, logits: RelationLogits, case: str) -> dict[str, Result]:
    ours = {
        name: value if name in logits.exclusive else value.sigmoid()
        for name, value in logits.groups.items()
    }
    return {
        f"{case}/{name}": _compare(value, arrays[f"{case}/{name}_distribution"], _TOLERANCE)
        for name, value in ours.items()
    }


def _intermediates(arrays: Arrays, logits: RelationLogits, batch: PairBatch) -> dict[str, Result]:
    columns, frame = arrays["mid/columns"], batch.pair_frame
    start = (batch.pairs_per_frame.cumsum(0) - batch.pairs_per_frame)[frame]
    spatial = arrays["mid/spatial_encoder"][frame, torch.arange(len(frame)) - start]
    stored = {
        "rel_features": (logits.features, arrays["mid/rel_features"]),
        "spatial_encoder": (logits.spatial_features, spatial),
        "transformer_output": (logits.temporal_features, arrays["mid/transformer_output"]),
    }
    return {
        f"mid/{name}": _compare(value[:, columns], wanted, _TOLERANCE)
        for name, (value, wanted) in stored.items()
    }


def _compare(got: Tensor, wanted: np.ndarray, tolerance: tuple[float, float]) -> Result:
    """Return the largest error, scaled so that the absolute tolerance is the limit."""
    absolute, relative = tolerance
    if tuple(got.shape) != wanted.shape:
        return float("inf"), absolute, f"shape {wanted.shape} expected, got {tuple(got.shape)}"
    error = np.abs(got.numpy() - wanted) / (absolute + relative * np.abs(wanted))
    place = np.unravel_index(int(error.argmax()), error.shape)
    return float(error.max()) * absolute, absolute, str(tuple(int(i) for i in place))


def _exact(got: Tensor, wanted: np.ndarray) -> Result:
    wrong = got.numpy() != wanted
    return float(wrong.sum()), 0.0, f"{wrong.size} numbers"
