"""Reduction of the union features before they are stored (`union=full|conv256|none`).

`conv256` is a frozen 1x1 convolution Cu -> 256 without bias. Its weights are 256 rows of a Hadamard
matrix whose columns have random signs (a subsampled randomised Hadamard transform; Ailon and
Chazelle 2009, Tropp 2011). The rows are orthonormal if Cu is a power of two. The entries are
+-2^(-k/2), where 2^k is the smallest power of two that is at least Cu. Signs and rows are chosen by
SHA-256, so that every machine computes the same weights.
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
    """Reduce the union features of a clip to the stored part.

    Args:
        clip: clip with union features (P, Cu, 7, 7).
        kind: `full`, `conv256` or `none`.

    Returns:
        The clip with union features (P, Cu, 7, 7), (P, 256, 7, 7) or (P, 0, 7, 7).
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
    """Return the number of stored union channels.

    Args:
        kind: `full`, `conv256` or `none`.
        channels: number of union channels Cu of the detector.
    """
    return {"full": channels, "conv256": CHANNELS, "none": 0}[kind]


@cache
def frozen_projection(channels: int) -> Tensor:
    """Return the weights of the frozen convolution, (256, `channels`) float32.

    Raises:
        ValueError: if `channels` is below 256.
    """
    if channels < CHANNELS:
        raise ValueError(f"at least {CHANNELS} union channels expected, got {channels}")
    size = 1 << (channels - 1).bit_length()
    hadamard = torch.ones(1, 1)
    while len(hadamard) < size:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    signs = torch.tensor([1.0 if _digest(f"sign {c}")[0] & 1 else -1.0 for c in range(channels)])
    rows = sorted(range(size), key=lambda row: _digest(f"row {row}"))[:CHANNELS]
    matrix: Tensor = hadamard[rows, :channels] * signs / size**0.5
    return matrix


def check_union(kind: str, widths: tuple[int, int] | None) -> None:
    """Check that the union features of a detector can be reduced.

    Args:
        kind: `full`, `conv256` or `none`.
        widths: feature widths (F, Cu) of the detector. If None, they are unknown and not checked.

    Raises:
        UsageError: if `conv256` is requested and Cu is below 256.
    """
    if kind == "conv256" and widths is not None and widths[1] < CHANNELS:
        raise UsageError(
            f"union=conv256: a detector with at least {CHANNELS} union channels expected, got "
            f"{widths[1]}. Use union=full"
        )


def check_full_union(info: CacheInfo, what: str) -> None:
    """Check that a cache contains all union channels, which relation predictors require.

    Args:
        info: description of the cache.
        what: option or setting that requires the channels, used in the error message.

    Raises:
        UsageError: if the cache was created with a setting other than `union=full`.
    """
    kind = info.settings.union
    if kind != "full":
        raise UsageError(
            f"{what}: a cache with union=full expected, got union={kind}. Relation predictors "
            "require all union channels. Run pipeline.extract with relations=predicted, which "
            "predicts relations before the union features are reduced"
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(f"{_NAME} {text}".encode()).digest()
