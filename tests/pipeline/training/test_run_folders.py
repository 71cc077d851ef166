import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.training.trainer import Progress, Trainer
from pipeline.weights.run_folder import read_card
from tests.pipeline.cache_maker import random_cache
from tests.pipeline.test_train import fit


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("train") / "cache")


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    assert fit(cache, run, "train.epochs=2") == 0
    return run


def test_training_starts_with_the_weights_of_another_run(
    finished: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, torch.Tensor]] = []
    run = Trainer.run

    def noted(self: Trainer) -> Progress:
        started.append({k: v.clone() for k, v in self.task.model.state_dict().items()})
        return run(self)

    monkeypatch.setattr(Trainer, "run", noted)
    words = ["train.epochs=3", "train.lr=1e-5", "--init-from", str(finished)]
    assert fit(cache, tmp_path / "run", *words) == 0
    expected = load_file(finished / "model.safetensors")
    assert all(torch.equal(started[0][name], value) for name, value in expected.items())
    card = read_card(tmp_path / "run")
    assert card.training["initial_weights"] == file_sha256(finished / "model.safetensors")
    assert fit(cache, tmp_path / "run", *words) == 0  # finished
    with pytest.raises(UsageError, match="other settings or another cache"):
        fit(cache, tmp_path / "run", *words[:2])
    with pytest.raises(UsageError, match="does not fit the settings of this network"):
        fit(cache, tmp_path / "wide", "model.dim=32", *words)
    other = random_cache(tmp_path / "cache", classes=(("c000", "A"), ("c001", "B")))
    with pytest.raises(UsageError, match="--init-from: the classes of the cache expected"):
        fit(other, tmp_path / "other", *words)
    assert not (tmp_path / "wide").exists()


def test_two_commands_do_not_train_in_one_folder(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code = f"""
import sys, time
from pathlib import Path
from pipeline.runtime.writers import only_command
with only_command(Path({str(run)!r})):
    print("locked", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match=r"another command uses .*run; wait"):
            fit(cache, run, "train.epochs=1")
    finally:
        other.kill()
        other.communicate()
    assert fit(cache, run, "train.epochs=1") == 0  # the lock of a killed process is free
    assert not (run / ".run.lock").exists()
