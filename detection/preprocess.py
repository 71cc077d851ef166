"""Conversion of decoded frames to network input."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import UInt8
from torch import Tensor

from detection.presets import Pixels

#: Minimum side of the network input. For a smaller input, the coarsest map would be empty.
MIN_SIDE = 32


@dataclass(frozen=True)
class NetworkInput:
    """Network input of T frames of the same size.

    Attributes:
        images: (T, 3, h, w) float32, normalised and padded.
        scale: (x, y) network pixels per frame pixel.
        frame_size: (height, width) of the decoded frames.
        size: (height, width) of the images without padding.
    """

    images: Tensor
    scale: tuple[float, float]
    frame_size: tuple[int, int]
    size: tuple[int, int]

    @property
    def padded_size(self) -> tuple[int, int]:
        """(height, width) of the images with padding."""
        return self.images.shape[2], self.images.shape[3]


def preprocess(frames: UInt8[Tensor, "T C H W"], pixels: Pixels) -> NetworkInput:
    """Normalise, scale and pad frames according to the conventions of a checkpoint family.

    Args:
        frames: (T, C, H, W) uint8 RGB. Grey frames (C = 1) are repeated to three channels. An alpha
            channel (C = 4) is dropped.
        pixels: conventions of the family.

    Raises:
        ValueError: if C is not 1, 3 or 4, or H or W is 0.
    """
    frames = as_rgb(frames)
    height, width = frames.shape[-2:]
    if pixels.order == "bgr":
        frames = frames.flip(1)
    scale = pixels.short_side / min(height, width)
    scale = min(scale, pixels.long_side / max(height, width))
    if pixels.resize == "pil":
        size = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
        images = _normalise(_resize_uint8(frames, size), pixels)
    elif pixels.resize == "torchvision":
        size = max(math.floor(height * scale), 1), max(math.floor(width * scale), 1)
        images = F.interpolate(_normalise(frames, pixels), size=size, mode="bilinear")
    else:
        images = _normalise(frames, pixels)
        images = _resize_axis(_resize_axis(images, scale, 2), scale, 3)
        size = images.shape[2], images.shape[3]
    is_exact = pixels.resize == "cv2"
    scales = (scale, scale) if is_exact else (size[1] / width, size[0] / height)
    return NetworkInput(_pad(images, pixels.divisor), scales, (height, width), size)


def as_rgb(frames: UInt8[Tensor, "T C H W"]) -> UInt8[Tensor, "T 3 H W"]:
    """Repeat grey frames to three channels and drop an alpha channel.

    Raises:
        ValueError: if C is not 1, 3 or 4, or H or W is 0.
    """
    channels = frames.shape[1]
    if channels not in (1, 3, 4) or 0 in frames.shape[2:]:
        raise ValueError(
            "frames: (T, C, H, W) with C = 3 (RGB), 1 (grey) or 4 (RGB and alpha) and H, W > 0 "
            f"expected, got {tuple(frames.shape)}"
        )
    return frames.expand(-1, 3, -1, -1) if channels == 1 else frames[:, :3]


def _normalise(frames: Tensor, pixels: Pixels) -> Tensor:
    images = frames.float()
    images = images - images.new_tensor(pixels.mean).view(1, 3, 1, 1)
    if pixels.std == (1, 1, 1):
        return images
    return images / images.new_tensor(pixels.std).view(1, 3, 1, 1)


def _resize_uint8(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 frames with bilinear interpolation and antialiasing, as Pillow does.

    On a GPU, the frames are resized in float32 and rounded.
    """
    if tuple(frames.shape[2:]) == size:
        return frames
    if frames.device.type == "cpu":
        return F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    resized = F.interpolate(frames.float(), size=size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255)


def _pad(images: Tensor, divisor: int) -> Tensor:
    height, width = (
        max(math.ceil(side / divisor) * divisor, MIN_SIDE) for side in images.shape[2:]
    )
    return F.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))


def _resize_axis(images: Tensor, scale: float, axis: int) -> Tensor:
    """Resize one axis bilinearly without antialiasing, as cv2.resize does with a factor.

    cv2 maps pixel centres with the factor, source = (x + 1/2) / scale - 1/2. It does not use the
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
