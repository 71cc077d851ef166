"""Tests of the readers of checkpoints and tensor pickles of other projects."""

import argparse
import collections
import os
import pathlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import UsageError
from pipeline.weights.checkpoints import WRAPPERS, read_checkpoint
from pipeline.weights.torch_files import load_tensor_pickle

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.tensor([-1.0, 2.0])}


class Hostile:
    """Object whose unpickling creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def renamed(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in STATE.items()}


def assert_reads_state(path: Path) -> None:
    found = read_checkpoint(path)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("key", WRAPPERS)
def test_weights_are_found_under_each_key(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: STATE, "optimizer": {"state": {}}}, tmp_path / "a.pth")
    assert_reads_state(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "net.", "module.model.", "model.module.", "_orig_mod."]
)
def test_prefixes_are_removed_if_all_names_have_them(tmp_path: Path, prefix: str) -> None:
    torch.save({"state_dict": {"model": renamed(prefix)}}, tmp_path / "a.pth")
    assert_reads_state(tmp_path / "a.pth")
    torch.save(renamed("module.") | {"head": torch.zeros(1)}, tmp_path / "b.pth")
    assert set(read_checkpoint(tmp_path / "b.pth")) == {"head", *renamed("module.")}


@pytest.mark.parametrize("is_zipped", [True, False])
def test_values_beside_the_weights_are_ignored(tmp_path: Path, is_zipped: bool) -> None:
    beside: dict[str, Any] = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.Path("runs"), sizes=[1]),
        "best": np.float64(0.5),
        "step": np.int64(7),
        "flag": np.bool_(True),
        "losses": np.arange(3.0),
        "names": np.array(["a", "b"]),
        "counts": collections.defaultdict(list, {"a": [1]}),
    }
    path = tmp_path / "a.pth"
    torch.save(beside | {"model": STATE}, path, _use_new_zipfile_serialization=is_zipped)
    assert_reads_state(path)


def test_files_are_recognised_by_their_content(tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "a.pkl")
    assert_reads_state(tmp_path / "a.pkl")
    arrays = {name: value.numpy() for name, value in STATE.items()}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"model": arrays, "best": np.float32(1)}))
    assert_reads_state(tmp_path / "b.pkl")


def test_nested_and_recursive_dicts_end(tmp_path: Path) -> None:
    tree: dict[str, Any] = {}
    tree["model"] = tree
    torch.save(tree, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="'model' is no tensor of a network"):
        read_checkpoint(tmp_path / "a.pth")


def test_code_in_checkpoints_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name, write in (
        ("a.pth", lambda tree, path: torch.save(tree, path)),
        ("b.pth", lambda tree, path: torch.save(tree, path, _use_new_zipfile_serialization=False)),
        ("c.pkl", lambda tree, path: path.write_bytes(pickle.dumps(tree))),
        ("d.pkl", lambda tree, path: torch.save(tree, path)),
    ):
        for tree in ({"model": {}, "args": Hostile(mark)}, {"model": Hostile(mark)}):
            write(tree, tmp_path / name)
            with pytest.raises(UsageError, match=r"system.*not run"):
                read_checkpoint(tmp_path / name)
            with pytest.raises(UsageError, match=r"system.*not run"):
                load_tensor_pickle(tmp_path / name)
    assert not mark.exists()


def test_whole_networks_and_scripts_are_rejected_with_advice(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    torch.save(network, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict\(\)"):
        read_checkpoint(tmp_path / "a.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 2)), tmp_path / "b.pth")
    with pytest.raises(UsageError, match=r"TorchScript archive; save model\.state_dict"):
        read_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_tensors_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    wanted = [torch.arange(12.0).view(3, 4)[:, 1:3], torch.tensor([[1, 0]])]
    path.write_bytes(pickle.dumps(wanted, protocol=protocol))
    found = load_tensor_pickle(path)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    torch.save(wanted, path)
    assert torch.equal(load_tensor_pickle(path)[0], wanted[0])


def test_code_inside_the_bytes_of_a_tensor_is_not_run(tmp_path: Path) -> None:
    """`torch.storage._load_from_bytes` unpickles the bytes without restrictions."""
    mark, inner = tmp_path / "mark", tmp_path / "inner.pth"
    torch.save(Hostile(mark), inner, _use_new_zipfile_serialization=False)

    class Bytes:
        def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
            return torch.storage._load_from_bytes, (inner.read_bytes(),)

    (tmp_path / "a.pkl").write_bytes(pickle.dumps([Bytes(), 1]))
    with pytest.raises(UsageError, match="a pickle of tensors expected"):
        load_tensor_pickle(tmp_path / "a.pkl")
    assert not mark.exists()
    pickle.loads((tmp_path / "a.pkl").read_bytes())  # the file is hostile
    assert mark.exists()


def test_damaged_tensor_pickles_give_one_message(tmp_path: Path) -> None:
    whole = np.frombuffer(pickle.dumps([torch.rand(3, 2), torch.ones(3, 2)]), np.uint8)
    path, rng = tmp_path / "a.pkl", np.random.default_rng(0)
    for _ in range(60):
        changed = whole.copy()
        changed[rng.integers(0, len(whole), 4)] ^= 255
        path.write_bytes(changed[: rng.integers(1, len(whole))].tobytes())
        with pytest.raises(UsageError, match=r"a pickle of tensors|a checkpoint of plain tensors"):
            load_tensor_pickle(path)
