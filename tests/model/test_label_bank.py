import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from model.label_bank import LabelBank, LabelBankBuilder
from model.tokens import TokenBatch
from tests.model.batches import GROUPS, random_batch
from tests.model.test_laiar import drawn_mask

SIZES = tuple(GROUPS.values())


def bank_of(batch: TokenBatch, embeddings: torch.Tensor) -> LabelBank:
    builder = LabelBankBuilder(5, SIZES, embeddings.shape[-1])
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
        o, r = int(bank.objects[e]), int(bank.predicates[e])
        rows = (batch.object_labels == o) & (batch.predicates[:, r] > 0.5)
        assert int(bank.counts[e]) == int(rows.sum()) > 0
        torch.testing.assert_close(bank.prototypes[e], packed[rows].mean(0))
        seen += int(rows.sum())
    assert seen == int(batch.predicates.sum())


def test_nearest_names_equal_plain_loops() -> None:
    g = torch.Generator().manual_seed(3)
    objects, predicates = torch.tensor([1, 1, 1, 2, 2, 1]), torch.tensor([0, 1, 2, 0, 5, 5])
    bank = LabelBank(
        torch.randn(6, 4, generator=g), objects, predicates, torch.ones(6).long(), (2, 3, 4)
    )
    tokens, labels = torch.randn(8, 4, generator=g), torch.tensor([1, 2, 3, 1, 2, 1, 2, 1])
    spans = [range(2), range(2, 5), range(5, 9)]
    for constrained in (True, False):
        for names, span in zip(
            bank.name(tokens, labels, constrained=constrained), spans, strict=True
        ):
            for m in range(8):
                cosines = sorted(
                    (
                        (float(F.cosine_similarity(tokens[m], bank.prototypes[e], dim=0)), e)
                        for e in range(6)
                        if int(predicates[e]) in span
                        and (not constrained or objects[e] == labels[m])
                    ),
                    reverse=True,
                )
                if not cosines:
                    assert int(names.predicate[m]) == -1
                    assert float(names.cosine[m]) == float(names.margin[m]) == 0.0
                    continue
                best = cosines[0]
                assert int(names.predicate[m]) == int(predicates[best[1]])
                assert int(names.object[m]) == int(objects[best[1]])
                assert float(names.cosine[m]) == pytest.approx(best[0], abs=1e-5)
                margin = best[0] - cosines[1][0] if len(cosines) > 1 else 0.0
                assert float(names.margin[m]) == pytest.approx(margin, abs=1e-5)


def test_empty_bank_returns_no_predicates_and_empty_input_returns_empty_names() -> None:
    empty = LabelBankBuilder(5, SIZES, 4).build()
    assert len(empty) == 0
    for names in empty.name(torch.randn(2, 4), torch.tensor([1, 2])):
        assert names.predicate.tolist() == [-1, -1]
    full = bank_of(random_batch(drawn_mask(1, 1, 4, 5)), torch.randn(1, 4, 5, 4))
    for names in full.name(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)):
        assert names.predicate.shape == names.margin.shape == (0,)


def test_inconsistent_bank_is_rejected() -> None:
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="label bank"):
        LabelBank(torch.zeros(2, 4), one, one, one, (2,))
    with pytest.raises(ValueError, match="predicates from 0 to 1 expected, got 5 to 5"):
        LabelBank(torch.zeros(1, 4), one, one + 4, one, (2,))
