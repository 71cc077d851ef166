"""STTran's detector loop, written with our modules.

All frames are preprocessed at once, and the backbone processes ten frames at a time. A Python loop
over frames and classes applies the score threshold, sorting and non-maximum suppression, and
concatenates the results one by one. Only the order of the operations follows STTran
(`lib/object_detector.py`). The modules are ours, and no code is copied.
"""

import torch
from torch import Tensor
from torchvision.ops import nms

from detection.box_coder import clip_boxes, decode_boxes, with_offset
from detection.detector import Detector
from detection.preprocess import preprocess
from relations.boxes import union_boxes

CHUNK = 10


def detect_as_original(detector: Detector, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Detect objects in the frames of a clip.

    Args:
        detector: C4 network in eval mode.
        frames: (T, 3, H, W) uint8.

    Returns:
        Boxes (N, 6) as (frame index, xyxy in frame pixels, 1-based label), the box features, and
        the union features of the first box of each frame with the other boxes of the frame.
    """
    ready = preprocess(frames, detector.preset.pixels)
    boxes, features = frames.new_zeros(0, 6, dtype=torch.float32), None
    all_maps: list[Tensor] = []
    for start in range(0, len(frames), CHUNK):
        maps = detector.trunk(ready.images[start : start + CHUNK])
        proposals = detector.rpn(maps, ready.padded_size, [ready.size] * len(maps[0]))
        pooled = detector.roi_head.features(detector.roi_head.pool(maps, proposals))
        logits, deltas = detector.roi_head.cls_score(pooled), detector.roi_head.bbox_pred(pooled)
        row = 0
        for t, proposal in enumerate(proposals):
            part = slice(row, row + len(proposal))
            row += len(proposal)
            found = _frame(detector, proposal, logits[part], deltas[part], ready.size)
            for box, source in found:
                box = torch.cat([box.new_tensor([start + t]), box])
                boxes = torch.cat([boxes, box[None]])
                feature = pooled[part][source][None]
                features = feature if features is None else torch.cat([features, feature])
        all_maps += list(maps[0])
    features = frames.new_zeros(0, detector.feature_width) if features is None else features
    boxes[:, 1:5] /= ready.scale[0]
    return boxes, features, _unions(detector, torch.stack(all_maps), boxes, ready.scale[0])


def _frame(
    detector: Detector, proposals: Tensor, logits: Tensor, deltas: Tensor, size: tuple[int, int]
) -> list[tuple[Tensor, int]]:
    rules, offset = detector.preset.selection, detector.preset.pixel_offset
    scores = logits.softmax(1)
    stds = deltas.new_tensor(detector.preset.box_stds)
    found = []
    for j in range(1, scores.shape[1]):
        above = (scores[:, j] > rules.score_threshold).nonzero()[:, 0]
        if not above.numel():
            continue
        order = above[scores[above, j].argsort(descending=True)]
        moved = decode_boxes(proposals[order], deltas[order, 4 * j : 4 * j + 4] * stds, offset)
        moved = clip_boxes(moved, size[1], size[0], offset)
        kept = nms(with_offset(moved, offset), scores[order, j], rules.nms_threshold)
        for k in kept[:1] if j == 1 else kept:
            label = moved.new_tensor([j])
            found.append((torch.cat([moved[k], label]), int(order[k])))
    return found


def _unions(detector: Detector, maps: Tensor, boxes: Tensor, scale: float) -> Tensor:
    """Return the union features of the first box of each frame with the other boxes."""
    rois = []
    for t in range(len(maps)):
        mine = boxes[boxes[:, 0] == t, 1:5] * scale
        rois.append(union_boxes(mine[:1].expand(len(mine), 4), mine)[1:])
    return detector.roi_head.pool_unions((maps,), rois)
