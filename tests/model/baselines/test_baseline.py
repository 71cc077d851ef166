from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from model.criterion import CriterionSettings, LaIARCriterion
from model.settings import LaIARSettings
from model.tokens import TokenBatch
from tests.model.baselines.networks import small
from tests.model.batches import random_batch

NETWORKS = ("transformer", "graph")


def holes(seed: int = 0) -> TokenBatch:
    """Return three videos with padding anywhere, the last one without tokens."""
    mask = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[2] = False
    return random_batch(mask, seed)


def rows_in_order(batch: TokenBatch, mask: Tensor, rows: Tensor) -> TokenBatch:
    """Return a batch with another mask, whose tokens are some rows of a batch."""
    packed = {n: v[rows] for n, v in vars(batch).items() if v is not None and n != "mask"}
    return replace(batch, mask=mask, **packed)


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_do_not_depend_on_padding(network: str) -> None:
    model, batch = small(network), holes()
    logits = model.recognize(batch).logits
    wide = torch.zeros(3, 7, 6, dtype=torch.bool)
    wide[:, :4, :3] = batch.mask
    torch.testing.assert_close(model.recognize(replace(batch, mask=wide)).logits, logits)
    video = batch.mask.nonzero()[:, 0]
    for b in range(3):
        alone = rows_in_order(batch, batch.mask[b : b + 1], (video == b).nonzero()[:, 0])
        torch.testing.assert_close(model.recognize(alone).logits[0], logits[b])
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_do_not_depend_on_the_order_of_slots(network: str) -> None:
    model, batch = small(network), holes(1)
    slots = torch.full(batch.mask.shape, -1)
    slots[batch.mask] = torch.arange(len(batch.tracks))
    slots = slots[:, :, [2, 0, 1]]
    moved = rows_in_order(batch, slots >= 0, slots[slots >= 0])
    assert not torch.equal(moved.mask, batch.mask)
    torch.testing.assert_close(model.recognize(moved).logits, model.recognize(batch).logits)


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_depend_on_the_times_of_frames(network: str) -> None:
    model = small(network)
    batch = random_batch(torch.ones(2, 3, 2, dtype=torch.bool))
    mirrored = replace(batch, times_s=0.8 - batch.times_s)
    logits = [model.recognize(each).logits.detach() for each in (batch, mirrored)]
    assert float((logits[0] - logits[1]).abs().min()) > 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_every_token_is_kept_and_given_tokens_are_the_only_ones_used(network: str) -> None:
    model, batch = small(network), holes(2)
    output = model.recognize(batch)
    assert torch.equal(output.keep, batch.mask)
    assert torch.equal(output.usable, batch.mask)
    assert torch.equal(output.keep_probability, batch.mask.float())
    assert output.num_kept.tolist() == batch.mask.sum((1, 2)).tolist()
    keep = batch.mask & (torch.rand(batch.mask.shape) < 0.5)
    some = model.recognize(batch, keep=keep, gather=True)
    assert torch.equal(some.keep, keep)
    torch.testing.assert_close(some.logits, model.recognize(batch.only(keep)).logits)
    with pytest.raises(ValueError, match=f"language branch expected, got network={network}"):
        model.read_relations(batch)


@pytest.mark.parametrize("network", NETWORKS)
def test_loss_consists_of_l_v_and_trains_every_parameter(network: str) -> None:
    model, batch = small(network, dropout=0.0, class_embeddings=True).train(), holes(3)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
    weights = CriterionSettings(similarity=5.0, selection=5.0, cross_modal=5.0)
    terms = LaIARCriterion(weights)(model(batch), labels, batch, model.log_scale)
    assert terms.keys() == {"video"}
    expected = nn.functional.binary_cross_entropy_with_logits(model.recognize(batch).logits, labels)
    torch.testing.assert_close(terms["video"], expected)
    terms["video"].backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert bool(torch.isfinite(value.grad).all()), name
    assert model.parts() == [list(model.parameters())]
    assert not model.compares_tokens


@pytest.mark.parametrize(("dim", "ratio", "layers"), [(64, 4.0, 2), (128, 2.0, 3)])
def test_graph_has_as_many_parameters_as_the_transformer(
    dim: int, ratio: float, layers: int
) -> None:
    sizes = {}
    for network in NETWORKS:
        model = small(network, dim=dim, mlp_ratio=ratio, layers=layers)
        sizes[network] = sum(p.numel() for p in model.pooling.parameters())
    assert sizes["graph"] == pytest.approx(sizes["transformer"], rel=0.03)


def test_settings_of_a_baseline_are_fixed_and_contradictions_are_rejected() -> None:
    for preset, encoder in (("strict", "mlp"), ("paper", "linear")):
        settings = LaIARSettings(preset, network="graph").resolved()
        found = (settings.context, settings.discard, settings.positions)
        assert found == ("none", "mask", "seconds")
        assert not any((settings.transitions, settings.votes, settings.reading, settings.selects))
        assert settings.encoder == encoder
        assert settings.resolved() == settings
    with pytest.raises(ValueError, match="laiar or transformer or graph expected, got 'gcn'"):
        LaIARSettings(network="gcn")
    with pytest.raises(ValueError, match="reading: no value or False expected with network=graph"):
        LaIARSettings(network="graph", reading=True)
