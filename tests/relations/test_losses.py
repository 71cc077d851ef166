import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relations.loss import loss_objects, multi_label_margin, relation_losses
from relations.sttran import RelationLogits

SIZES = {"attention": 3, "spatial": 4, "contacting": 5}


def logits(
    P: int, sizes: dict[str, int] = SIZES, exclusive: tuple[str, ...] = ("attention",)
) -> RelationLogits:
    g = torch.Generator().manual_seed(0)
    groups = {name: torch.randn(P, n, generator=g) for name, n in sizes.items()}
    empty = torch.zeros(P, 0)
    there = torch.ones(P, len(sizes), dtype=torch.bool)
    return RelationLogits(groups, exclusive, there, empty, empty, empty)


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 99))
def test_margin_loss_equals_torch(P: int, S: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    scores, is_true = torch.rand(P, S, generator=g), torch.rand(P, S, generator=g) > 0.6
    padded = torch.full((P, S), -1)
    for p in range(P):
        rows = is_true[p].nonzero()[:, 0]
        padded[p, : len(rows)] = rows
    wanted = torch.nn.MultiLabelMarginLoss()(scores, padded)
    assert torch.allclose(multi_label_margin(scores, is_true.float()), wanted, atol=1e-6)


def test_pairs_without_annotations_are_ignored() -> None:
    said, predicates = logits(4), torch.zeros(4, 12)
    predicates[0, [1, 3, 4, 8]] = 1
    predicates[1, [2, 6, 9, 10]] = 1
    fewer = replace(said, groups={name: value[:2] for name, value in said.groups.items()})
    for kind in ("margin", "bce"):
        whole = relation_losses(said, predicates, multi_label=kind)
        part = relation_losses(fewer, predicates[:2], multi_label=kind)
        assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_relation_losses_equal_plain_loops() -> None:
    said, predicates = logits(1), torch.zeros(1, 12)
    predicates[0, [1, 3, 5, 8]] = 1
    found = relation_losses(said, predicates, multi_label="bce")
    attention = -said.groups["attention"][0].log_softmax(0)[1]
    p = said.groups["spatial"][0].sigmoid()
    spatial = -(p[0].log() + (1 - p[1]).log() + p[2].log() + (1 - p[3]).log()) / 4
    assert torch.allclose(found["attention"], attention)
    assert torch.allclose(found["spatial"], spatial)


def test_relation_losses_without_annotations_are_zero_and_differentiable() -> None:
    said = logits(3)
    attention = said.groups["attention"].requires_grad_(True)
    found = relation_losses(said, torch.zeros(3, 12), multi_label="margin")
    assert [float(v.detach()) for v in found.values()] == [0.0, 0.0, 0.0]
    found["attention"].backward()
    assert attention.grad is not None
    assert float(relation_losses(logits(0), torch.zeros(0, 12), multi_label="bce")["spatial"]) == 0


def test_losses_of_exclusive_groups_equal_plain_loops() -> None:
    """Of five pairs, each has annotated predicates of some of the groups, or of none."""
    sizes = {"hand": 2, "mood": 3, "state": 4}
    said = logits(5, sizes, ("hand", "state"))
    known = {"hand": {0: 1, 3: 0}, "mood": {1: 2, 2: 0}, "state": {1: 3, 2: 0, 4: 2}}
    predicates, start = torch.zeros(5, 9), 0
    for group, size in sizes.items():
        for pair, predicate in known[group].items():
            predicates[pair, start + predicate] = 1
        start += size
    for value in said.groups.values():
        value.requires_grad_(True)
    found = relation_losses(said, predicates, multi_label="bce")
    assert list(found) == ["hand", "mood", "state"]
    for group, size in sizes.items():
        rows, terms = said.groups[group].tolist(), []
        for pair, predicate in known[group].items():
            row = rows[pair]
            if group == "mood":
                p = [1 / (1 + math.exp(-x)) for x in row]
                own = [math.log(q if n == predicate else 1 - q) for n, q in enumerate(p)]
                terms.append(-sum(own) / size)
            else:
                total = sum(math.exp(x) for x in row)
                terms.append(-math.log(math.exp(row[predicate]) / total))
        assert float(found[group].detach()) == pytest.approx(sum(terms) / len(terms), abs=1e-6)
    torch.stack([*found.values()]).sum().backward()
    for group, value in said.groups.items():
        assert value.grad is not None
        assert {n for n, row in enumerate(value.grad) if row.any()} == {*known[group]}


def test_object_loss_reserves_class_0_for_background() -> None:
    sure = torch.full((2, 4), -20.0)
    sure[0, 1], sure[1, 3] = 20.0, 20.0
    assert float(loss_objects(sure, torch.tensor([0, 2]))) < 1e-6
    assert float(loss_objects(sure, torch.tensor([1, 2]))) > 1
    assert float(loss_objects(sure[:0], torch.zeros(0, dtype=torch.int64))) == 0
