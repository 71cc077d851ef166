"""Tests of the recall and accuracy of relations."""

from dataclasses import replace

import numpy as np

from pipeline.evaluation.relations.scores import Tally
from relations.recall import SceneGraph

GROUPS = {"attention": ("a", "b"), "spatial": ("c",), "contacting": ("d",)}


def graph(boxes: list[list[float]], pairs: list[list[int]]) -> SceneGraph:
    M, P = len(boxes), len(pairs)
    predicates = np.tile([1.0, 0.0, 1.0, 0.0], (P, 1))
    table = np.array(boxes, dtype=np.float32)
    return SceneGraph(table, np.arange(M), np.ones(M), np.array(pairs), predicates, (2, 1, 1))


def test_accuracy_matches_pairs_by_box_coordinates() -> None:
    """Row numbers of an annotated frame and of a clip are unrelated."""
    person, cup, bag = [0.0, 0, 9, 9], [1.0, 1, 3, 3], [5.0, 5, 8, 8]
    truth = graph([person, cup], [[0, 1]])
    for found, accuracy in (
        (truth, 1.0),
        (replace(truth, predicates=truth.predicates[:, [1, 0, 2, 3]]), 0.0),
        (graph([bag, person, cup], [[1, 2]]), 1.0),
        (graph([person, bag], [[0, 1]]), None),
        (graph([person, cup, bag], [[0, 1], [0, 2]]), None),
    ):
        tally = Tally()
        tally.add([truth], [found])
        assert tally.to_dict(GROUPS)["accuracy"]["attention"] == accuracy
