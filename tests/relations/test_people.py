import torch
from torch import Tensor

from relations.people import PeopleCounter


def frame(*people: tuple[float, float, float], dog: bool = True) -> tuple[Tensor, ...]:
    """Return boxes, labels, scores and features of people (left edge, score, appearance)."""
    boxes = [[x, 0.0, x + 10, 20.0] for x, _, _ in people] + [[0.0, 0.0, 5.0, 5.0]] * dog
    features = [[one, 1.0 - one] for _, _, one in people] + [[0.5, 0.5]] * dog
    return (
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor([0] * len(people) + [7] * dog),
        torch.tensor([score for _, score, _ in people] + [0.99] * dog),
        torch.tensor(features).reshape(-1, 2),
    )


def test_people_are_numbered_by_first_appearance_and_score() -> None:
    counter = PeopleCounter()
    assert counter.number(*frame()) == {}
    assert counter.number(*frame((50, 0.6, 0.0), (0, 0.9, 1.0))) == {1: 1, 2: 0}
    assert counter.number(*frame((2, 0.6, 1.0), (51, 0.8, 0.0))) == {1: 0, 2: 1}
    assert counter.number(*frame((100, 0.9, 0.5), (2, 0.5, 1.0), (51, 0.8, 0.0))) == {
        1: 1, 2: 2, 3: 0,
    }  # fmt: skip
    assert counter.number(*frame((52, 0.2, 0.0))) == {2: 0}
    assert counter.number(*frame((2, 0.45, 1.0), (51, 0.49, 0.0))) == {2: 1}
    assert dict(counter.frames) == {1: 3, 2: 5, 3: 1}


def test_people_who_cross_keep_their_numbers_by_appearance() -> None:
    counter = PeopleCounter()
    counter.number(*frame((0, 0.9, 1.0), (30, 0.8, 0.0)))
    assert counter.number(*frame((30, 0.9, 1.0), (0, 0.8, 0.0), dog=False)) in (
        {1: 0, 2: 1}, {1: 1, 2: 0},
    )  # fmt: skip
    counter = PeopleCounter()
    counter.number(*frame((0, 0.9, 1.0), (30, 0.8, 0.0)))
    assert counter.number(*frame((14, 0.9, 0.0), (16, 0.8, 1.0))) == {1: 1, 2: 0}
