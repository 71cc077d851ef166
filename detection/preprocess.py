"""From decoded frames to the network's input."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detection.presets import Preset


def preprocess(
    frames: UInt8[Tensor, "T 3 H W"], preset: Preset, short_side: int
) -> tuple[Float[Tensor, "T 3 h w"], float]:
    """Subtract the mean, then scale so that the short side has `short_side` pixels.

    Args:
        frames: RGB.
        preset: channel order and mean.
        short_side: pixels; the long side has no limit.

    Returns:
        Network input, and the scale (network pixels per frame pixel).
    """
    images = frames.float()
    if preset.channel_order == "bgr":
        images = images.flip(1)
    images = images - images.new_tensor(preset.pixel_mean).view(1, 3, 1, 1)
    scale = short_side / min(frames.shape[-2:])
    return _resize_axis(_resize_axis(images, scale, 2), scale, 3), scale


def _resize_axis(images: Tensor, scale: float, axis: int) -> Tensor:
    """Bilinear without antialiasing along one axis, as cv2.resize with a factor.

    cv2 maps pixel centres with the factor itself, source = (x + 1/2) / scale - 1/2, not with the
    ratio of the rounded sizes.
    """
    size = images.shape[axis]
    out = max(round(size * scale), 1)
    source = (torch.arange(out, dtype=torch.float64) + 0.5) / scale - 0.5
    source = source.clamp(0, size - 1)
    low = source.floor().long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    share = (source - low).float().to(images.device)
    share = share.view([-1 if d == axis else 1 for d in range(4)])
    low, high = low.to(images.device), high.to(images.device)
    first, second = images.index_select(axis, low), images.index_select(axis, high)
    return first + (second - first) * share
