"""Training in two processes, and in several passes per step, equals training in one."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from pipeline import train
from pipeline.training.parts import Rows, divide
from pipeline.training.processes import Processes
from pipeline.training.task import Task
from tests.conftest import World
from tests.pipeline.cache_maker import SMALL, random_cache
from tests.tools.test_relations import LEARN
from tests.tools.test_train_detector import command, few  # noqa: F401
from tools import train_detector, train_relations

#: Ten clips in steps of three; the last step of an epoch has one, and one process has none.
LAIAR = (
    "--config", "configs/charades_oracle.yaml", *SMALL, "model.dropout=0", "train.epochs=3",
    "train.batch_size=3", "train.validation_fraction=0", "train.lr=0.001",
)  # fmt: skip
#: L_sim of Eq. 8 over all tokens of a step, Gumbel noise, L_tss and the context of all tokens.
PAPER = ("model.preset=paper", "train.selection_warmup=0.3", "loss.similarity=1")
STRICT = ("model.preset=strict", "train.selection_warmup=0.3", "train.least_share=0.5")
RELATIONS = (
    *LEARN, "training.batch_size=3", "network.dropout=0", "training.lr=0.0001",
    "training.epochs=6",
)  # fmt: skip
IMAGES = (
    "training.batch_size=3", "training.optimizer=sgd", "training.lr=0.00001", "training.epochs=6",
    "training.freeze_norm=true", "loss.roi_batch=8",
)  # fmt: skip
Run = tuple[Any, list[str], int, bool]


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def train_with_frozen_norms(self: Task) -> None:
    """Set a network to train mode, except batch normalisation, which depends on the pass."""
    self.model.train()
    for module in self.model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()


def run(main: Any, words: list[str], *, is_frozen: bool) -> None:
    """Run a training command."""
    with pytest.MonkeyPatch.context() as patch:
        if is_frozen:
            patch.setattr(Task, "train_mode", train_with_frozen_norms)
        assert main(words) in (0, 1)  # 1: the selection keeps every token


def run_rank(rank: int, planned: list[Run]) -> None:
    """Run commands as one of two processes of torchrun."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    for main, words, port, is_frozen in planned:
        os.environ["MASTER_PORT"] = str(port)
        run(main, words, is_frozen=is_frozen)


@pytest.fixture(scope="module")
def runs(
    world: World,
    few: tuple[Path, Path],  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Run folders NETWORK/KIND, in which KIND tells the processes, passes and frozen norms."""
    folder = tmp_path_factory.mktemp("processes")
    cache = ["--cache", str(random_cache(folder / "cache"))]
    commands: dict[str, tuple[Any, list[str]]] = {
        "paper": (train.main, [*LAIAR, *PAPER, *cache]),
        "strict": (train.main, [*LAIAR, *STRICT, *cache]),
        "relations": (train_relations.main, [*RELATIONS, "--cache", str(world.cache)]),
        "detector": (train_detector.main, command(few, Path("any"), *IMAGES)),
    }
    planned: list[Run] = []
    for name, (main, words) in commands.items():
        passes = f"{'train' if main is train.main else 'training'}.accumulate=2"

        def at(kind: str, words: list[str] = words, name: str = name) -> list[str]:
            return [*words, "--run", str(folder / name / kind)]

        run(main, at("one"), is_frozen=False)
        planned.append((main, at("two"), free_port(), False))
        if name != "detector":
            run(main, at("frozen"), is_frozen=True)
            run(main, [*at("frozen passes"), passes], is_frozen=True)
        if name == "paper":
            planned.append((main, [*at("frozen two passes"), passes], free_port(), True))
    spawn(run_rank, (planned,), nprocs=2)
    return folder


def steps(run: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "step"]


@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [
        ("paper", "two", 12),
        ("paper", "frozen passes", 12),
        ("paper", "frozen two passes", 12),
        ("strict", "two", 12),
        ("strict", "frozen passes", 12),
        ("relations", "two", 12),
        ("relations", "frozen passes", 12),
        ("detector", "two", 12),
    ],
)
def test_losses_equal_those_of_one_process_and_one_pass(
    runs: Path, name: str, kind: str, least: int
) -> None:
    one = steps(runs / name / ("frozen" if kind.startswith("frozen") else "one"))
    other = steps(runs / name / kind)
    assert least <= len(one) == len(other)
    # The first losses of the random detector are above 100, so these are compared by ratio.
    rel = 1e-5 if name == "detector" else 0.0
    for a, b in zip(one, other, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5, rel=rel)
        assert a["terms"] == pytest.approx(b["terms"], abs=1e-5, rel=rel)
    assert len({row["loss"] for row in one}) > 10


def test_one_process_writes_the_files(runs: Path) -> None:
    one, two = (runs / "paper" / kind for kind in ("one", "two"))
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    records = [json.loads((run / "run.json").read_text()) for run in (one, two)]
    assert records[0]["counts"] == records[1]["counts"]
    rows = map(json.loads, (two / "log.jsonl").read_text().splitlines())
    assert [row["epoch"] for row in rows if row["kind"] == "epoch"] == [1, 2, 3]


@pytest.mark.parametrize("num", range(1, 10))
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_parts_contain_each_sample_once(num: int, count: int, passes: int) -> None:
    batch = [f"V{i}" for i in range(num)]
    device = torch.device("cpu")
    parts = [divide(batch, Processes(device, rank, count), passes) for rank in range(count)]
    assert len({len(own) for own in parts}) == 1
    assert len(parts[0]) <= passes
    every: list[Rows] = [part for own in parts for part in own]
    assert all(part.rows for part in every)
    assert sorted(row for part in every if not part.is_filler for row in part.rows) == batch
