"""Runs the commands of docs/reproduce.md on a synthetic world in the form of Charades."""

import csv
import importlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models.video import r3d_18

from detection.build import NetworkSize, build_detector, seed_weights
from pipeline import evaluate, train
from pipeline.weights.video_networks import NETWORKS
from relations.sttran import STTran
from tests.conftest import World
from tests.detection.original_names import as_detectron2
from tests.pipeline.predictor_files import small_settings
from tests.test_readme import LEARNING
from tools import reproduce

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reproduce.md").read_text()
COMMANDS = re.findall(r"^    ((?:python|mv) .+)$", PAGE, re.MULTILINE)
SIZE = NetworkSize(depth=26, width=4, fpn_channels=8, head_width=16)
#: Settings of a fast extraction and a fast training.
FAST = {
    "pipeline.extract": ("device=cpu", "detection.short_side=64", "frames.num=4"),
    "tools.convert_weights": ("--heads", "4"),
    "tools.clip_features": ("device=cpu", "clips=1"),
}
MODULES = (
    "zipfile", "mv", "tools.convert_weights", "pipeline.extract", "tools.cache", "tools.make_folds",
    "tools.reproduce", "tools.clip_features",
)  # fmt: skip


@pytest.fixture
def disk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with the files that the page names, as working directory."""
    with zipfile.ZipFile(tmp_path / "Charades_v1_480.zip", "w") as archive:
        for path in world.videos.glob("*.mp4"):
            archive.write(path, f"Charades_v1_480/{path.name}")
    with zipfile.ZipFile(tmp_path / "Charades.zip", "w") as archive:
        for path in world.annotations.glob("Charades_v1_*"):
            archive.writestr(f"Charades/{path.name}", path.read_text() + more_rows(path))
    for name in ("object_bbox_and_relationship.pkl", "person_bbox.pkl"):
        shutil.copy(world.annotations / name, tmp_path)
    detector = build_detector(num_classes=36, preset="detectron2-fpn", size=SIZE)
    seed_weights(detector, 0)
    state = as_detectron2(detector.state_dict(), "fpn", 26)
    torch.save({"model": state}, tmp_path / "faster_rcnn_ag.pth")
    torch.manual_seed(0)
    predictor = STTran(small_settings(16, 8)).state_dict()
    torch.save({"state_dict": predictor}, tmp_path / "sttran.tar")
    torch.save(r3d_18(num_classes=2).state_dict(), tmp_path / "r3d_18.pth")
    monkeypatch.setitem(NETWORKS, "r3d_18", replace(NETWORKS["r3d_18"], length=2))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def more_rows(path: Path) -> str:
    """Return rows of videos without files in five other scenes, for a CSV file of videos."""
    if path.suffix != ".csv":
        return ""
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        row, names = next(reader), reader.fieldnames
    assert names is not None
    out = io.StringIO()
    for index in range(45):
        video = row | {"id": f"LOST{index}{path.stem[-1]}", "scene": f"Scene {index % 5}"}
        csv.DictWriter(out, names).writerow(video)
    return out.getvalue()


def run_here(words: Sequence[str], _log: Path) -> int:
    """Train or evaluate a small network in this process."""
    if words[0] == "pipeline.evaluate":
        return evaluate.main([*words[1:]])
    small = [word for word in LEARNING if not word.startswith(("boxes", "detection"))]
    return train.main([*words[1:], *small])


def test_every_command_runs_in_the_order_of_the_page(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [shlex.split(command) for command in COMMANDS]
    modules = [words[2] if words[0] == "python" else words[0] for words in found]
    assert {*modules} == {*MODULES}
    for module, command in zip(modules, found, strict=True):
        words = command[3:]
        if module == "mv":
            subprocess.run(command, check=True)
        elif module == "zipfile":
            subprocess.run([sys.executable, *command[1:]], check=True)
        elif module == "tools.reproduce":
            table = words[words.index("--table") + 1]
            capsys.readouterr()
            assert reproduce.main([*words, "--dry-run"]) == 0
            shown = capsys.readouterr().out
            assert ("scenes-5" in shown) == (table == "3")
            assert ("detected" in shown) == (table != "3")
        else:
            code = importlib.import_module(module).main([*words, *FAST.get(module, ())])
            assert code == 0, command
    assert len(list(Path("features/r3d_18").glob("*.safetensors"))) == 11
    last: list[str] = next(words for words in found if "4,5,beyond" in words)[3:]
    last[last.index("4,5,beyond")], last[last.index("3")] = "4", "1"
    assert reproduce.main(last, runner=run_here) == 0
    assert "annotated" in Path("runs/charades/table_4_ground-truth.md").read_text()
