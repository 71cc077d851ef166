import copy
from dataclasses import replace

import pytest
import torch

from model.relation_features import SemanticRelation, SpatialEncoder, VisualRelation
from tests.model.batches import GROUPS, random_batch

MASK = torch.tensor([[[True, True], [True, False]]])


@pytest.mark.parametrize("num_objects", [None, 5])
def test_visual_features_equal_eq_1_by_plain_sums(num_objects: int | None) -> None:
    torch.manual_seed(0)
    layer = VisualRelation(12, 6, part_width=8, union_width=4, num_objects=num_objects).eval()
    batch = random_batch(MASK)
    got = layer(batch)
    assert got.shape == (3, layer.width)
    f_box = layer.box(batch.spatial_masks)
    for m in range(3):
        u = torch.zeros(4, 7, 7)
        for c in range(4):
            for i in range(6):
                u[c] += layer.union.weight[c, i, 0, 0] * batch.union_features[m, i]
            u[c] += layer.union.bias[c] + f_box[m, c]  # type: ignore[index]
        parts = [
            layer.human.weight @ batch.human_features[m] + layer.human.bias,
            layer.object.weight @ batch.object_features[m] + layer.object.bias,
            layer.relation.weight @ u.flatten() + layer.relation.bias,
        ]
        if layer.human_class is not None and layer.object_class is not None:
            parts.append(layer.human_class.weight[0])
            parts.append(layer.object_class.weight[batch.object_labels[m]])
        torch.testing.assert_close(got[m], torch.cat(parts), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["active", "soft"])
def test_semantic_features_equal_eq_2_by_plain_means(pooling: str) -> None:
    torch.manual_seed(0)
    layer = SemanticRelation(5, GROUPS, width=3, pooling=pooling)
    batch = random_batch(MASK)
    scores = torch.rand(3, 9, generator=torch.Generator().manual_seed(1))
    scores[0, :2] = 0.0  # no predicate of the first group
    got = layer(replace(batch, predicates=scores))
    assert got.shape == (3, layer.width)
    for m in range(3):
        expected = [layer.human.weight[0]]
        start = 0
        for size in GROUPS.values():
            total, weight = torch.zeros(3), 0.0
            for r in range(start, start + size):
                w = float(scores[m, r])
                w = float(w >= 0.5) if pooling == "active" else w
                total, weight = total + w * layer.predicate.weight[r], weight + w
            expected.append(total / weight if weight else torch.zeros(3))
            start += size
        expected.append(layer.object.weight[batch.object_labels[m]])
        torch.testing.assert_close(got[m], torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_semantic_features_require_relations_and_a_known_pooling() -> None:
    batch = replace(random_batch(MASK), predicates=None)
    with pytest.raises(ValueError, match="requires relations"):
        SemanticRelation(5, GROUPS)(batch)
    with pytest.raises(ValueError, match="active or soft"):
        SemanticRelation(5, GROUPS, pooling="hard")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_batch_norm_updates_only_with_at_least_two_tokens(count: int) -> None:
    layer = SpatialEncoder(4).train()
    before = layer.first_norm.running_mean.clone()  # type: ignore[union-attr]
    out = layer(torch.rand(count, 2, 27, 27))
    assert out.shape == (count, 4, 7, 7)
    assert bool(torch.isfinite(out).all())
    moved = not torch.equal(before, layer.first_norm.running_mean)  # type: ignore[arg-type]
    assert moved is (count == 2)


def test_masks_of_many_tokens_are_encoded_accurately() -> None:
    torch.manual_seed(0)
    encoder, masks = SpatialEncoder(8).train(), torch.rand(400, 2, 27, 27) - 0.5
    exact = copy.deepcopy(encoder).double()
    with torch.no_grad():
        found, expected = encoder(masks), exact(masks.double())
    assert float((found - expected).abs().max()) < 2e-5
