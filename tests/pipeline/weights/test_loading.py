"""Tests that weights are loaded into networks, and that weights that do not fit are rejected."""

import re

import pytest
import torch
from torch import Tensor, nn

from pipeline.weights.loading import build_with_weights, load_state


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def weights() -> dict[str, Tensor]:
    made = network()
    made(torch.randn(8, 3))
    return made.state_dict()


COUNTER = "1.num_batches_tracked"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_all_tensors_and_counters_are_loaded(dtype: torch.dtype) -> None:
    state = {n: v if n == COUNTER else v.to(dtype) for n, v in weights().items()}
    loaded = build_with_weights(network, state)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name
        assert value.device.type == "cpu"
    assert int(loaded.state_dict()[COUNTER]) == 1


def test_counters_may_be_absent() -> None:
    state = weights()
    del state[COUNTER]
    loaded = network()
    loaded(torch.randn(8, 3))
    load_state(loaded, state)
    assert int(loaded.state_dict()[COUNTER]) == 1
    assert torch.equal(loaded.state_dict()["1.running_mean"], state["1.running_mean"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, "6 tensors expected, got 5; 1 missing, the first is '0.bias'"),
        ({"more": torch.zeros(1)}, "1 unexpected, the first is 'more'"),
        ({"2.num_batches_tracked": torch.tensor(1)}, "the first is '2.num_batches_tracked'"),
        ({"0.weight": torch.zeros(5, 3)}, "0.weight: shape (4, 3) expected, got (5, 3); "),
        ({"0.bias": torch.zeros(4, dtype=torch.int64)}, "0.bias: floating point numbers expected"),
        ({"0.bias": torch.full((4,), torch.nan)}, "0.bias: finite numbers of float32 expected"),
        (
            {"0.bias": torch.full((4,), 1e300, dtype=torch.float64)},
            "0.bias: finite numbers of float32 expected",
        ),
        (
            {"1.running_var": -torch.ones(4)},
            "1.running_var: variances of at least 0 expected, got -1",
        ),
        ({COUNTER: torch.tensor([1, 2])}, f"{COUNTER}: shape () expected, got (2,)"),
        ({COUNTER: torch.tensor(1.5)}, f"{COUNTER}: torch.int64 expected, got torch.float32"),
    ],
)
def test_weights_that_do_not_fit_leave_the_network_unchanged(
    change: dict[str, Tensor | None], message: str
) -> None:
    state = {n: v for n, v in (weights() | change).items() if v is not None}
    made = network()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    for load in (
        lambda: load_state(made, state),
        lambda: load_state(made, state, only_check=True),
        lambda: build_with_weights(network, state),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            load()
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_weights_of_another_size_are_rejected_before_memory_is_allocated() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 1 << 50), nn.BatchNorm1d(4))

    with pytest.raises(ValueError, match=r"0\.weight: shape \(1125899906842624, 3\) expected"):
        build_with_weights(build, weights())
