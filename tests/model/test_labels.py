import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from model.labels import LabelReader, TokenLabels
from tests.model.batches import random_batch
from tests.model.test_laiar import drawn_mask, small


def test_labels_are_the_distinct_rows_with_their_counts() -> None:
    g = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, 2, (60, 2), generator=g)
    said = torch.rand(60, 3, generator=g) < 0.4
    rows = [(*p, *map(bool, s)) for p, s in zip(pairs.tolist(), said.tolist(), strict=True)]
    known = Counter(rows)
    for least in (1, 3, 1000):
        often = {row: n for row, n in known.items() if n >= least} or known
        labels = TokenLabels.of_tokens(pairs, said, least=least)
        found = zip(labels.pairs.tolist(), labels.predicates.tolist(), labels.counts, strict=True)
        assert {(*p, *s): int(n) for p, s, n in found} == often
        named = labels.with_predicates()
        assert len(named) == sum(any(row[2:]) for row in often)
        assert bool(named.predicates.any(1).all())
    assert len(TokenLabels.of_tokens(pairs[:0], said[:0])) == 0
    with pytest.raises(ValueError, match="labels"):
        TokenLabels(pairs, said[:5], pairs[:, 0])
    with pytest.raises(ValueError, match="labels"):
        TokenLabels(pairs[:, :1], said, pairs[:, 0])


def test_index_finds_the_label_of_each_token() -> None:
    g = torch.Generator().manual_seed(0)
    pairs, said = torch.randint(0, 2, (60, 2), generator=g), torch.rand(60, 3, generator=g) < 0.4
    labels = TokenLabels.of_tokens(pairs, said, least=3)
    reader = LabelReader(len(labels), 3)
    reader.set_labels(labels)
    known = list(zip(labels.pairs.tolist(), labels.predicates.tolist(), strict=True))
    rows = list(zip(pairs.tolist(), said.tolist(), strict=True))
    expected = [known.index(row) if row in known else -1 for row in rows]
    assert -1 in expected
    assert reader.index(pairs, said).tolist() == expected
    assert LabelReader(0, 3).index(pairs, said).tolist() == [-1] * 60
    assert reader.index(pairs[:0], said[:0]).tolist() == []


def test_weights_of_labels_balance_rare_ones() -> None:
    pairs = torch.tensor([[0, 1]] * 13)
    said = torch.tensor([[True, False]] * 9 + [[False, True]] * 4)
    labels = TokenLabels.of_tokens(pairs, said)
    reader = LabelReader(2, 2)
    assert reader.weights.tolist() == [1.0, 1.0]
    reader.set_labels(labels)
    found = dict(zip(labels.counts.tolist(), reader.weights.tolist(), strict=True))
    assert found[4] / found[9] == pytest.approx(1.5)
    assert 4 * found[4] + 9 * found[9] == pytest.approx(13)
    assert "weights" not in reader.state_dict()


def test_reading_equals_plain_loops() -> None:
    g = torch.Generator().manual_seed(1)
    pairs = torch.tensor([[0, 1], [0, 1], [0, 2], [3, 1]])
    said = torch.rand(4, 3, generator=g) < 0.5
    said[1] = False
    reader = LabelReader(4, 3)
    reader.set_labels(TokenLabels(pairs, said, torch.ones(4, dtype=torch.int64)))
    visual = torch.randn(5, 6, generator=g)
    classes = torch.tensor([[0, 1], [0, 2], [3, 1], [0, 4], [0, 1]])
    embeddings, tokens = torch.randn(2, 4, 6, generator=g)
    read, says = reader(visual, classes, embeddings, tokens, torch.tensor(1.5))
    for i in range(5):
        own = [e for e in range(4) if torch.equal(pairs[e], classes[i])] or list(range(4))
        cosines = [float(F.cosine_similarity(visual[i], embeddings[e], dim=0)) for e in own]
        weights = [math.exp(math.exp(1.5) * c) for c in cosines]
        wanted = sum(w * tokens[e] for w, e in zip(weights, own, strict=True)) / sum(weights)
        torch.testing.assert_close(read[i], wanted, atol=1e-5, rtol=1e-5)
        weight = sum(w for w, e in zip(weights, own, strict=True) if bool(said[e].any()))
        assert bool(says[i]) == (weight / sum(weights) > 0.5)
    torch.testing.assert_close(read[1], tokens[2])  # the only label of these classes
    torch.testing.assert_close(read[2], tokens[3])


def test_tokens_that_look_alike_are_read_as_their_label() -> None:
    model, batch = small(decided=False), random_batch(drawn_mask(0, 2, 3, 4))
    assert model.reader is not None
    with torch.no_grad():
        labels = model.embed_labels(model.reader.pairs, model.reader.predicates)
        keys = torch.randn_like(labels)
        read, says = model.reader(keys * 2, model.reader.pairs, keys, labels, torch.tensor(20.0))
        torch.testing.assert_close(read, labels, atol=0.05, rtol=0.0)
        assert torch.equal(says, model.reader.predicates.any(1))
        tokens, visual, _ = model.video_tokens(batch)
    assert not torch.equal(tokens, visual)
    assert not bool(tokens[~batch.mask].any())
    # Prototypes of labels equal the embeddings of tokens with these labels.
    language = random_batch(torch.ones(1, 1, len(labels), dtype=torch.bool))
    language.human_labels[:], language.object_labels[:] = model.reader.pairs.T
    assert language.predicates is not None
    language.predicates[:] = model.reader.predicates.float()
    with torch.no_grad():
        embeddings = model.read_relations(language).embeddings[0, 0]
    torch.testing.assert_close(embeddings, labels)


def test_a_label_is_the_same_token_in_both_branches() -> None:
    model = small(decided=False)
    assert model.reader is not None
    pairs, predicates = model.reader.pairs, model.reader.predicates
    assert int(pairs[:, 0].max()) == 1  # also humans of other classes than object class 0
    language = random_batch(torch.ones(1, 1, len(pairs), dtype=torch.bool))
    language.human_labels[:], language.object_labels[:] = pairs.T
    assert language.predicates is not None
    language.predicates[:] = predicates.float()
    with torch.no_grad():
        model.log_scale.fill_(math.log(100))
        seen, _ = model.read_tokens(model.embed_labels(pairs, predicates), pairs)
        said, _ = model._language_tokens(language)
    nearest = torch.cdist(seen, said[0, 0]).argmin(1)
    assert torch.equal(pairs[nearest], pairs)
    assert torch.equal(predicates[nearest], predicates)


def test_reading_is_computed_in_float32_under_autocast() -> None:
    reader = LabelReader(3, 2)
    visual = torch.tensor([[1.0, 0.003, 0.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [1.0, -0.1, 0.0]])
    inputs = (visual, torch.zeros(1, 2).long(), labels, torch.eye(3), torch.tensor(4.6))
    plain, _ = reader(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(reader(*inputs)[0], plain)
    assert float(plain[0, 1] / plain[0, 2]) > 1.01  # equal in bfloat16


def test_reader_without_labels_returns_zeros_and_rejects_unknown_object_classes() -> None:
    reader = LabelReader(0, 3)
    read, says = reader(
        torch.randn(2, 4), torch.ones(2, 2).long(), *torch.zeros(2, 0, 4), torch.tensor(0.0)
    )
    assert not bool(read.any())
    assert bool(says.all())
    reader.check(1)
    with pytest.raises(RuntimeError, match="size mismatch"):
        reader.set_labels(TokenLabels.of_tokens(torch.ones(1, 2).long(), torch.ones(1, 3).bool()))
    reader = LabelReader(1, 3)
    reader.pairs[0] = torch.tensor([7, 3])
    reader.check(8)
    with pytest.raises(ValueError, match="0 to 6 expected, got 3 to 7"):
        reader.check(7)


def test_labels_alone_train_the_layers_that_both_branches_share() -> None:
    model, batch = small(decided=False), random_batch(drawn_mask(0, 2, 3, 4))
    subset, joint, rest = model.parts()
    assert model.former.subset is not None
    assert subset == [*model.former.subset.parameters()]
    assert [*map(id, model.parameters())] == sorted(
        map(id, subset + joint + rest), key=[*map(id, model.parameters())].index
    )

    def trained(parameters: list[torch.nn.Parameter]) -> bool:
        return any(p.grad is not None and bool(p.grad.any()) for p in parameters)

    outputs = model(batch, keep=batch.mask)
    assert outputs.video.logits.grad_fn is None
    outputs.video.mimic_logits.sum().backward()
    assert model.mimic_head is not None
    others = [p for p in rest if not any(p is q for q in model.mimic_head.parameters())]
    assert trained(rest)
    assert not trained(joint)
    assert not trained(others)
    outputs.language.logits.sum().backward()
    assert trained(others)
    assert not trained(joint)
    outputs = model(batch, keep=batch.mask)
    (outputs.video.embeddings * outputs.language.embeddings).sum().backward()
    assert trained(joint)


def test_tokens_without_predicates_are_treated_as_padding() -> None:
    model, batch = small(decided=False), random_batch(drawn_mask(0, 2, 3, 4))
    assert model.reader is not None
    assert batch.predicates is not None
    model.reader.predicates[::2] = False
    batch.predicates[::3] = 0.0
    with torch.no_grad():
        _, _, grid = model.video_tokens(batch)
        video, language = model.recognize(batch), model.read_relations(batch)
        silent = batch.mask & ~grid.mask
        assert bool(silent.any())
        assert bool(grid.mask.any())
        assert not bool((video.keep & silent).any())
        assert torch.equal(language.keep[batch.mask], batch.predicates.any(1))
        assert bool(video.embeddings[silent].any())  # they are embedded in the joint space
        alone = model.recognize(batch, keep=grid.mask, gather=True)
        torch.testing.assert_close(alone.logits, video.logits, atol=1e-5, rtol=1e-5)
