"""A detector that trades exactness for speed: folded norms, channels last, bfloat16, compiled.

Boxes are still pooled, decoded and suppressed in float32. What it costs in accuracy is printed by
`python -m tools.benchmark detector`.
"""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detection.detector import Detector


def make_fast(
    detector: Detector, *, dtype: torch.dtype = torch.bfloat16, compile_trunk: bool = False
) -> Detector:
    """Change a detector of ours in place for inference.

    Args:
        detector: in eval mode, with its weights, on its device.
        dtype: of convolutions and box heads; float32 changes numbers by about 1e-6 alone, bfloat16
            is for devices that compute in it.
        compile_trunk: also run the trunk through torch.compile; it pays where many frames of few
            sizes follow, since every new size costs tens of seconds.

    Returns:
        The same detector.
    """
    for module in list(detector.modules()):
        fold_norms(module)
    for part in (detector.trunk, detector.rpn, detector.roi_head.body):
        part.to(dtype).to(memory_format=torch.channels_last)
    if compile_trunk:
        detector.trunk.compile()
    return detector


def fold_norms(module: nn.Module) -> None:
    """Fold each batch normalisation of a block into the convolution before it."""
    children = dict(module.named_children())
    pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)] + [("0", "1")]
    for first, second in pairs:
        conv, norm = children.get(first), children.get(second)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(conv, norm))
            setattr(module, second, nn.Identity())
