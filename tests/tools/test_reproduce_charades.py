"""Tests of `tools.reproduce` with the tables of Charades: box sources, folds of a file, columns."""

import json
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cache.folder import ExtractionSettings, replace_clip
from pipeline.cache.manifest import read_manifest
from pipeline.errors import UsageError
from pipeline.evaluation.metrics import charades_map
from pipeline.samples.folds import FOLDS_SCHEMA
from pipeline.weights.run_folder import BANK
from tests.pipeline.cache_maker import forge, labelled_clip, random_cache
from tools import reproduce
from tools.tables.rows import read_tables

GROUPS = read_tables("charades").fold_groups
FOLDS = [name for group in GROUPS.values() for name in group]
LABELS = np.random.default_rng(0).random((40, 3)) < 0.4


def random_scores(run: str) -> np.ndarray:
    """Return scores that depend on the network, and are best for the network `full`."""
    rng = np.random.default_rng([ord(letter) for letter in run])
    return LABELS + (0.5 if run.startswith("full") else 1.0) * rng.normal(size=LABELS.shape)


class FakeRunner:
    """Writes the files of the commands instead of running them."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self._lock = threading.Lock()

    def __call__(self, words: Sequence[str], log: Path) -> int:
        with self._lock:
            self.commands.append([*words])
        run = Path(words[words.index("--run") + 1])
        run.mkdir(parents=True, exist_ok=True)
        if words[0] == "pipeline.train":
            if "model.network=graph" not in words:
                (run / BANK).write_bytes(b"bank")
            done = {"status": "finished", "counts": {"failed": 0}, "warnings": []}
            (run / "run.json").write_text(json.dumps(done))
        elif words[0] == "pipeline.evaluate":
            scores, ids = random_scores(run.name), [f"V{n}" for n in range(len(LABELS))]
            np.savez(run / "scores.npz", ids=ids, scores=scores, labels=LABELS)
            value, pairs = charades_map(scores, LABELS).map, {"accuracy": 0.75, "cases": 8}
            metrics = {"map_official": value, "num": 4.0, "num_all": 9.0, "inverse_pairs": pairs}
            (run / "metrics.json").write_text(json.dumps(metrics))
        else:
            assert words[0] == "tools.faithfulness"
            found = {"sentence truth": 0.5, "name is true, contacting": 0.7}
            found |= {"name is true, spatial": 0.9, "name is true, spatial, kept": 0.1}
            out = Path(words[words.index("--out") + 1])
            out.mkdir()
            truth = {"metrics": {name: {"mean": value} for name, value in found.items()}}
            (out / "faithfulness.json").write_text(json.dumps(truth))
        return 0


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("charades")
    for boxes in ("ground-truth", "detected"):
        random_cache(folder / boxes, train=2, test=1, settings=ExtractionSettings(boxes))
    lists = {name: {"train": ["A"], "test": ["B"]} for name in FOLDS}
    (folder / "folds.json").write_text(json.dumps({"schema": FOLDS_SCHEMA, "folds": lists}))
    return folder


def words(root: Path, out: Path, table: str, *more: str, boxes: Sequence[str]) -> list[str]:
    data = ["--dataset", "charades", "--config", "configs/world.yaml", "--out", str(out)]
    caches = [word for name in boxes for word in ("--cache", str(root / name))]
    return [*data, *caches, "--table", table, *more]


def names(shown: str) -> list[str]:
    return [line.split("] ")[1].split(":")[0] for line in shown.splitlines() if line[:1] == "["]


def test_a_table_is_computed_for_each_source_of_boxes(
    root: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    both = ("detected", "ground-truth")
    assert reproduce.main(words(root, tmp_path, "1,5", boxes=both), runner=runner) == 0
    trained = [c for c in runner.commands if c[0] == "pipeline.train"]
    assert len(trained) == 3 * 2 + 2
    for command in trained:
        source = "detected" if "boxes=detected" in command else "ground-truth"
        relations = "predicted" if source == "detected" else "ground-truth"
        assert command[command.index("--cache") + 1] == str(root / source)
        assert f"relations={relations}" in command
        assert Path(command[command.index("--run") + 1]).name.endswith(f"_{source}_seed0")
    tables = sorted(path.stem for path in tmp_path.glob("*.md"))
    assert tables == ["table_1_detected", "table_1_ground-truth", "table_5"]
    assert "boxes `detected`" in (tmp_path / "table_1_detected.md").read_text()
    rows = json.loads((tmp_path / "table_5.json").read_text())["rows"]
    assert {row["name"]: row["status"] for row in rows if row["status"] != "not run"} == {
        "LaIAR": "finished",
        "LaIAR Oracle": "finished",
    }


def test_rows_without_their_cache_or_folds_are_not_run(
    root: Path, tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(root, tmp_path, "all", "--dry-run", boxes=["detected"])
    assert reproduce.main(given, runner=runner) == 0
    found = names(capsys.readouterr().out)
    assert len(found) == len(set(found)) == 6  # networks of Tables 1 and 2, also of Table 5
    assert all(name.endswith("_detected_seed0") for name in found)
    given = words(root, tmp_path, "3", "--dry-run", boxes=["ground-truth"])
    assert reproduce.main(given, runner=runner) == 0
    assert names(capsys.readouterr().out) == []


def test_row_of_a_group_is_the_mean_over_its_folds(
    root: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    folds = ("--fold-lists", str(root / "folds.json"), "--seeds", "2")
    given = words(root, tmp_path, "3", *folds, boxes=["ground-truth"])
    assert reproduce.main(given, runner=runner) == 0
    trained = [c for c in runner.commands if c[0] == "pipeline.train"]
    assert len(trained) == 3 * len(FOLDS) * 2
    assert f"folds={root / 'folds.json'}" in trained[0]
    assert "fold=scenes-1" in trained[0]
    tree = json.loads((tmp_path / "table_3_ground-truth.json").read_text())
    row = next(row for row in tree["rows"] if row["name"] == "LaIAR, other scenes")
    values = [
        [charades_map(random_scores(f"full_ground-truth_{f}_seed{s}"), LABELS).map for s in (0, 1)]
        for f in GROUPS["scenes"]
    ]
    means = [sum(pair) / 2 for pair in values]
    assert row["folds"] == pytest.approx(means)
    assert row["mean"] == pytest.approx(sum(means) / 5)
    assert row["worst"] == pytest.approx(min(means))
    center = sum(means) / 5
    assert row["variance"] == pytest.approx(sum((100 * (m - center)) ** 2 for m in means) / 5)
    one = next(row for row in tree["rows"] if row["name"] == "LaIAR, other people")
    assert (one["variance"], one["worst"], len(one["folds"])) == (None, None, 1)
    # The files of the cells suffice for the table, also for its intervals.
    shutil.rmtree(tmp_path / "runs")
    assert reproduce.main(given, runner=runner) == 0
    assert json.loads((tmp_path / "table_3_ground-truth.json").read_text()) == tree
    gap = next(d for d in tree["differences"] if d["name"].startswith("LaIAR and the graph"))
    assert 0 < gap["low"] < gap["value"] < gap["high"]
    assert gap["seeds"] == 2
    text = (tmp_path / "table_3_ground-truth.md").read_text()
    assert "| variance | worst fold |" in text
    assert "| difference in mAP | value | 95 % interval | seeds |" in text


def test_cells_of_another_machine_are_used_and_those_of_other_annotations_refused(
    tmp_path: Path, runner: FakeRunner
) -> None:
    cache = random_cache(tmp_path / "ground-truth", train=2, test=1)
    given = words(tmp_path, tmp_path / "out", "1", boxes=["ground-truth"])
    assert reproduce.main(given, runner=runner) == 0
    num = len(runner.commands)
    clip = labelled_clip(0, "train")
    forge(cache, clip.video_id, box_features=1.01 * clip.box_features)
    assert reproduce.main(given, runner=runner) == 0
    assert len(runner.commands) == num
    header = replace(clip.header, predictor={"weights": "0" * 64})  # which Table 1 does not use
    replace_clip(cache, replace(clip, header=header), read_manifest(cache)[clip.video_id])
    assert reproduce.main(given, runner=runner) == 0
    header = replace(clip.header, labels="0" * 64)
    replace_clip(cache, replace(clip, header=header), read_manifest(cache)[clip.video_id])
    with pytest.raises(UsageError, match="use another folder"):
        reproduce.main(given, runner=runner)


def test_columns_are_those_of_the_evaluation_and_of_the_truth(
    root: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    given = words(root, tmp_path, "beyond", "--annotations", str(root), boxes=["ground-truth"])
    assert reproduce.main(given, runner=runner) == 0
    truth = next(c for c in runner.commands if c[0] == "tools.faithfulness")
    assert truth[truth.index("--annotations") + 1] == str(root)
    assert truth[-3:] == ["--limit", "100", "--truth"]
    rows = json.loads((tmp_path / "table_beyond_ground-truth.json").read_text())["rows"]
    by_name = {row["name"]: row["columns"] for row in rows}
    expected = {"inverse pairs": 0.75, "sentence truth": 0.5, "names right": pytest.approx(0.8)}
    assert by_name["LaIAR"] == expected
    # A network without a label bank has no names.
    assert by_name["graph network"] == expected | {"sentence truth": None, "names right": None}
    header = (tmp_path / "table_beyond_ground-truth.md").read_text()
    assert "| inverse pairs | sentence truth | names right |" in header


def test_documented_command_lists_its_cells(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("docs/results.md").read_text()
    (command,) = re.findall(
        r"^    python -m tools\.reproduce (.+ charades .+)$", text, re.MULTILINE
    )
    places = {"cache/oracle": str(root / "ground-truth"), "cache/detected": str(root / "detected")}
    places |= {"folds.json": str(root / "folds.json"), "runs/charades": str(tmp_path / "out")}
    assert reproduce.main([places.get(word, word) for word in command.split()]) == 0
    found = names(capsys.readouterr().out)
    assert len(found) == len(set(found)) == 3 * (2 * 6 + 3 * len(FOLDS) + 1 + 6)


def test_no_cell_is_started_after_the_budget(
    root: Path,
    tmp_path: Path,
    runner: FakeRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each cell takes an hour of a clock that only the commands move."""
    clock = [0.0]

    def slow(words: Sequence[str], log: Path) -> int:
        clock[0] += 1800.0
        return runner(words, log)

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.time", lambda: clock[0])
    given = words(root, tmp_path, "1", "--budget-hours", "2.5", boxes=["detected"])
    assert reproduce.main(given, runner=slow) == 0
    shown = capsys.readouterr().out
    assert shown.count("not started because of --budget-hours") == 1
    assert "cells: 2 of 3 finished, 0 failed, 1 left because of --budget-hours" in shown
    assert reproduce.main([*given, "--dry-run"], runner=slow) == 0
    shown = capsys.readouterr().out
    assert "2 of 3 finished, 1 left (about 60 min)" in shown
    assert shown.count("after the budget") == 0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--budget-hours", "0"), "--budget-hours: above 0 expected"),
        (("--fold-lists", "nowhere.json"), "nowhere.json"),
        (("fold=scenes-1",), "use --folds, --fold-lists, --cache and --seeds"),
        (("folds=some.json",), "use --folds, --fold-lists, --cache and --seeds"),
    ],
)
def test_wrong_flags_are_rejected(
    root: Path, tmp_path: Path, runner: FakeRunner, more: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        reproduce.main(words(root, tmp_path, "1", *more, boxes=["detected"]), runner=runner)
    assert not runner.commands


def test_wrong_caches_and_folds_are_rejected(root: Path, tmp_path: Path) -> None:
    twice = words(root, tmp_path, "1", boxes=["detected", "detected"])
    with pytest.raises(UsageError, match="caches with different boxes expected"):
        reproduce.main(twice)
    lists = {"scenes-1": {"train": ["A"], "test": ["B"]}}
    (tmp_path / "few.json").write_text(json.dumps({"schema": FOLDS_SCHEMA, "folds": lists}))
    few = words(root, tmp_path, "3", "--fold-lists", str(tmp_path / "few.json"), boxes=["detected"])
    with pytest.raises(UsageError, match="--fold-lists: a fold people expected"):
        reproduce.main(few)
