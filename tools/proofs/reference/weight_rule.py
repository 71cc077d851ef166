"""Weights generated from a seed, a name and a shape (tests/reference/README.md, section 1)."""

import math
import zlib
from collections.abc import Sequence

import numpy as np

_GAINS = {
    "RCNN_base.0.weight": 1 / 80,
    "RCNN_rpn.RPN_cls_score.weight": 0.5,
    "RCNN_rpn.RPN_bbox_pred.weight": 0.1,
    "RCNN_cls_score.weight": 1.8,
}
_CENTRED = (*list(_GAINS)[1:], "RCNN_bbox_pred.weight")


def generator(seed: int, key: str) -> np.random.RandomState:
    """Return the random generator of one tensor or input."""
    return np.random.RandomState((seed ^ zlib.crc32(key.encode())) & 0xFFFFFFFF)


def make_tensor(seed: int, key: str, shape: Sequence[int]) -> np.ndarray:
    """Generate a parameter or buffer of a reference network.

    Args:
        seed: seed of the reference file.
        key: name of the tensor in the state dict.
        shape: shape of the tensor.

    Returns:
        float32 array of this shape, or int64 zeros for `num_batches_tracked`.
    """
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(tuple(shape), dtype=np.int64)
    r = generator(seed, key)
    if leaf == "running_mean":
        noise = r.standard_normal(shape)
        value = 150 + 30 * noise if key.endswith("pos_embed.0.running_mean") else 0.1 * noise
    elif leaf == "running_var":
        value = 0.8 + 0.4 * r.random_sample(shape)
        value = value * (6400 if key.endswith("pos_embed.0.running_var") else 1)
    elif key.endswith("position_embedding.weight"):
        value = r.random_sample(shape)
    elif key.endswith(("obj_embed.weight", "obj_embed2.weight")):
        value = 0.1 * r.standard_normal(shape)
    elif "bias" in leaf:
        value = 0.05 * r.standard_normal(shape)
    elif len(shape) == 1:
        value = (0.8 + 0.4 * r.random_sample(shape)) * (0.25 if key.endswith("bn3.weight") else 1)
    else:
        value = (
            _GAINS.get(key, 1.0) * math.sqrt(2 / math.prod(shape[1:])) * r.standard_normal(shape)
        )
        if key in _CENTRED:
            value = value - value.mean(tuple(range(1, len(shape))), keepdims=True)
    return np.asarray(value, dtype=np.float32)
