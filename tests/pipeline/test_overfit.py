import json
from pathlib import Path

import pytest

from pipeline import evaluate, train
from tests.conftest import CONFIG, SMALL, World


@pytest.mark.parametrize("preset", ["strict", "paper"])
def test_training_overfits_eight_synthetic_videos(
    world: World, tmp_path: Path, preset: str
) -> None:
    run = tmp_path / "run"
    data = ["--cache", str(world.cache), "--run", str(run)]
    words = (
        "train.epochs=60",
        "train.batch_size=8",
        "train.lr=5e-3",
        "model.dropout=0",
        "train.validation_fraction=0",
        "loss.selection=0.1",
        "loss.similarity=2",
        "train.min_label_tokens=1",
        "train.least_share=1",
        "loss.excerpts=0",
        "train.reversed_share=0",
        f"model.preset={preset}",
    )
    assert train.main(["--config", CONFIG, *data, *SMALL, *words]) == 0
    assert evaluate.main([*data, "--split", "train"]) == 0
    tree = json.loads((run / "metrics.json").read_text())
    assert tree["videos"] == 8
    assert tree["map_official"] > 0.99
    assert tree["map_tie_grouped"] > 0.99
