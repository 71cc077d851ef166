import torch

from relations.tracks import link_tracks


def box(x: float) -> list[float]:
    return [x, 0.0, x + 10.0, 10.0]


def link(rows: list[tuple[int, int, float, list[float]]]) -> list[int]:
    """Link rows of (frame, class, x, feature)."""
    frames, labels = (torch.tensor([row[i] for row in rows]).long() for i in range(2))
    boxes = torch.tensor([box(row[2]) for row in rows]).view(-1, 4)
    features = torch.tensor([row[3] for row in rows]) if rows else torch.zeros(0, 2)
    return link_tracks(boxes, labels, features, frames).tolist()


def test_class_with_one_box_per_frame_is_one_track() -> None:
    rows = [(0, 3, 0.0, [1.0, 0.0]), (0, 4, 50.0, [1.0, 0.0]), (2, 3, 90.0, [0.0, 1.0])]
    assert link(rows) == [0, 1, 0]


def test_two_objects_of_a_class_are_linked_by_overlap_and_appearance() -> None:
    red, blue = [1.0, 0.0], [0.0, 1.0]
    apart = [(0, 3, 0.0, red), (0, 3, 50.0, blue), (1, 3, 52.0, blue), (1, 3, 3.0, red)]
    assert link(apart) == [0, 1, 1, 0]
    # Both objects move further than their width: the appearance decides.
    moved = [(0, 3, 0.0, red), (0, 3, 50.0, blue), (1, 3, 200.0, blue), (1, 3, 100.0, red)]
    assert link(moved) == [0, 1, 1, 0]
    # Without features, the overlap decides.
    assert link([(f, c, x, []) for f, c, x, _ in apart]) == [0, 1, 1, 0]


def test_boxes_without_area_are_linked() -> None:
    boxes = torch.tensor([[5.0, 0.0, 5.0, 10.0], [9.0, 0.0, 9.0, 10.0]] * 2)
    labels, frames = torch.full((4,), 3), torch.tensor([0, 0, 1, 1])
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert link_tracks(boxes, labels, features, frames).tolist() == [0, 1, 1, 0]


def test_new_object_begins_a_track_and_a_hidden_one_keeps_its_own() -> None:
    red, blue = [1.0, 0.0], [0.0, 1.0]
    rows = [
        (0, 3, 0.0, red),
        (1, 3, 0.0, red),
        (1, 3, 50.0, blue),
        (2, 3, 50.0, blue),
        (3, 3, 0.0, red),
        (3, 3, 50.0, blue),
    ]
    assert link(rows) == [0, 0, 1, 1, 0, 1]
    assert link([]) == []
