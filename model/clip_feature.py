"""Readout of a clip feature, the vector of a whole video from a video network."""

from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from model.tokens import ActionOutput


class ClipReadout(nn.Module):
    """Linear readout of clip features, a late join with the video branch.

        logits = logits of the relations + W LN(f)

    f is the clip feature of a video. The term is separate from the readout of the relations, so the
    part of a logit that no relation explains is known. W starts at zero. With reading, the logits
    of the relations have no gradient, so L_v alone trains W, and L_v trains W alone.

    Args:
        width: width of the clip features.
        num_classes: number of action classes, C.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        # Zeros leave the random weights of all other layers unchanged.
        self.weight = nn.Parameter(torch.zeros(num_classes, width))

    def forward(self, features: Float[Tensor, "B W"]) -> Float[Tensor, "B C"]:
        """Compute the terms of the logits of B videos."""
        return F.linear(F.layer_norm(features, features.shape[1:]), self.weight)

    def join(self, output: ActionOutput, features: Tensor | None) -> ActionOutput:
        """Add the terms to the logits of the video branch.

        Args:
            output: output of the video branch for B videos.
            features: (B, W) floating-point clip features.

        Returns:
            The output, whose `clip_logits` are the terms.

        Raises:
            ValueError: if there are no features, or they have another width.
        """
        width = self.weight.shape[1]
        if features is None or features.shape[1] != width:
            found = "none" if features is None else tuple(features.shape)
            raise ValueError(f"clip_features: (B, {width}) expected, got {found}")
        terms = self(features)
        return replace(output, logits=output.logits + terms, clip_logits=terms)
