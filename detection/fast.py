"""Faster inference: folded norms, channels-last memory format, bfloat16 and torch.compile.

Boxes are pooled, decoded and suppressed in float32. `python -m tools.benchmark detector` prints the
effect on accuracy.
"""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detection.detector import Detector


def make_fast(
    detector: Detector, *, dtype: torch.dtype = torch.bfloat16, compile_trunk: bool = False
) -> Detector:
    """Optimise a detector for inference, in place.

    Args:
        detector: detector built by `build_detector`, in eval mode, with its weights loaded, on its
            device.
        dtype: dtype of the convolutions and of the box head's body. float32 changes results by
            about 1e-6. Use bfloat16 on devices that compute in it.
        compile_trunk: also compile the trunk with `torch.compile`. Each new frame size takes tens
            of seconds to compile, so this is useful for many frames of few sizes.

    Returns:
        The given detector.
    """
    for module in list(detector.modules()):
        fold_norms(module)
    for part in (detector.trunk, detector.rpn, detector.roi_head.body):
        part.to(dtype).to(memory_format=torch.channels_last)
    if compile_trunk:
        detector.trunk.compile()
    return detector


def fold_norms(module: nn.Module) -> None:
    """Fold each batch normalisation of a block into the preceding convolution, in place."""
    children = dict(module.named_children())
    pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)] + [("0", "1")]
    for first, second in pairs:
        conv, norm = children.get(first), children.get(second)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(conv, norm))
            setattr(module, second, nn.Identity())
