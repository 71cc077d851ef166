"""Fixtures that create small synthetic worlds once per session."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline import extract
from tools import synthesize
from tools.demo import WORLD

# One thread is faster for the small tensors of the tests (docs/training.md).
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

CONFIG = "configs/world.yaml"
#: Settings for annotated boxes and for an untrained detector that is smaller than the demo's.
SMALL = (
    "boxes=ground-truth", "relations=ground-truth",
    "detection.weights=random", "detection.preset=action-genome",
    "detection.depth=26", "detection.width=4", "detection.short_side=64", "device=cpu",
    "model.max_pairs=4", "model.class_embeddings=true",
    "model.temporal_selection=false", "model.spatial_selection=false",
)  # fmt: skip

#: Test files that take longest. They start first, so that no process works on one of them alone.
LONGEST = (
    "test_world_run", "test_readme", "test_processes", "test_demo", "test_engines",
    "test_reproduce_page", "test_benchmark", "test_benchmark_all",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of the longest files to the front."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@dataclass(frozen=True)
class World:
    """Folders of a world with eight training and three test videos."""

    videos: Path
    annotations: Path
    cache: Path

    @property
    def test_clips(self) -> list[Path]:
        """Videos of the test split."""
        with open(self.annotations / "Charades_v1_test.csv", newline="") as file:
            return [self.videos / f"{row['id']}.mp4" for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    out = root / "data"
    sizes = ["--train", "8", "--test", "3", "--seed", "5"]
    assert synthesize.main(["--out", str(out), *sizes, *WORLD]) == 0
    made = World(out / "videos", out / "annotations", root / "cache")
    data = ["--videos", str(made.videos), "--annotations", str(made.annotations)]
    assert extract.main(["--config", CONFIG, *data, "--cache", str(made.cache), *SMALL]) == 0
    return made


@pytest.fixture(scope="session")
def cad120_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a world in the form of CAD-120 with one video per subject."""
    folder = tmp_path_factory.mktemp("cad120") / "world"
    words = ["--format", "cad120", "--out", str(folder), "--seed", "1", "videos=1", "long_side=128"]
    assert synthesize.main(words) == 0
    return folder
