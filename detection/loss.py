"""Training losses of Faster R-CNN (Ren et al. 2015, Eq. 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from detection.box_coder import encode_boxes
from detection.detector import Detector
from detection.matching import NEGATIVE, match_boxes, sample_balanced
from detection.rpn import AnchorScores


@dataclass(frozen=True)
class LossSettings:
    """Settings of the losses and of the sampling of anchors and proposals.

    The default values are taken from detectron2.

    Attributes:
        rpn_high: minimum IoU of anchors that are labelled as objects.
        rpn_low: IoU below which anchors are labelled as background.
        rpn_batch: number of sampled anchors per image.
        rpn_positive: maximum fraction of objects among the sampled anchors.
        pre_nms: maximum number of anchors per level before NMS. The anchors with the highest scores
            are kept.
        post_nms: maximum number of proposals per image after NMS.
        roi_high: minimum IoU of proposals that are labelled as objects. All other proposals are
            labelled as background.
        roi_batch: number of sampled proposals per image.
        roi_positive: maximum fraction of objects among the sampled proposals.
        beta: error at which smooth L1 changes from quadratic to linear.
    """

    rpn_high: float = 0.7
    rpn_low: float = 0.3
    rpn_batch: int = 256
    rpn_positive: float = 0.5
    pre_nms: int = 2000
    post_nms: int = 1000
    roi_high: float = 0.5
    roi_batch: int = 512
    roi_positive: float = 0.25
    beta: float = 1 / 9


def check_loss(settings: LossSettings) -> None:
    """Check that all loss settings are in range.

    The dataclass does not check them itself, because config files set its fields one by one.

    Raises:
        ValueError: if a setting is out of range. The message contains the name of
            the first such setting.
    """
    for name in ("rpn_batch", "pre_nms", "post_nms", "roi_batch"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}: at least 1 expected, got {getattr(settings, name)}")
    for name in ("rpn_high", "rpn_low", "rpn_positive", "roi_high", "roi_positive"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name}: 0 to 1 expected, got {getattr(settings, name)}")
    if settings.rpn_low > settings.rpn_high:
        raise ValueError(f"rpn_low: at most rpn_high expected, got {settings.rpn_low}")
    if not 0 <= settings.beta <= 1e6:
        raise ValueError(f"beta: 0 to 1e6 expected, got {settings.beta}")


@dataclass(frozen=True)
class Targets:
    """Annotated boxes of one image.

    Attributes:
        boxes: (M, 4) float32, xyxy in *network* pixels.
        labels: (M,) int64 object classes. Class 0 is the person. There is no background class.
    """

    boxes: Tensor
    labels: Tensor


class DetectionLoss(nn.Module):
    """The four training losses of a detector.

    Args:
        detector: detector to train. The optimiser changes it in place.
        settings: settings of the losses. If None, `LossSettings()` is used.
    """

    def __init__(self, detector: Detector, settings: LossSettings | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.settings = settings or LossSettings()

    def forward(
        self,
        images: Tensor,
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Targets],
        generators: Sequence[torch.Generator | None] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            images: (B, 3, h, w) float32 network input, padded to one size.
            sizes: (height, width) of each image without padding.
            targets: annotated boxes of each image.
            generators: generator of each image on the CPU, which samples its anchors and proposals.
                If None, the global generator of torch is used.

        Returns:
            A dict of the scalars `rpn_class`, `rpn_box`, `roi_class` and `roi_box`. Training
            minimises their sum. Images without boxes add exactly 0 to the two box losses.
        """
        maps = self.detector.trunk(images)
        scored = self.detector.rpn.score(maps, (images.shape[2], images.shape[3]))
        generators = generators or [None] * len(targets)
        losses = self._rpn_losses(scored, targets, generators)
        with torch.no_grad():
            proposals = self.detector.rpn.propose(
                scored, sizes, pre_nms=self.settings.pre_nms, post_nms=self.settings.post_nms
            )
        return losses | self._roi_losses(maps, proposals, targets, generators)

    def _rpn_losses(
        self,
        scored: AnchorScores,
        targets: Sequence[Targets],
        generators: Sequence[torch.Generator | None],
    ) -> dict[str, Tensor]:
        rules, offset = self.settings, self.detector.preset.pixel_offset
        anchors = torch.cat(scored.anchors)
        logits, deltas = torch.cat(scored.logits, 1), torch.cat(scored.deltas, 1)
        class_loss, box_loss = logits.new_zeros(()), logits.new_zeros(())
        for t, (target, generator) in enumerate(zip(targets, generators, strict=True)):
            match = match_boxes(
                anchors,
                target.boxes,
                low=rules.rpn_low,
                high=rules.rpn_high,
                offset=offset,
                keep_best=True,
            )
            positive, negative = sample_balanced(
                match >= 0, match == NEGATIVE, rules.rpn_batch, rules.rpn_positive, generator
            )
            rows = torch.cat([positive, negative])
            wanted = torch.zeros_like(logits[t, rows])
            wanted[: len(positive)] = 1
            class_loss = class_loss + F.binary_cross_entropy_with_logits(
                logits[t, rows], wanted, reduction="sum"
            )
            goal = encode_boxes(anchors[positive], target.boxes[match[positive]], offset)
            box_loss = box_loss + F.smooth_l1_loss(
                deltas[t, positive], goal, reduction="sum", beta=rules.beta
            )
        count = rules.rpn_batch * max(len(targets), 1)
        return {"rpn_class": class_loss / count, "rpn_box": box_loss / count}

    def _roi_losses(
        self,
        maps: Sequence[Tensor],
        proposals: list[Tensor],
        targets: Sequence[Targets],
        generators: Sequence[torch.Generator | None],
    ) -> dict[str, Tensor]:
        head, offset = self.detector.roi_head, self.detector.preset.pixel_offset
        sampled = [
            self._sample_rois(*image) for image in zip(proposals, targets, generators, strict=True)
        ]
        boxes, labels, goals = zip(*sampled, strict=True)
        features = head.features(head.pool(maps, boxes))
        label = torch.cat(labels)
        class_loss = F.cross_entropy(head.cls_score(features).float(), label, reduction="sum")
        count = max(len(label), 1)
        is_object = (label > 0).nonzero()[:, 0]
        deltas = head.bbox_pred(features).float().unflatten(1, (-1, 4))
        own = deltas[is_object, label[is_object]]
        roi, goal = torch.cat(boxes)[is_object], torch.cat(goals)[is_object]
        stds = deltas.new_tensor(self.detector.preset.box_stds)
        wanted = encode_boxes(roi, goal, offset) / stds
        box_loss = F.smooth_l1_loss(own, wanted, reduction="sum", beta=self.settings.beta)
        return {"roi_class": class_loss / count, "roi_box": box_loss / count}

    def _sample_rois(
        self, proposals: Tensor, target: Targets, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample regions and return their boxes, labels (0 is background) and target boxes."""
        rules = self.settings
        boxes = torch.cat([proposals, target.boxes])
        match = match_boxes(
            boxes,
            target.boxes,
            low=rules.roi_high,
            high=rules.roi_high,
            offset=self.detector.preset.pixel_offset,
        )
        positive, negative = sample_balanced(
            match >= 0, match == NEGATIVE, rules.roi_batch, rules.roi_positive, generator
        )
        rows = torch.cat([positive, negative])
        labels = torch.zeros_like(rows)
        labels[: len(positive)] = target.labels[match[positive]] + 1
        goals = boxes[rows].clone()
        goals[: len(positive)] = target.boxes[match[positive]]
        return boxes[rows], labels, goals
