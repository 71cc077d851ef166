from dataclasses import replace

import pytest
import torch

from model.token_scorer import TokenEdit, TokenScorer
from tests.model.batches import random_batch
from tests.model.test_laiar import PRESETS, drawn_mask, sequence_lengths, small


@pytest.mark.parametrize("discard", ["mask", "zero"])
@pytest.mark.parametrize("context", ["kept", "all"])
@pytest.mark.parametrize("preset", PRESETS)
def test_contribution_equals_logit_minus_logit_without_the_token(
    preset: str, context: str, discard: str
) -> None:
    model = small(preset, context=context, discard=discard)
    batch = random_batch(drawn_mask(5, 1, 4, 6))
    with torch.no_grad():
        output = model.recognize(batch, keep=batch.mask & drawn_mask(6, 1, 4, 6))
        kept = output.keep[0][batch.mask[0]]
        lengths = sequence_lengths(model)
        contributions = TokenScorer(model, batch).leave_one_out(kept)
        assert lengths == [int(output.num_kept) + 1 if discard == "mask" else 25]
        assert 2 <= int(output.keep.sum()) < int(batch.mask.sum())
        for i, (t, k) in enumerate(batch.mask[0].nonzero().tolist()):
            if not kept[i]:
                assert not contributions[i].any()
                continue
            keep = output.keep.clone()
            keep[0, t, k] = False
            lost = output.logits[0] - model.recognize(batch, keep=keep).logits[0]
            torch.testing.assert_close(contributions[i], lost, atol=1e-5, rtol=1e-5)
    assert contributions.abs().max() > 1e-3


@pytest.mark.parametrize("preset", PRESETS)
def test_subsets_have_the_scores_of_the_network_with_these_tokens_alone(preset: str) -> None:
    model, batch = small(preset), random_batch(drawn_mask(1, 1, 4, 6))
    scorer = TokenScorer(model, batch)
    sets = [[], [0], [3, 1], list(range(scorer.num_tokens))]
    scores = scorer.scores(scorer.subsets(sets))
    assert scores.dtype == torch.float64
    for tokens, ours in zip(sets, scores, strict=True):
        keep = torch.zeros_like(batch.mask)
        t, k = batch.mask[0].nonzero()[tokens].unbind(1)
        keep[0, t, k] = True
        with torch.no_grad():
            logits = model.recognize(batch, keep=keep).logits[0]
        torch.testing.assert_close(ours, logits.double().sigmoid(), atol=1e-5, rtol=1e-5)


def test_scores_of_many_subsets_are_those_of_each() -> None:
    model, batch = small(), random_batch(drawn_mask(1, 1, 4, 6))
    scorer = TokenScorer(model, batch)
    keep = torch.rand(300, scorer.num_tokens) < 0.5
    torch.testing.assert_close(
        scorer.logits(keep)[::50], torch.cat([scorer.logits(row[None]) for row in keep[::50]])
    )


def test_an_edit_changes_what_a_token_says_and_no_other_view() -> None:
    model, batch = small("plain"), random_batch(drawn_mask(1, 1, 4, 6))
    assert model.reader is None
    assert batch.predicates is not None
    scorer = TokenScorer(model, batch)
    keep = scorer.subsets([range(scorer.num_tokens)] * 3)
    old = batch.predicates[:2] >= 0.5
    same = TokenEdit(torch.tensor([0, 1]), old, old)
    other = TokenEdit(torch.tensor([0, 1]), ~old, old)
    plain = scorer.logits(keep)
    edited = scorer.logits(keep, [same, other, None])
    torch.testing.assert_close(edited[0], plain[0])
    torch.testing.assert_close(edited[2], plain[2])
    assert (edited[1] - plain[1]).abs().max() > 1e-4
    # Without reading, the token is v + s(new) - s(old).
    pairs = batch.pairs[:2]
    with torch.no_grad():
        shift = model.embed_labels(pairs, ~old) - model.embed_labels(pairs, old)
        tokens, _, grid = model.video_tokens(batch)
        t, k = batch.mask[0].nonzero()[:2].unbind(1)
        tokens = tokens.clone()
        tokens[0, t, k] += shift
        expected = model.score(tokens, grid, batch.mask)
        torch.testing.assert_close(edited[1:2], expected)
        # Without old predicates, it is s(new).
        tokens[0, t, k] = model.embed_labels(pairs, ~old)
        expected = model.score(tokens, grid, batch.mask)
        replaced = scorer.logits(keep[:1], [replace(other, old=None)])
        torch.testing.assert_close(replaced, expected)


def test_edits_of_an_edited_video_are_made_one_after_the_other() -> None:
    model, batch = small("strict"), random_batch(drawn_mask(1, 1, 3, 4))
    scorer, predicates = TokenScorer(model, batch), sum(model.semantic.group_sizes)
    keep = scorer.subsets([range(scorer.num_tokens)])
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.rand(2, predicates, generator=generator) < 0.5 for _ in range(3))
    tokens = torch.tensor([0, 2])
    plain = scorer.logits(keep)
    edited = scorer.with_edit(TokenEdit(tokens, b, a))
    torch.testing.assert_close(edited.logits(keep), scorer.logits(keep, [TokenEdit(tokens, b, a)]))
    both = edited.logits(keep, [TokenEdit(tokens, c, b)])
    torch.testing.assert_close(both, scorer.logits(keep, [TokenEdit(tokens, c, a)]))
    torch.testing.assert_close(edited.with_edit(TokenEdit(tokens, a, b)).logits(keep), plain)
    assert (edited.logits(keep) - plain).abs().max() > 1e-4
    assert torch.equal(scorer.logits(keep), plain)


def test_several_videos_are_rejected_and_a_video_may_have_no_tokens() -> None:
    model, batch = small(), random_batch(drawn_mask(0, 2, 3, 4))
    with torch.no_grad(), pytest.raises(ValueError, match="one video"):
        TokenScorer(model, batch)
    empty = random_batch(torch.zeros(1, 3, 0, dtype=torch.bool))
    with torch.no_grad():
        scorer = TokenScorer(model, empty)
        assert scorer.leave_one_out(torch.zeros(0, dtype=torch.bool)).shape == (0, 3)
        assert scorer.scores(scorer.subsets([[], []])).shape == (2, 3)
