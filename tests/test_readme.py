"""Tests that run the commands of the README and of pages in docs/ on small synthetic data."""

import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cache.clip_features import ClipFeatureInfo, open_folder, store_feature
from pipeline.datasets.charades.locate import locate
from pipeline.datasets.charades.table import read_charades
from pipeline.samples.folds import FOLDS_SCHEMA
from tests.conftest import World

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "index",
            "extraction",
            "cad120",
            "training",
            "prediction",
            "exports",
            "world",
            "reliability",
            "results",
        )
    ),
)
COMMANDS = tuple(
    dict.fromkeys(
        command
        for page in PAGES
        for command in re.findall(r"^    (python -m .+)$", (ROOT / page).read_text(), re.MULTILINE)
    )
)
DETECTOR = (
    "detection.depth=26",
    "detection.width=4",
    "detection.short_side=48",
    "device=cpu",
    "detection.weights=random",
)
LEARNING = (
    "model.dim=16",
    "model.heads=2",
    "model.layers=1",
    "model.part_width=8",
    "model.temporal_selection=false",
    "model.spatial_selection=false",
    "train.epochs=1",
    "device=cpu",
    "boxes=ground-truth",
    "detection.weights=random",
)
EXTRA = {
    "pipeline.extract": DETECTOR,
    "pipeline.train": LEARNING,
    "pipeline.evaluate": (),
    "pipeline.predict": ("detection.weights=random",),
    "tools.train_relations": (
        "network.part_width=8",
        "network.union_width=4",
        "network.class_width=4",
        "network.feedforward=16",
        "training.epochs=1",
        "device=cpu",
    ),
    "tools.evaluate_relations": (),
    "tools.cache": (),
    "tools.synthesize": ("long_side=160", "max_s=4.5"),
    "tools.evaluate_scores": (),
    "tools.study_world": (),
}
#: Commands that are not run here. They take minutes or require a checkpoint that is not available.
ELSEWHERE = (
    "tools.check_reference",
    "tools.convert_weights",
    "tools.demo",
    "tools.train_detector",
    "tools.benchmark",
    "tools.faults",
    "tools.evaluate_names",
    "tools.reproduce",
    "tools.make_folds",
    "tools.clip_features",
    "tools.doctor",
)


def test_readme_commands_and_make_targets_are_complete() -> None:
    modules = [shlex.split(command)[2] for command in COMMANDS]
    assert {*EXTRA, *ELSEWHERE} == set(modules)
    for module in modules:
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert source.endswith('if __name__ == "__main__":\n    run_command(main)\n'), module
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^    make (\w+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"env", "test", "demo"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture(scope="module")
def places(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("readme")
    np.savez(root / "FILE.npz", scores=np.eye(4), labels=np.eye(4))
    videos = read_charades(locate([world.annotations])).videos
    lists = {s: [i for i, v in videos.items() if v.split == s] for s in ("train", "test")}
    tree = {"schema": FOLDS_SCHEMA, "folds": {"scenes-1": lists}}
    (root / "folds.json").write_text(json.dumps(tree))
    features, info = root / "features" / "r3d_18", ClipFeatureInfo("r3d_18", "f" * 64, width=8)
    open_folder(features, info)
    for path in world.videos.glob("*.mp4"):
        store_feature(features, path.stem, torch.rand(8), info, "")
    given = {
        "features/r3d_18": features,
        "VIDEOS": world.videos,
        "Charades_v1_480": world.videos,
        "annotations": world.annotations,
        "CLIP.mp4": world.test_clips[0],
    }
    made = (
        "CACHE",
        "DETECTED",
        "cache/oracle",
        "runs/oracle",
        "runs/scenes-1",
        "folds.json",
        "runs/clip",
        "explained",
        "second",
        "OUT",
        "runs/relations",
        "WORLD",
        "SHEETS",
        "CAD120",
        "CAD120_SHEETS",
        "FILE.npz",
    )
    return given | {name: root / name for name in made}


def _placed(word: str, places: dict[str, Path]) -> str:
    """Replace the path in a word, or the first folders of the path, by a path of the test."""
    key, equals, value = word.rpartition("=")
    for name, place in places.items():
        if value == name or value.startswith(f"{name}/"):
            return f"{key}{equals}{place}{value.removeprefix(name)}"
    return word


#: Commands for CAD-120, which run in order on a world in its form.
CAD120 = tuple(
    c for c in COMMANDS if "cad120" in c and not any(e in c for e in (*ELSEWHERE, "synthesize"))
)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c not in CAD120 and not any(e in c for e in ELSEWHERE)]
)
def test_readme_command_runs(
    places: dict[str, Path],
    command: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    module = shlex.split(command)[2]
    # The repository contains the detector, the relation predictor and a network of the world. Other
    # networks are random.
    ships = module == "pipeline.extract" and "configs/world.yaml" in command
    ships |= module == "pipeline.predict" and "--run" not in command
    words = [_placed(word, places) for word in shlex.split(command)[3:]]
    words = [w for w in words if not w.startswith("detection.weights")]
    if module == "tools.synthesize":
        words = ["1" if w.isdigit() else w for w in words]
    if module == "tools.study_world":
        words = ["60" if w.isdigit() else w for w in words]
    if module == "pipeline.predict" and "--out" not in words:
        words += ["--out", str(places["explained"])]
    if module == "pipeline.extract" and ships:
        words += ["--limit", "2"]
    if module == "pipeline.predict" and "VIDEOS" in command:
        words += ["--limit", "2"]
    if "cad120" in words:
        words += ["videos=1", "long_side=128"]
    else:
        words += ["device=cpu"] if ships else EXTRA[module]
    code = importlib.import_module(module).main(words)
    if "--edit" in words and code == 1:
        assert "expected from 1.2 s to 3.4 s, got none" in caplog.text  # the clip has no cup
        return
    assert code == 0, caplog.text
    assert capsys.readouterr().out


def test_commands_for_cad120_run(
    cad120_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    places = {"CAD120": cad120_world / "frames", "annotations": cad120_world / "annotations"}
    assert len(CAD120) == 11
    for command in CAD120:
        module, words = shlex.split(command)[2], shlex.split(command)[3:]
        words = [w for w in words if not w.startswith("detection.weights")]
        for n, word in enumerate(words):
            key, equals, value = word.rpartition("=")
            if word in places:
                words[n] = str(places[word])
            elif value.startswith(("cache/", "runs/", "explained")):
                words[n] = f"{key}{equals}{tmp_path / value}"
        if module in ("pipeline.extract", "pipeline.train"):
            words += ["device=cpu"] if "language" in command else [*DETECTOR, "frames.num=5"]
        if module == "pipeline.train":
            words += [w for w in LEARNING if "detection" not in w]
            words += ["train.validation_fraction=0.4"]
        if module == "pipeline.predict":
            words += ["--limit", "2", *EXTRA[module]]
        if module == "tools.train_relations":
            words += [*EXTRA[module], "training.validation_fraction=0.4"]
        assert importlib.import_module(module).main(words) == 0, command
