"""Boxes and classes of the objects of a scene graph, selected as in STTran at test time.

The rules follow `ObjectClassifier.forward` in STTran's `lib/sttran.py`. In SGDET and SGCLS,
the person of a frame is the box with the largest person probability, even if that probability is
small. Every other box gets its most probable class other than person.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms

from detection.box_coder import with_offset
from relations.pairs import PERSON

#: Classes book, chair and food of Action Genome. In SGDET, each box of these classes is added a
#: second time with its second most probable class.
CONFUSED = (4, 7, 16)
NMS_THRESHOLD = 0.6
#: STTran's implementation computes widths as x2 - x1 + 1.
_OFFSET = 1.0


@dataclass(frozen=True)
class SceneObjects:
    """M objects in T frames.

    Attributes:
        source: (M,) int64 row of each object's box in the input. A box can occur twice.
        frame: (M,) int64 frame index, non-decreasing.
        labels: (M,) int64 object class.
        scores: (M,) float32 probability of the object class.
        distribution: (M, O) float32 class distribution.
        person: (T,) int64 row of each frame's person, or -1 for a frame without boxes.
    """

    source: Tensor
    frame: Tensor
    labels: Tensor
    scores: Tensor
    distribution: Tensor
    person: Tensor

    def pairs(self) -> Int64[Tensor, "P 2"]:
        """Return the rows (person, object) of all pairs.

        The person of each frame is paired with every other object of the frame.
        """
        objects = (self.labels != PERSON).nonzero()[:, 0]
        return torch.stack([self.person[self.frame[objects]], objects], 1)


def refine_detections(
    boxes: Float[Tensor, "N 4"],
    distribution: Float[Tensor, "N O"],
    frame: Int64[Tensor, "N"],
    num_frames: int,
) -> SceneObjects:
    """Convert detected boxes to objects (SGDET).

    Boxes of the classes in `CONFUSED` are added a second time with their second most probable
    class. Then non-maximum suppression is applied per frame and class.

    Args:
        boxes: detected boxes, xyxy, pixels of the decoded frame.
        distribution: class distribution of the detector, without background.
        frame: frame index of each box, non-decreasing.
        num_frames: number of frames, T.

    Returns:
        Objects ordered by frame, class and decreasing probability.
    """
    labels, source = distribution.argmax(1), torch.arange(len(boxes), device=boxes.device)
    for confused in CONFUSED:
        again = labels == confused
        extra = distribution[again].clone()
        extra[:, confused] = 0
        distribution = torch.cat([distribution, extra])
        labels = torch.cat([labels, extra.argmax(1)])
        source = torch.cat([source, source[again]])
    best = distribution.gather(1, labels[:, None])[:, 0]
    place = frame[source] * distribution.shape[1] + labels
    # batched_nms adds an offset per group. Dense group numbers and float64 avoid rounding errors.
    group = place.unique(return_inverse=True)[1]
    apart = with_offset(boxes[source], _OFFSET).double()
    kept = batched_nms(apart, best.double(), group, NMS_THRESHOLD)
    kept = kept[place[kept].argsort(stable=True)]
    return _name(source[kept], frame[source[kept]], distribution[kept], num_frames)


def classify_objects(
    logits: Float[Tensor, "N L"], frame: Int64[Tensor, "N"], num_frames: int
) -> SceneObjects:
    """Assign classes to provided boxes (SGCLS).

    Among the boxes of a frame that have its most frequent class, only the most probable box keeps
    this class. The other boxes get their second most probable class. If several classes are equally
    frequent, the first is used.

    Args:
        logits: logits of the object classifier, background first.
        frame: frame index of each box, non-decreasing.
        num_frames: number of frames, T.

    Returns:
        One object per box, in the order of the boxes.
    """
    rows = torch.arange(len(logits), device=logits.device)
    named = _name(rows, frame, logits[:, 1:].softmax(1), num_frames)
    distribution, labels = named.distribution.clone(), named.labels.clone()
    counts = torch.zeros(num_frames, distribution.shape[1], device=logits.device)
    counts.index_put_((frame, labels), torch.ones(len(rows), device=logits.device), accumulate=True)
    commonest = counts.argmax(1)[frame]
    own = distribution.gather(1, commonest[:, None])[:, 0]
    shows = labels == commonest
    best = _first_of_frame(torch.where(shows, own, -1.0), frame, num_frames)
    loses = shows & (rows != best[frame])
    distribution[loses, commonest[loses]] = 0
    scores = named.scores.clone()
    scores[loses], labels[loses] = distribution[loses].max(1)
    return SceneObjects(rows, frame, labels, scores, distribution, named.person)


def _name(source: Tensor, frame: Tensor, distribution: Tensor, num_frames: int) -> SceneObjects:
    """Choose the person of each frame, and the most probable other class of every other box."""
    scores, labels = distribution[:, 1:].max(1)
    labels = labels + 1
    person = _first_of_frame(distribution[:, PERSON], frame, num_frames)
    there = person[person >= 0]
    labels[there] = PERSON
    scores[there] = distribution[there, PERSON]
    return SceneObjects(source, frame, labels, scores, distribution, person)


def _first_of_frame(values: Tensor, frame: Tensor, num_frames: int) -> Tensor:
    """Return the (T,) row of each frame's largest value.

    In case of a tie, the first row is returned. The result is -1 for a frame without rows.
    """
    order = values.argsort(descending=True, stable=True)
    order = order[frame[order].argsort(stable=True)]
    counts = torch.bincount(frame, minlength=num_frames)
    first = counts.cumsum(0) - counts
    found = torch.full((num_frames,), -1, dtype=torch.int64, device=frame.device)
    there = counts > 0
    found[there] = order[first[there]]
    return found
