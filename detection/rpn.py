"""Region proposal network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import batched_nms

from detection.anchors import grid_anchors
from detection.box_coder import clip_boxes, decode_boxes, is_at_least, with_offset
from detection.presets import Preset, count_anchors


@dataclass(frozen=True)
class AnchorScores:
    """Scores and box deltas of every anchor, by level.

    Attributes:
        logits: (T, M) objectness logits of each level.
        deltas: (T, M, 4) box deltas of each level.
        anchors: (M, 4) anchors of each level, xyxy in network pixels.
    """

    logits: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]


class RegionProposalNetwork(nn.Module):
    """Region proposal network with one head for all levels.

    The proposals are class-agnostic. If a family has two outputs per anchor, background b and
    object f, this network has the output f - b. This difference ranks anchors in the same order
    as the softmax probability.

    Args:
        channels: number of channels of the feature maps.
        preset: conventions of anchors and proposals.
    """

    def __init__(self, channels: int, *, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        hidden, num_anchors = round(channels * preset.rpn_hidden), count_anchors(preset)[0]
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.cls_score = nn.Conv2d(hidden, num_anchors, 1)
        self.bbox_pred = nn.Conv2d(hidden, 4 * num_anchors, 1)

    def score(self, maps: Sequence[Tensor], padded_size: tuple[int, int]) -> AnchorScores:
        """Compute the logits and deltas of every anchor. See `forward` for the arguments."""
        logits, deltas = [], []
        for level in maps:
            hidden = self.conv(level.to(self.conv.weight.dtype)).relu()
            logits.append(self.cls_score(hidden).permute(0, 2, 3, 1).flatten(1).float())
            moves = self.bbox_pred(hidden).permute(0, 2, 3, 1)
            deltas.append(moves.reshape(len(moves), -1, 4).float())
        sizes = [(level.shape[2], level.shape[3]) for level in maps]
        anchors = grid_anchors(self.preset.anchors, sizes, padded_size)
        return AnchorScores(logits, deltas, [a.to(maps[0].device) for a in anchors])

    def forward(
        self, maps: Sequence[Tensor], padded_size: tuple[int, int], sizes: Sequence[tuple[int, int]]
    ) -> list[Float[Tensor, "_ 4"]]:
        """Compute the proposals of every frame.

        Args:
            maps: (T, Cu, h, w) feature map of each level.
            padded_size: (height, width) of the network input with padding.
            sizes: (height, width) of each image without padding.

        Returns:
            At most `preset.proposals.post_nms` boxes of each frame, xyxy in network pixels, sorted
            by descending score.
        """
        return self.propose(self.score(maps, padded_size), sizes)

    def propose(
        self,
        scored: AnchorScores,
        sizes: Sequence[tuple[int, int]],
        *,
        pre_nms: int | None = None,
        post_nms: int | None = None,
    ) -> list[Float[Tensor, "_ 4"]]:
        """Select the proposals of every frame from scored anchors.

        Args:
            scored: scores of the anchors, see `score`.
            sizes: (height, width) of each image without padding.
            pre_nms: see `Proposals`. If None, the value of the preset is used.
            post_nms: see `Proposals`. If None, the value of the preset is used.

        Returns:
            Proposals of each frame, see `forward`.
        """
        rules = self.preset.proposals
        pre_nms = rules.pre_nms if pre_nms is None else pre_nms
        post_nms = rules.post_nms if post_nms is None else post_nms
        return [self._select(scored, t, size, pre_nms)[:post_nms] for t, size in enumerate(sizes)]

    def _select(self, scored: AnchorScores, t: int, size: tuple[int, int], pre_nms: int) -> Tensor:
        rules, offset = self.preset.proposals, self.preset.pixel_offset
        boxes, scores, levels = [], [], []
        for level, (logits, deltas) in enumerate(zip(scored.logits, scored.deltas, strict=True)):
            order = logits[t].argsort(descending=True, stable=True)[:pre_nms]
            anchors = scored.anchors[level][order]
            boxes.append(decode_boxes(anchors, deltas[t, order], offset, self.preset.max_delta))
            scores.append(logits[t, order])
            levels.append(torch.full_like(order, level))
        box = clip_boxes(torch.cat(boxes), size[1], size[0], offset)
        score, of_level = torch.cat(scores), torch.cat(levels)
        if rules.min_size is not None:
            good = is_at_least(box, rules.min_size)
            box, score, of_level = box[good], score[good], of_level[good]
        kept = batched_nms(with_offset(box, offset), score, of_level, rules.iou)
        return box[kept]
