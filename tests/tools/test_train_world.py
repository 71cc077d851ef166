import importlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline import LaIARPredictor
from pipeline.weights.run_folder import RUN_FILES, read_card
from tools import train_world


def test_run_is_trained_and_its_files_are_copied(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE` in this process, which has loaded torch already."""
        code = importlib.import_module(command[2]).main(command[3:])
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(train_world.subprocess, "run", run)
    small = ("model.dim=16", "model.part_width=8", "model.layers=1", "train.epochs=1", "device=cpu")
    words = ["--out", str(tmp_path / "out"), "--run", str(tmp_path / "run"), "--train", "2"]
    off = ("model.temporal_selection=false", "model.spatial_selection=false")
    assert train_world.main([*words, *small, *off]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*RUN_FILES}
    assert "6 files" in capfd.readouterr().out
    card = read_card(tmp_path / "run")
    assert (card.relations, card.training["seed"]) == ("ground-truth", 0)
    assert LaIARPredictor.from_run(tmp_path / "run", "device=cpu").explainer.card == card
