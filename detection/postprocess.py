"""Selection of the boxes of a frame from scored proposals."""

from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms

from detection.box_coder import clip_boxes, decode_boxes, is_at_least, with_offset
from detection.presets import Preset

PERSON = 1


def select_boxes(
    proposals: Float[Tensor, "N 4"],
    logits: Float[Tensor, "N L"],
    deltas: Float[Tensor, "N L4"],
    *,
    preset: Preset,
    scale: tuple[float, float],
    size: tuple[int, int],
    frame_size: tuple[int, int],
) -> tuple[Float[Tensor, "M 4"], Int64[Tensor, "M"], Float[Tensor, "M"], Int64[Tensor, "M"]]:
    """Decode scored proposals and select the boxes of a frame by the rules of `preset.selection`.

    Args:
        proposals: (N, 4) proposals, xyxy in network pixels.
        logits: (N, L) logits of the L = O + 1 classes. Class 0 is the background.
        deltas: (N, 4L) raw box deltas. The columns 4j to 4j + 3 belong to class j.
        preset: box conventions and thresholds.
        scale: (x, y) network pixels per frame pixel.
        size: (height, width) of the network input without padding.
        frame_size: (height, width) of the decoded frame.

    Returns:
        A tuple of boxes (M, 4), labels (M,), scores (M,) and rows (M,). The boxes are xyxy in frame
        pixels and inside the frame. Label 1 is the person. The rows are the indices of the boxes'
        proposals. `Selection.by_class` determines the order.
    """
    rules, offset = preset.selection, preset.pixel_offset
    probability = logits.softmax(1)
    rows, labels = (probability > rules.score_threshold).nonzero().unbind(1)
    rows, labels = rows[labels > 0], labels[labels > 0]
    own = deltas.unflatten(1, (-1, 4))[rows, labels] * deltas.new_tensor(preset.box_stds)
    boxes = decode_boxes(proposals[rows], own, offset, preset.max_delta)
    boxes = clip_boxes(boxes, size[1], size[0], offset)
    if rules.min_size is not None:
        good = is_at_least(boxes, rules.min_size)
        boxes, rows, labels = boxes[good], rows[good], labels[good]
    scores = probability[rows, labels]
    in_frame = boxes / boxes.new_tensor([*scale, *scale])
    compared = in_frame if rules.in_frame_pixels else boxes
    kept = batched_nms(with_offset(compared, offset), scores, labels, rules.nms_threshold)
    people = kept[labels[kept] == PERSON]
    if rules.one_person and len(people) > 1:
        kept = kept[(labels[kept] != PERSON) | (kept == people[0])]
    kept = kept[: rules.max_boxes]  # batched_nms sorts by descending score
    in_frame = clip_boxes(in_frame, frame_size[1], frame_size[0], 0)
    if rules.drop_empty:
        kept = kept[is_at_least(in_frame[kept], 0)]
    if rules.by_class:
        kept = kept[labels[kept].argsort(stable=True)]
    return in_frame[kept], labels[kept], scores[kept], rows[kept]
