from pathlib import Path

import torch

from model.labels import TokenLabels
from model.settings import LaIARSettings
from pipeline.config.loading import load_config
from pipeline.training.laiar.job import TrainingJob
from pipeline.training.laiar.run_opening import open_run
from pipeline.training.state import STATE_FILE
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import BANK, CALIBRATION, FAMILIARITY, WEIGHTS, write_card
from tests.pipeline.cache_maker import cache_info


def test_files_of_another_training_run_are_removed_from_the_run_folder(tmp_path: Path) -> None:
    settings = LaIARSettings(dim=16, heads=2, layers=1, num_frames=4, part_width=8, union_width=4)
    card = ModelCard(settings.resolved(), cache_info(), "ground-truth", 8, 4)
    none = torch.zeros(0, dtype=torch.int64)
    labels = TokenLabels(
        torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 26, dtype=torch.bool), none
    )
    config = load_config()
    job = TrainingJob(config, card, [], [], labels, [], "f" * 64)
    write_card(tmp_path, card)
    files = [tmp_path / name for name in (WEIGHTS, BANK, CALIBRATION, FAMILIARITY)]
    for path in files:
        path.write_bytes(b"of another run")
    (tmp_path / STATE_FILE).write_bytes(b"a checkpoint")
    card.training["fingerprint"] = "f" * 64
    write_card(tmp_path, card)
    open_run(tmp_path, job, config)
    assert all(path.is_file() for path in files)  # a resumed run keeps its files
    (tmp_path / STATE_FILE).unlink()
    open_run(tmp_path, job, config)
    assert not any(path.exists() for path in files)
