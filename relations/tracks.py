"""Linking of object boxes to tracks over the frames of a video."""

from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_iou

#: Weight of the cosine similarity of box features beside the IoU of boxes.
_APPEARANCE = 1.0


def link_tracks(
    boxes: Float[Tensor, "N 4"],
    labels: Int64[Tensor, "N"],
    features: Float[Tensor, "N F"],
    frames: Int64[Tensor, "N"],
) -> Int64[Tensor, "N"]:
    """Number the boxes by track: equal numbers mark one object.

    Frames are processed in order. In each frame, the boxes of a class are matched one to one with
    the tracks of that class, so that the sum of

        IoU(box, last box of the track) + cosine(feature, last feature of the track)

    is as large as possible (Hungarian algorithm). Boxes that remain begin new tracks. A class with
    one box per frame is always one track.

    Args:
        boxes: xyxy, pixels; rows are sorted by frame.
        labels: object class of each box.
        features: box features.
        frames: row of each box's frame, not decreasing.

    Returns:
        Track of each box, numbered from 0 by first appearance.
    """
    tracks, classes = [-1] * len(labels), labels.tolist()
    last: dict[int, list[int]] = {}  # class -> last row of each of its tracks
    count = 0
    for _, group in groupby(enumerate(frames.tolist()), itemgetter(1)):
        here: dict[int, list[int]] = {}
        for row, _ in group:
            here.setdefault(classes[row], []).append(row)
        for label, rows in sorted(here.items()):
            known = last.setdefault(label, [])
            for row, place in match_rows(boxes, features, rows, known):
                tracks[row] = tracks[known[place]]
                known[place] = row
            for row in rows:
                if tracks[row] < 0:
                    tracks[row], count = count, count + 1
                    known.append(row)
    return torch.tensor(tracks, dtype=torch.int64)


def match_rows(
    boxes: Tensor, features: Tensor, rows: list[int], known: list[int]
) -> list[tuple[int, int]]:
    """Match boxes one to one with the last boxes of tracks, see `link_tracks`.

    Args:
        boxes: (N, 4) xyxy, pixels.
        features: (N, F) box features.
        rows: rows of the boxes.
        known: last row of each track.

    Returns:
        Pairs of a row and a place in `known`.
    """
    if not known or len(rows) == len(known) == 1:
        return [(row, 0) for row in rows[: len(known)]]
    score = box_iou(boxes[rows], boxes[known]).nan_to_num()  # NaN for two empty boxes
    if features.shape[1]:
        ours, theirs = (F.normalize(features[i].float(), dim=1) for i in (rows, known))
        score = score + _APPEARANCE * ours @ theirs.T
    first, second = linear_sum_assignment(np.asarray(score), maximize=True)
    return [(rows[i], int(j)) for i, j in zip(first.tolist(), second.tolist(), strict=True)]
