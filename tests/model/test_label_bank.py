import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from model.label_bank import LabelBank, LabelBankBuilder, distinct_bank
from model.labels import TokenLabels
from model.tokens import TokenBatch
from tests.model.batches import GROUPS, random_batch
from tests.model.test_laiar import drawn_mask

SIZES = tuple(GROUPS.values())


def bank_of(batch: TokenBatch, embeddings: torch.Tensor) -> LabelBank:
    builder = LabelBankBuilder(SIZES, embeddings.shape[-1])
    builder.add(embeddings, batch)
    return builder.build()


def test_prototype_is_the_mean_of_normalised_embeddings() -> None:
    batch = random_batch(drawn_mask(1, 3, 4, 5))
    embeddings = torch.randn(3, 4, 5, 7, generator=torch.Generator().manual_seed(0))
    bank = bank_of(batch, embeddings)
    packed = F.normalize(embeddings[batch.mask], dim=1)
    assert batch.predicates is not None
    seen = 0
    for e in range(len(bank)):
        r = int(bank.predicates[e].nonzero())
        rows = (batch.pairs == bank.pairs[e]).all(1) & (batch.predicates[:, r] > 0.5)
        assert int(bank.counts[e]) == int(rows.sum()) > 0
        torch.testing.assert_close(bank.prototypes[e], packed[rows].mean(0))
        seen += int(rows.sum())
    assert seen == int(batch.predicates.sum())


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("constrained", [True, False])
def test_nearest_names_equal_plain_loops(single: bool, constrained: bool) -> None:
    g = torch.Generator().manual_seed(3)
    counts = torch.tensor([9, 2, 4, 1, 7, 3])
    pairs = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 2], [3, 1], [0, 1]])
    said = torch.rand(6, 9, generator=g) < 0.4
    said[2], said[5] = said[1], said[0]  # equal predicates in all groups
    if single:
        said = F.one_hot(torch.tensor([0, 1, 2, 0, 5, 5]), 9).bool()
    bank = LabelBank(torch.randn(6, 4, generator=g), pairs, said, counts, SIZES, is_single=single)
    tokens = torch.randn(8, 4, generator=g)
    classes = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 1], [3, 1], [0, 1], [0, 2], [3, 2]])
    for pair in classes:
        assert bank.of_pair(pair).tolist() == [torch.equal(row, pair) for row in pairs]
    frequency = [sum(int(counts[e]) for e in range(6) if said[e, r]) for r in range(9)]
    named = bank.name(tokens, classes, constrained=constrained)
    for names, span in zip(named, [range(2), range(2, 5), range(5, 9)], strict=True):
        sets = [{r for r in span if said[e, r]} for e in range(6)]
        for m in range(8):
            cosines = sorted(
                (
                    (float(F.cosine_similarity(tokens[m], bank.prototypes[e], dim=0)), e)
                    for e in range(6)
                    if (sets[e] or not single)
                    and (not constrained or torch.equal(pairs[e], classes[m]))
                ),
                reverse=True,
            )
            if not cosines:
                assert int(names.predicate[m]) == int(names.object[m]) == -1
                assert not bool(names.said[m].any())
                assert float(names.cosine[m]) == float(names.margin[m]) == 0.0
                continue
            cosine, best = cosines[0]
            assert {span.start + int(r) for r in names.said[m].nonzero()[:, 0]} == sets[best]
            shown = min(sets[best], key=lambda r: (frequency[r], r), default=-1)
            assert int(names.predicate[m]) == shown
            assert int(names.object[m]) == int(pairs[best, 1])
            assert float(names.cosine[m]) == pytest.approx(cosine, abs=1e-5)
            other = [c for c, e in cosines if sets[e] != sets[best]]
            margin = cosine - other[0] if other else 0.0
            assert float(names.margin[m]) == pytest.approx(margin, abs=1e-5)


def test_empty_bank_returns_no_predicates_and_empty_input_returns_empty_names() -> None:
    empty = LabelBankBuilder(SIZES, 4).build()
    assert len(empty) == 0
    for names in empty.name(torch.randn(2, 4), torch.ones(2, 2).long()):
        assert names.predicate.tolist() == [-1, -1]
    full = bank_of(random_batch(drawn_mask(1, 1, 4, 5)), torch.randn(1, 4, 5, 4))
    for names in full.name(torch.zeros(0, 4), torch.zeros(0, 2).long()):
        assert names.predicate.shape == names.margin.shape == (0,)


def test_inconsistent_bank_is_rejected() -> None:
    one, said = torch.ones(1, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool)
    pair = torch.ones(1, 2, dtype=torch.int64)
    LabelBank(torch.zeros(1, 4), pair, said, one, (2,))
    for bank in (
        (torch.zeros(2, 4), pair, said, one, (2,)),
        (torch.zeros(1, 4), pair, said, one, (3,)),
        (torch.zeros(1, 4), pair, said.long(), one, (2,)),
        (torch.zeros(1, 4), pair, said, torch.ones(2), (2,)),
        (torch.zeros(1, 4), one, said, one, (2,)),
        (torch.zeros(1, 4), pair.float(), said, one, (2,)),
        (torch.full((1, 4), math.nan), pair, said, one, (2,)),
        (torch.zeros(1, 4), -pair, said, one, (2,)),
        (torch.zeros(1, 4), pair, said, one * 0, (2,)),
    ):
        with pytest.raises(ValueError, match="label bank: "):
            LabelBank(*bank)


def test_bank_of_distinct_labels_names_its_own_labels() -> None:
    batch = random_batch(drawn_mask(1, 3, 4, 5))
    assert batch.predicates is not None
    labels = TokenLabels.of_tokens(batch.pairs, batch.predicates > 0.5)
    prototypes = torch.randn(len(labels), 7, generator=torch.Generator().manual_seed(0))
    bank = distinct_bank(prototypes, labels, SIZES)
    named = bank.name(prototypes * 3, labels.pairs)
    assert torch.equal(torch.cat([names.said for names in named], 1), labels.predicates)
