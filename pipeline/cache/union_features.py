"""How much of the union features a cache stores: `union=full|conv256|none`.

`conv256` is a frozen 1x1 convolution Cu -> 256 without bias: 256 rows of a Hadamard matrix whose
columns have random signs (a subsampled randomised Hadamard transform; Ailon and Chazelle 2009,
Tropp 2011). Its rows are orthonormal where Cu is a power of two, its entries are +-2^(-k/2), and
signs and rows follow from SHA-256, so that every machine has the same.
"""

import hashlib
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import CacheInfo
from pipeline.errors import UsageError

CHANNELS = 256
_NAME = "laiar.union/1"


def reduce_union(clip: CachedClip, kind: str) -> CachedClip:
    """What is stored of a clip.

    Args:
        clip: with union features (P, Cu, 7, 7).
        kind: `full`, `conv256` or `none`.

    Returns:
        The clip with (P, Cu, 7, 7), (P, 256, 7, 7) or (P, 0, 7, 7).
    """
    features = clip.union_features
    if kind == "full":
        return clip
    if kind == "none":
        return replace(clip, union_features=features[:, :0])
    weight = frozen_projection(features.shape[1]).to(features.device)
    reduced = torch.einsum("oc,pcij->poij", weight, features.float())
    return replace(clip, union_features=reduced)


def stored_channels(kind: str, channels: int) -> int:
    """Channels of a stored union feature, of `channels` that the detector gives."""
    return {"full": channels, "conv256": CHANNELS, "none": 0}[kind]


@cache
def frozen_projection(channels: int) -> Tensor:
    """Weights of the frozen convolution, (256, `channels`) float32; ValueError below 256."""
    if channels < CHANNELS:
        raise ValueError(f"at least {CHANNELS} union channels expected, got {channels}")
    size = 1 << (channels - 1).bit_length()
    hadamard = torch.ones(1, 1)
    while len(hadamard) < size:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    signs = torch.tensor([1.0 if _digest(f"sign {c}")[0] & 1 else -1.0 for c in range(channels)])
    rows = sorted(range(size), key=lambda row: _digest(f"row {row}"))[:CHANNELS]
    return hadamard[rows, :channels] * signs / size**0.5


def check_union(kind: str, widths: tuple[int, int] | None) -> None:
    """UsageError if a detector of these widths (F, Cu), where known, cannot be stored that way."""
    if kind == "conv256" and widths is not None and widths[1] < CHANNELS:
        raise UsageError(
            f"union=conv256: a detector of at least {CHANNELS} union channels expected, this one "
            f"has {widths[1]}; use union=full"
        )


def check_full_union(info: CacheInfo, what: str) -> None:
    """UsageError, which names `what` reads them, unless a cache holds all union channels."""
    kind = info.settings.union
    if kind != "full":
        raise UsageError(
            f"{what}: a cache made with union=full expected, this one was made with union={kind}; "
            "predictors read all channels: run pipeline.extract with relations=predicted, which "
            "predicts before it stores"
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(f"{_NAME} {text}".encode()).digest()
