import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relations.loss import loss_objects, multi_label_margin, relation_losses
from relations.sttran import RelationLogits


def logits(P: int, seed: int = 0) -> RelationLogits:
    g = torch.Generator().manual_seed(seed)
    attention, spatial, contacting = (torch.randn(P, n, generator=g) for n in (3, 4, 5))
    empty = torch.zeros(P, 0)
    return RelationLogits(attention, spatial, contacting, empty, empty, empty)


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
    fewer = RelationLogits(*(getattr(said, n)[:2] for n in vars(said)))
    for kind in ("margin", "bce"):
        whole = relation_losses(said, predicates, multi_label=kind)
        part = relation_losses(fewer, predicates[:2], multi_label=kind)
        assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_relation_losses_equal_plain_loops() -> None:
    said, predicates = logits(1), torch.zeros(1, 12)
    predicates[0, [1, 3, 5, 8]] = 1
    found = relation_losses(said, predicates, multi_label="bce")
    attention = -said.attention[0].log_softmax(0)[1]
    p = said.spatial[0].sigmoid()
    spatial = -(p[0].log() + (1 - p[1]).log() + p[2].log() + (1 - p[3]).log()) / 4
    assert torch.allclose(found["attention"], attention)
    assert torch.allclose(found["spatial"], spatial)


def test_relation_losses_without_annotations_are_zero_and_differentiable() -> None:
    said = logits(3)
    said.attention.requires_grad_(True)
    found = relation_losses(said, torch.zeros(3, 12), multi_label="margin")
    assert [float(v.detach()) for v in found.values()] == [0.0, 0.0, 0.0]
    found["attention"].backward()
    assert said.attention.grad is not None
    assert float(relation_losses(logits(0), torch.zeros(0, 12), multi_label="bce")["spatial"]) == 0


def test_object_loss_reserves_class_0_for_background() -> None:
    sure = torch.full((2, 4), -20.0)
    sure[0, 1], sure[1, 3] = 20.0, 20.0
    assert float(loss_objects(sure, torch.tensor([0, 2]))) < 1e-6
    assert float(loss_objects(sure, torch.tensor([1, 2]))) > 1
    assert float(loss_objects(sure[:0], torch.zeros(0, dtype=torch.int64))) == 0
