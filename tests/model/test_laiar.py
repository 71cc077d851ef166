from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from model.build import build_laiar
from model.labels import TokenLabels
from model.laiar import LaIAR
from model.losses import loss_action_multi
from model.selector import frame_means
from model.settings import LaIARSettings
from model.tokens import TokenBatch
from tests.model.batches import GROUPS, random_batch

#: Options of a network without anything that the presets add to the equations of the paper.
PLAIN = {
    "context": "kept",
    "positions": "time",
    "encoder": "linear",
    "transitions": False,
    "votes": False,
    "reading": False,
    "selector": "gumbel",
}
PRESETS = ["strict", "paper", "plain"]


def small(preset: str = "strict", *, decided: bool = True, **changes: object) -> LaIAR:
    """Return a small network in eval mode.

    If `decided` is True, it keeps about half of the tokens.
    """
    torch.manual_seed(0)
    changes = (PLAIN if preset == "plain" else {}) | changes
    base = LaIARSettings(
        "paper" if preset == "paper" else "strict",
        num_frames=4,
        max_pairs=6,
        dim=16,
        layers=2,
        heads=2,
        part_width=8,
        union_width=4,
    )
    made = build_laiar(
        num_classes=3,
        num_objects=5,
        group_sizes=GROUPS,
        box_features=12,
        union_channels=6,
        settings=replace(base, **changes),  # type: ignore[arg-type]
        num_labels=40,
    ).eval()
    if made.reader is not None:
        every = random_batch(torch.ones(1, 10, 4, dtype=torch.bool), seed=-2)
        assert every.predicates is not None
        made.reader.set_labels(TokenLabels.of_tokens(every.pairs, every.predicates > 0.5))
    if decided:
        decide(made)
    return made


@torch.no_grad()
def decide(model: LaIAR) -> None:
    """Make the output of the selectors depend on the tokens, with the median at the threshold."""
    former, batch = model.former, random_batch(torch.ones(4, 4, 6, dtype=torch.bool), seed=-1)
    x, _, _ = model.video_tokens(batch)
    encoder = model.token_encoder or model.visual_encoder
    assert encoder is not None
    if model.settings.context == "all":
        x = encoder.with_context(x, batch.mask)
    if former.subset is not None:
        subset, last = former.subset, former.subset.mlp[-1]
        torch.nn.init.normal_(last.get_parameter("weight"), std=1.0)
        last.get_parameter("bias").sub_(subset(x, batch.grid)[batch.mask].median())
        return
    assert former.temporal is not None
    assert former.spatial is not None
    x = former.add_position(x, batch.grid)
    inputs = {former.temporal: frame_means(x, batch.mask), former.spatial: x}
    for selector, tokens in inputs.items():
        torch.nn.init.normal_(selector.token.weight, std=1.0)
        torch.nn.init.normal_(selector.mlp[-1].get_parameter("weight"), std=1.0)
        _, probability = selector(tokens, former.class_token)
        selector.mlp[-1].get_parameter("bias")[0] -= probability.logit().median()


def drawn_mask(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def video(batch: TokenBatch, b: int) -> TokenBatch:
    """Return a batch that contains only video b."""
    inside = torch.zeros_like(batch.mask)
    inside[b] = True
    alone = batch.only(inside)
    return replace(alone, mask=alone.mask[b : b + 1])


seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("preset", PRESETS)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_padding_and_batch_size_do_not_change_logits(preset: str, seed: int) -> None:
    model, batch = small(preset), random_batch(drawn_mask(seed, 3, 3, 4), seed)
    wide = torch.zeros(3, 4, 6, dtype=torch.bool)
    wide[:, :3, :4] = batch.mask
    with torch.no_grad():
        logits = model.recognize(batch).logits
        padded = model.recognize(replace(batch, mask=wide)).logits
        alone = torch.cat([model.recognize(video(batch, b)).logits for b in range(3)])
    torch.testing.assert_close(padded, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, logits, atol=1e-5, rtol=1e-5)


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_order_of_pairs_in_a_frame_does_not_change_logits(seed: int) -> None:
    model, mask = small(), torch.ones(1, 3, 4, dtype=torch.bool)
    batch = random_batch(mask, seed)
    g = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(4, generator=g) + 4 * t for t in range(3)])
    turned = {n: v[order] for n, v in vars(batch).items() if n != "mask" and v is not None}
    with torch.no_grad():
        one, two = model.recognize(batch), model.recognize(replace(batch, **turned))
    torch.testing.assert_close(one.logits, two.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(one.keep.flatten()[order], two.keep.flatten())


def sequence_lengths(model: LaIAR) -> list[int]:
    """Return a list to which each forward pass appends the transformer's sequence length."""
    lengths: list[int] = []
    model.former.encoder.register_forward_pre_hook(lambda _, x: lengths.append(x[0].shape[1]))
    return lengths


@torch.no_grad()
def keep_nothing(model: LaIAR) -> None:
    for selector in (model.former.subset, model.former.spatial):
        if selector is not None:
            selector.mlp[-1].get_parameter("bias")[0] = -1e4
    model.former.settings = replace(model.former.settings, tolerance=1000.0)


@pytest.mark.parametrize("discard", ["mask", "zero"])
@pytest.mark.parametrize("context", ["none", "kept", "all"])
@pytest.mark.parametrize("preset", PRESETS)
@given(seed=seeds, K=st.integers(0, 4), share=st.sampled_from([0.0, 0.2, 0.6, 1.0]))
@settings(max_examples=12, deadline=None)
def test_gathering_equals_masking(
    preset: str, context: str, discard: str, seed: int, K: int, share: float
) -> None:
    model = small(preset, context=context, discard=discard)
    lengths, g = sequence_lengths(model), torch.Generator().manual_seed(seed)
    mask = torch.rand(3, 3, K, generator=g) < share
    mask[0] = False  # a video without a token
    batch, given_keep = random_batch(mask, seed), torch.rand(3, 3, K, generator=g) < 0.5
    given_keep[1] = False  # an empty selection
    outputs, last = [], []
    for words in ({}, {"gather": True}, {"keep": given_keep}, {"keep": given_keep, "gather": True}):
        with torch.no_grad():
            outputs.append(model.recognize(batch, **words))
        last.append(lengths[-1])  # a selection that preserves the prediction takes more passes
    masked, gathered, held, removed = outputs
    for name, value in vars(masked).items():
        torch.testing.assert_close(getattr(gathered, name), value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(removed.logits, held.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(removed.keep, held.keep)
    kept = held.keep
    torch.testing.assert_close(
        removed.embeddings[kept], held.embeddings[kept], atol=1e-5, rtol=1e-5
    )
    most = [1 + int(output.num_kept.max()) for output in (gathered, removed)]
    real = int(batch.mask.sum((1, 2)).max())
    full = 1 + (real if discard == "mask" else 3 * K)
    assert last == [full, *([most[0], full, most[1]] if discard == "mask" else [full] * 3)]


@pytest.mark.parametrize("context", ["none", "kept", "all"])
def test_gathering_computes_features_once(context: str) -> None:
    preset = "plain" if context == "all" else "strict"
    model = small(preset, context=context)
    batch = random_batch(torch.ones(2, 3, 4, dtype=torch.bool))
    lengths, calls = sequence_lengths(model), []
    assert model.visual is not None
    model.visual.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        output = model.recognize(batch, gather=True)
    assert calls == [1]
    assert 0 < int(output.num_kept.max()) < 12
    assert lengths[-1] == 1 + int(output.num_kept.max())
    # The transformer alone is run again to check that the selection preserves the prediction.
    assert len(lengths) == 1 if context == "all" else 3 <= len(lengths) <= 7
    assert bool((output.embeddings != 0).any(3).all())


@pytest.mark.parametrize("preset", PRESETS)
def test_gathering_equals_masking_if_no_token_is_kept(preset: str) -> None:
    model, batch = small(preset, discard="mask"), random_batch(drawn_mask(0, 2, 3, 4))
    keep_nothing(model)
    lengths = sequence_lengths(model)
    with torch.no_grad():
        masked = model.recognize(batch)
        assert lengths[-1] == 1 + int(batch.mask.sum((1, 2)).max())
        gathered = model.recognize(batch, gather=True)
    assert lengths[-1] == 1
    assert not bool(gathered.keep.any())
    torch.testing.assert_close(gathered.logits, masked.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gathered.embeddings, masked.embeddings, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("K", [0, 2])
def test_disabled_selectors_keep_every_frame_and_real_token(K: int) -> None:
    model = small(temporal_selection=False, spatial_selection=False)
    batch = random_batch(drawn_mask(0, 2, 3, K))
    with torch.no_grad():
        output = model.recognize(batch, gather=True)
    assert bool(output.keep_temporal.all())
    assert torch.equal(output.keep, batch.mask)
    assert torch.equal(output.keep_probability, batch.mask.float())


def with_other_discarded(batch: TokenBatch, keep: Tensor, seed: int) -> TokenBatch:
    """Replace discarded tokens by random ones and add two slots of discarded tokens."""
    B, T, K = batch.mask.shape
    wide = torch.zeros(B, T, K + 2, dtype=torch.bool)
    wide[:, :, :K] = batch.mask
    wide[:, :, K:] = True
    other = random_batch(wide, seed + 1)
    kept = torch.zeros_like(wide)
    kept[:, :, :K] = keep
    rows, source = kept[wide], keep[batch.mask]
    changed = {}
    for name, value in vars(other).items():
        if name != "mask" and value is not None:
            new = value * 1e4 if value.is_floating_point() else value.clone()
            new[rows] = getattr(batch, name)[source]
            changed[name] = new
    return replace(other, **changed)


@pytest.mark.parametrize("preset", ["strict", "plain"])
@given(seed=seeds, count=st.sampled_from([1, 2]), T=st.integers(1, 4), K=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_strict_logits_do_not_depend_on_discarded_tokens(
    preset: str, seed: int, count: int, T: int, K: int
) -> None:
    model, batch = small(preset), random_batch(drawn_mask(seed, count, T, K), seed)
    keep = batch.mask & drawn_mask(seed + 2, count, T, K)
    other = with_other_discarded(batch, keep, seed)
    wide = F.pad(keep, (0, 2))
    with torch.no_grad():
        masked = model.recognize(batch, keep=keep).logits
        torch.testing.assert_close(
            model.recognize(other, keep=wide).logits, masked, atol=1e-5, rtol=1e-5
        )
        if count == 1:
            gathered = model.recognize(batch, keep=keep, gather=True).logits
            again = model.recognize(other, keep=wide, gather=True).logits
            torch.testing.assert_close(again, gathered, atol=1e-5, rtol=1e-5)
            if preset == "strict":
                assert torch.equal(again, gathered)


def test_paper_logits_depend_on_discarded_tokens() -> None:
    model, batch = small("paper"), random_batch(torch.ones(1, 3, 4, dtype=torch.bool))
    keep = torch.zeros_like(batch.mask)
    keep[:, 0] = True
    other = with_other_discarded(batch, keep, 0)
    with torch.no_grad():
        one = model.recognize(batch, keep=keep).logits
        two = model.recognize(other, keep=F.pad(keep, (0, 2))).logits
    assert float((one - two).abs().max()) > 1e-3


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(2, 3, 0), (2, 1, 1), (1, 4, 2)])
def test_logits_and_gradients_are_finite_without_real_or_kept_tokens(
    preset: str, shape: tuple[int, ...]
) -> None:
    model = small(preset).train()
    outputs = model(random_batch(torch.zeros(shape, dtype=torch.bool)))
    assert not bool(outputs.video.num_kept.any())
    (outputs.video.logits.sum() + outputs.language.logits.sum()).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    batch = random_batch(torch.ones(1, 2, 2, dtype=torch.bool))
    none = model.eval().recognize(batch, keep=torch.zeros_like(batch.mask))
    assert not bool(none.num_kept.any())
    assert bool(torch.isfinite(none.logits).all())


@pytest.mark.parametrize("preset", PRESETS)
def test_selectors_get_gradients(preset: str) -> None:
    model = small(preset).train()
    batch = random_batch(torch.ones(2, 3, 4, dtype=torch.bool))
    outputs = model(batch, price=0.1)
    selectors: list[nn.Module | None] = [model.former.subset]
    if model.former.subset is None:
        assert outputs.selection is None
        trained = outputs.language if model.reader else outputs.video  # see LaIAR.recognize
        trained.logits.square().sum().backward()
        selectors = [model.former.temporal, model.former.spatial]
    else:
        outputs.selection.backward()
        own = {*model.former.subset.parameters()}
        assert all(p.grad is None for p in model.parameters() if p not in own)
        assert 0 < outputs.drawn < 12
    for selector in selectors:
        assert selector is not None
        assert all(bool(p.grad.any()) for p in selector.parameters() if p.grad is not None)
        assert any(p.grad is not None for p in selector.parameters())


def test_settings_take_effect_and_invalid_inputs_are_rejected() -> None:
    assert small().language_former is None
    assert small(shared_transformer=False).language_former is None  # reading shares it
    assert small(shared_transformer=False, reading=False).language_former is not None
    assert small("paper").settings.discard == "zero"
    assert small("paper", discard="mask").settings.discard == "mask"
    with pytest.raises(ValueError, match="none or all or kept"):
        LaIARSettings(context="some")
    with pytest.raises(ValueError, match="at most 4 frames"):
        small("paper").recognize(random_batch(torch.ones(1, 5, 1, dtype=torch.bool)))


@pytest.mark.parametrize("preset", PRESETS)
def test_training_overfits_eight_videos(preset: str) -> None:
    # Reading without L_sim leaves little of random features, so that it is switched off.
    model = small(preset, decided=False, dropout=0.0, dim=32, reading=False).train()
    batch = random_batch(torch.ones(8, 3, 2, dtype=torch.bool))
    labels = (torch.rand(8, 3, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    for _ in range(120):
        loss = loss_action_multi(model.recognize(batch).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    scores = model.eval().recognize(batch).logits.detach().numpy()
    assert average_precision_score(labels.numpy(), scores) > 0.99


@pytest.mark.parametrize("preset", PRESETS)
def test_excerpts_are_read_as_if_they_had_no_other_token(preset: str) -> None:
    model, batch = small(preset), random_batch(drawn_mask(0, 2, 4, 5))
    excerpts = torch.stack([drawn_mask(seed, 2, 4, 5) for seed in range(3)])
    excerpts[1] = False  # an excerpt without tokens
    with torch.no_grad():
        found = model(batch, keep=batch.mask, excerpts=excerpts).excerpts
        assert found.shape == (3, 2, 3)
        for keep, logits in zip(excerpts, found, strict=True):
            alone = batch.only(keep)
            expected = model.read_relations(alone, keep=alone.mask, gather=True).logits
            torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        assert model(batch, keep=batch.mask).excerpts is None
