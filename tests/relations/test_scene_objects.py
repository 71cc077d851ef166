import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import nms

from detection.box_coder import with_offset
from relations.scene_objects import CONFUSED, classify_objects, refine_detections

O = 20  # noqa: E741


def some_boxes(counts: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    N = sum(counts)
    corner = torch.randint(0, 3, (N, 2), generator=g) * 20.0
    boxes = torch.cat([corner, corner + 40 + torch.rand(N, 2, generator=g) * 10], 1)
    distribution = (3 * torch.randn(N, O, generator=g)).softmax(1)
    # Boxes of the easily confused classes are frequent.
    for row in range(0, N, 2):
        distribution[row, CONFUSED[row % 3]] += 1
    frame = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return boxes, distribution / distribution.sum(1, keepdim=True), frame


def refine_in_loops(boxes: Tensor, distribution: Tensor) -> list[tuple[int, Tensor]]:
    """Return (box, distribution) of each object of one frame.

    The objects are ordered by class and decreasing probability.
    """
    rows = [(i, distribution[i]) for i in range(len(boxes))]
    for confused in CONFUSED:
        for i, dist in list(rows):
            if int(dist.argmax()) == confused:
                other = dist.clone()
                other[confused] = 0
                rows.append((i, other))
    kept = []
    for label in range(O):
        mine = [(i, d) for i, d in rows if int(d.argmax()) == label]
        mine.sort(key=lambda row: -float(row[1][label]))
        if mine:
            own = torch.stack([boxes[i] for i, _ in mine])
            scores = torch.stack([d[label] for _, d in mine])
            kept += [mine[k] for k in nms(with_offset(own, 1.0), scores, 0.6)]
    return kept


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=4), st.integers(0, 99))
def test_refined_detections_equal_plain_loops(counts: list[int], seed: int) -> None:
    boxes, distribution, frame = some_boxes(counts, seed)
    found = refine_detections(boxes, distribution, frame, len(counts))
    for t in range(len(counts)):
        mine, rows = found.frame == t, (frame == t).nonzero()[:, 0]
        wanted = refine_in_loops(boxes[rows], distribution[rows])
        assert found.source[mine].tolist() == [int(rows[i]) for i, _ in wanted]
        if not wanted:
            assert int(found.person[t]) == -1
            continue
        said = torch.stack([d for _, d in wanted])
        assert torch.equal(found.distribution[mine], said)
        person = int(said[:, 0].argmax())
        labels = said[:, 1:].argmax(1) + 1
        labels[person] = 0
        assert found.labels[mine].tolist() == labels.tolist()
        assert int(found.person[t]) == int(mine.nonzero()[person, 0])
        assert torch.equal(found.scores[mine], said.gather(1, labels[:, None])[:, 0])
    pairs = found.pairs()
    assert pairs[:, 1].tolist() == (found.labels != 0).nonzero()[:, 0].tolist()
    assert torch.equal(found.frame[pairs[:, 0]], found.frame[pairs[:, 1]])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 99))
def test_classified_objects_equal_plain_loops(counts: list[int], seed: int) -> None:
    _, distribution, frame = some_boxes(counts, seed)
    logits = torch.cat([torch.zeros(len(frame), 1), distribution.log()], 1)
    found = classify_objects(logits, frame, len(counts))
    for t in range(len(counts)):
        rows = (frame == t).nonzero()[:, 0]
        if not len(rows):
            assert int(found.person[t]) == -1
            continue
        said = distribution[rows].clone()
        person = int(said[:, 0].argmax())
        labels = (said[:, 1:].argmax(1) + 1).tolist()
        labels[person] = 0
        scores = [float(said[i, label]) for i, label in enumerate(labels)]
        commonest = int(torch.mode(torch.tensor(labels))[0])
        alike = [i for i, label in enumerate(labels) if label == commonest]
        best = max(alike, key=lambda i: float(said[i, commonest]))
        for i in alike:
            if i != best:
                said[i, commonest] = 0
                labels[i], scores[i] = int(said[i].argmax()), float(said[i].max())
        assert found.labels[rows].tolist() == labels
        assert torch.allclose(found.scores[rows], torch.tensor(scores), atol=1e-6)
        assert int(found.person[t]) == int(rows[person])


def test_suppression_in_many_frames_equals_suppression_in_each_frame() -> None:
    """The number of frames changes neither the boxes nor the distributions of a frame."""
    boxes, distribution, frame = some_boxes([6] * 150, 0)
    found = refine_detections(boxes, distribution, frame, 150)
    for t in (0, 149):
        one = frame == t
        alone = refine_detections(boxes[one], distribution[one], frame[one] - t, 1)
        mine = found.frame == t
        assert torch.equal(found.distribution[mine], alone.distribution)
        assert torch.equal(found.source[mine] - 6 * t, alone.source)
