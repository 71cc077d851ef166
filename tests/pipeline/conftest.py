"""Fixture that trains a small network once per session."""

from pathlib import Path

import pytest

from pipeline import train
from tests.conftest import CONFIG, SMALL, World


@pytest.fixture(scope="session")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of a network that is trained on annotated boxes of `world`."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    words = ("train.epochs=6", "train.validation_fraction=0.3", "loss.selection=0.1")
    data = ["--cache", str(world.cache), "--run", str(folder)]
    assert train.main(["--config", CONFIG, *data, *SMALL, *words]) == 0
    return folder
