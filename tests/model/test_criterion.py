import pytest
import torch

from model.criterion import CriterionSettings, LaIARCriterion
from model.losses import (
    loss_action_multi,
    loss_reading,
    loss_similarity,
    loss_token_selection,
)
from tests.model.batches import random_batch
from tests.model.test_laiar import drawn_mask, small

LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("reading", [True, False])
def test_terms_equal_eq_11_with_its_weights(reading: bool) -> None:
    selector = "subset" if reading else "gumbel"
    model = small(reading=reading, selector=selector)
    batch = random_batch(drawn_mask(0, 2, 3, 4))
    assert batch.predicates is not None
    if model.reader is not None:  # only a third of the tokens have labels that the reader knows
        model.reader.pairs[::3][:5] = batch.pairs[::3]
        model.reader.predicates[::3][:5] = batch.predicates[::3] >= 0.5
    outputs = model(batch)
    criterion = LaIARCriterion(CriterionSettings(similarity=0.3, selection=2.0, cross_modal=0.5))
    terms = criterion(outputs, LABELS, batch, model.log_scale)
    assert list(terms) == ["video", "language", "similarity", "selection", "cross_modal"]
    video, language = outputs.video, outputs.language
    torch.testing.assert_close(terms["video"], loss_action_multi(video.logits, LABELS))
    torch.testing.assert_close(terms["language"], loss_action_multi(language.logits, LABELS))
    visual = video.embeddings[batch.mask]
    similarity = loss_similarity(visual, language.embeddings[batch.mask], model.log_scale)
    if model.reader is not None:
        index = model.reader.index(batch.pairs, batch.predicates >= 0.5)
        assert 5 <= int((index >= 0).sum()) < len(index)
        labels = model.embed_labels(model.reader.pairs, model.reader.predicates)
        similarity = loss_reading(visual, labels, index, model.log_scale)
    torch.testing.assert_close(terms["similarity"], 0.3 * similarity)
    if model.settings.selector == "gumbel":
        selection = loss_token_selection(video.keep_gate, language.keep_gate, batch.mask)
        torch.testing.assert_close(terms["selection"], 2.0 * selection)
    else:
        assert float(terms["selection"]) == 0
        outputs = model(batch, price=0.1)
        terms = criterion(outputs, LABELS, batch, model.log_scale)
        assert terms["selection"] is outputs.selection
        assert bool(terms["selection"].requires_grad)
    p, q = language.logits.sigmoid(), video.mimic_logits.sigmoid()
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(terms["cross_modal"], 0.5 * divergence.mean())


def test_multi_positive_excludes_equal_triplets_from_the_negatives() -> None:
    model, batch = small(reading=False), random_batch(torch.ones(2, 3, 4, dtype=torch.bool))
    for value in (batch.human_labels, batch.object_labels, batch.predicates):
        assert value is not None
        value[:] = value[0]
    outputs = model(batch)
    settings = CriterionSettings(multi_positive=True)
    terms = LaIARCriterion(settings)(outputs, LABELS, batch, model.log_scale)
    assert float(terms["similarity"].detach()) == pytest.approx(0.0, abs=1e-6)
    plain = LaIARCriterion(CriterionSettings())(outputs, LABELS, batch, model.log_scale)
    assert float(plain["similarity"].detach()) > 0.01


def test_single_action_loss_is_cross_entropy_and_the_language_branch_is_optional() -> None:
    model, batch = small(), random_batch(drawn_mask(0, 2, 3, 4))
    labels, settings = torch.tensor([2, 0]), CriterionSettings(multi_label=False)
    terms = LaIARCriterion(settings)(model(batch), labels, batch, model.log_scale)
    video = model(batch).video
    by_hand = -video.logits.log_softmax(1)[[0, 1], [2, 0]].mean()
    torch.testing.assert_close(terms["video"], by_hand)
    silent = type(batch)(**(vars(batch) | {"predicates": None}))
    terms = LaIARCriterion(settings)(model(silent), labels, silent, model.log_scale)
    assert list(terms) == ["video"]


def test_excerpt_loss_is_the_mean_over_excerpts_of_known_labels() -> None:
    torch.manual_seed(0)
    unknown = float("nan")
    labels = [torch.tensor([[1.0, unknown]]), torch.tensor([[0.0, 1.0]])]
    logits = [torch.randn(1, 2) for _ in labels]
    criterion = LaIARCriterion(CriterionSettings(excerpts=0.5, reduction="sum"))
    p = [row[0].sigmoid() for row in logits]
    first, second = -p[0][0].log(), -(1 - p[1][0]).log() - p[1][1].log()
    expected = 0.5 * (first + second) / 2
    torch.testing.assert_close(criterion.excerpt_loss(logits, labels), expected)


@pytest.mark.parametrize(
    "changes", [{"reduction": "max"}, {"similarity": -1.0}, {"excerpts": -1.0}]
)
def test_invalid_settings_are_rejected(changes: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        CriterionSettings(**changes)


def test_balanced_labels_weight_the_tokens_of_rare_labels() -> None:
    model, batch = small(), random_batch(drawn_mask(0, 2, 3, 4))
    assert model.reader is not None
    model.reader.pairs[::3][:5] = batch.pairs[::3]
    assert batch.predicates is not None
    model.reader.predicates[::3][:5] = batch.predicates[::3] >= 0.5
    model.reader.weights.copy_(torch.rand(len(model.reader.weights)))
    outputs = model(batch)
    found = []
    for balanced in (False, True):
        criterion = LaIARCriterion(CriterionSettings(balanced_labels=balanced))
        found.append(criterion(outputs, LABELS, batch, model.log_scale)["similarity"])
    targets = outputs.targets
    visual = outputs.video.embeddings[batch.mask]
    weighted = loss_reading(
        visual, targets.embeddings, targets.index, model.log_scale, model.reader.weights
    )
    torch.testing.assert_close(found[1], 0.1 * weighted)
    assert not torch.allclose(found[0], found[1])
