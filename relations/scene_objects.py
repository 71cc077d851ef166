"""Which boxes a scene graph has, and what they are called: STTran's rules at test time.

`lib/sttran.py`, `ObjectClassifier.forward`. In both modes a frame's person is its box of largest
person probability, whatever that is, and every other box takes the best of the other classes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms

from detection.box_coder import with_offset
from relations.pairs import PERSON

#: book, chair, food (of Action Genome, person 0): such boxes also count as their next-best class.
CONFUSED = (4, 7, 16)
NMS_THRESHOLD = 0.6
#: Widths are x2 - x1 + 1 in the original.
_OFFSET = 1.0


@dataclass(frozen=True)
class SceneObjects:
    """M objects in frames 0 to T - 1.

    Attributes:
        source: (M,) int64 row of the box among those given; one may occur twice.
        frame: (M,) int64, rising.
        labels: (M,) int64; scores: (M,) float32; distribution: (M, O) float32.
        person: (T,) int64 row of each frame's person, -1 in a frame without boxes.
    """

    source: Tensor
    frame: Tensor
    labels: Tensor
    scores: Tensor
    distribution: Tensor
    person: Tensor

    def pairs(self) -> Int64[Tensor, "P 2"]:
        """(person, object) rows: each frame's person with every object of another class."""
        objects = (self.labels != PERSON).nonzero()[:, 0]
        return torch.stack([self.person[self.frame[objects]], objects], 1)


def refine_detections(
    boxes: Float[Tensor, "N 4"],
    distribution: Float[Tensor, "N O"],
    frame: Int64[Tensor, "N"],
    num_frames: int,
) -> SceneObjects:
    """SGDET: detected boxes become objects.

    Boxes of easily confused classes are doubled with their next-best class, then those of one class
    in one frame suppress each other.

    Args:
        boxes: xyxy, pixels of the decoded frame.
        distribution: the detector's, over the object classes.
        frame: of each box, rising.
        num_frames: T.

    Returns:
        Objects ordered by frame, class and falling probability.
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
    # Groups are numbered densely and boxes are doubles: batched_nms moves groups apart by adding.
    group = place.unique(return_inverse=True)[1]
    apart = with_offset(boxes[source], _OFFSET).double()
    kept = batched_nms(apart, best.double(), group, NMS_THRESHOLD)
    kept = kept[place[kept].argsort(stable=True)]
    return _name(source[kept], frame[source[kept]], distribution[kept], num_frames)


def classify_objects(
    logits: Float[Tensor, "N L"], frame: Int64[Tensor, "N"], num_frames: int
) -> SceneObjects:
    """SGCLS: given boxes get classes.

    Of the class that a frame shows most often (of several such, the first) only the best box keeps
    it; the others take their next best.

    Args:
        logits: of the object classifier, background first.
        frame: of each box, rising.
        num_frames: T.

    Returns:
        As many objects as boxes, in their order.
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
    """The person of each frame, and the best other class of every other box."""
    scores, labels = distribution[:, 1:].max(1)
    labels = labels + 1
    person = _first_of_frame(distribution[:, PERSON], frame, num_frames)
    there = person[person >= 0]
    labels[there] = PERSON
    scores[there] = distribution[there, PERSON]
    return SceneObjects(source, frame, labels, scores, distribution, person)


def _first_of_frame(values: Tensor, frame: Tensor, num_frames: int) -> Tensor:
    """(T,) row of the largest value of each frame, the first of equal ones; -1 without rows."""
    order = values.argsort(descending=True, stable=True)
    order = order[frame[order].argsort(stable=True)]
    counts = torch.bincount(frame, minlength=num_frames)
    first = counts.cumsum(0) - counts
    found = torch.full((num_frames,), -1, dtype=torch.int64, device=frame.device)
    there = counts > 0
    found[there] = order[first[there]]
    return found
