"""From scored proposals to the boxes of a frame."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms

from detection.box_coder import clip_boxes, decode_boxes
from detection.presets import Preset
from detection.rpn import with_offset

PERSON = 1


@dataclass(frozen=True)
class PostProcess:
    """Thresholds of the last step.

    Attributes:
        preset: box conventions.
        score_threshold: a class counts where its probability is higher.
        nms_threshold: IoU above which the weaker box of a class goes.
        max_boxes: most boxes kept, best scores first.
    """

    preset: Preset
    score_threshold: float
    nms_threshold: float
    max_boxes: int

    def __call__(
        self,
        proposals: Float[Tensor, "N 4"],
        logits: Float[Tensor, "N L"],
        deltas: Float[Tensor, "N L4"],
        *,
        scale: float,
        image_size: tuple[int, int],
    ) -> tuple[Float[Tensor, "M 4"], Int64[Tensor, "M"], Float[Tensor, "M"], Int64[Tensor, "M"]]:
        """Select.

        Args:
            proposals: xyxy, network pixels.
            logits: over background (0) and the classes.
            deltas: raw, class j in columns 4j to 4j + 3.
            scale: network pixels per frame pixel.
            image_size: (height, width) of the network's input.

        Returns:
            Boxes in frame pixels; labels (1 is the person); scores; the proposal row of each. They
            are ordered by class, then by falling score. Only the best person box stays.
        """
        probability = logits.softmax(1)
        rows, labels = (probability > self.score_threshold).nonzero().unbind(1)
        rows, labels = rows[labels > 0], labels[labels > 0]
        scores = probability[rows, labels]
        stds = deltas.new_tensor(self.preset.box_stds)
        own = deltas.view(len(deltas), -1, 4)[rows, labels] * stds
        offset = self.preset.pixel_offset
        boxes = decode_boxes(proposals[rows], own, offset)
        boxes = clip_boxes(boxes, image_size[1], image_size[0], offset) / scale
        kept = batched_nms(with_offset(boxes, offset), scores, labels, self.nms_threshold)
        people = kept[labels[kept] == PERSON]
        if len(people) > 1:
            kept = kept[(labels[kept] != PERSON) | (kept == people[0])]
        kept = kept[: self.max_boxes]  # batched_nms returns falling scores
        kept = kept[labels[kept].argsort(stable=True)]
        return boxes[kept], labels[kept], scores[kept], rows[kept]
