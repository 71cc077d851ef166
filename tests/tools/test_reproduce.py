import importlib
import json
import re
import shlex
import statistics
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UsageError
from pipeline.evaluation.recall import MeanAverageRecall, mean_average_recall
from tests.pipeline.cache_maker import SMALL, labelled_clip, put, random_cache
from tools import reproduce
from tools.tables import rows as table_rows
from tools.tables.cells import Sources
from tools.tables.rows import FoldName

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "configs/charades_oracle.yaml"
TINY = """
metric: mar
label: mAR
folds: [1, 2]
networks:
  full: {}
  none: {words: [loss.similarity=0], strict: [model.reading=false]}
  rules: {function: rules}
tables:
  "1":
    title: a table
    rows:
      - {name: method A, network: {strict: none, paper: full}, paper: {mar: 0.5, num: 7.5}}
      - {name: method B, network: full}
      - {name: method C, paper: {mar: 0.25}}
      - {name: method D, network: rules}
    notes: {all: [for all], strict: [for strict], paper: [for paper]}
  "2":
    title: another table
    rows: [{name: B again, network: full}]
    notes: {}
"""
#: Hits of the two classes by fold, of 2 and 4 clips with fold 1, and of 6 and 4 with fold 2.
SUPPORT = {1: (2, 4), 2: (6, 4)}


class FakeRunner:
    """Writes the files of `pipeline.train` and `pipeline.evaluate` instead of running them."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.failing = ""
        self.warnings: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, words: Sequence[str], log: Path) -> int:
        with self._lock:
            self.commands.append([*words])
        run = Path(words[words.index("--run") + 1])
        with open(log, "a") as file:
            file.write("some output\nerror: what went wrong\n\n")
        if self.failing and self.failing in f"{words[0]} {run.name}":
            return 2
        if words[0] == "pipeline.train":
            run.mkdir(parents=True, exist_ok=True)
            settings = dict(word.split("=") for word in words if "=" in word)
            (run / "settings.json").write_text(json.dumps(settings))
            (run / "state.pt").write_bytes(b"large")
            tree = {"status": "finished", "counts": {"failed": 0}, "warnings": self.warnings}
            (run / "run.json").write_text(json.dumps(tree))
            return int("DEGENERATE_SELECTION" in self.warnings)
        settings = json.loads((run / "settings.json").read_text())
        (run / "metrics.json").write_text(json.dumps(self.metrics(settings)))
        labels = np.eye(2, dtype=bool)
        np.savez(run / "scores.npz", ids=["V0_0_9", "V1_0_9"], scores=labels + 0.0, labels=labels)
        return 0

    @staticmethod
    def metrics(settings: dict) -> dict:
        fold, seed = int(settings["fold"]), int(settings["train.seed"])
        off = int("loss.similarity" in settings)
        support = SUPPORT[fold]
        hits = (1 + seed - off, 3 - off)
        found = MeanAverageRecall(np.array(hits), np.array(support)).to_dict()
        return found | {"num_all": 10.0 + fold, "num": 4.0 + fold, "num_noise": 5.0}


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("reproduce") / "cache", train=1, test=1)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    monkeypatch.setattr(table_rows, "FOLDER", folder)


def words(cache: Path, out: Path, *more: str, table: str = "1") -> list[str]:
    data = ["--dataset", "tiny", "--config", CONFIG, "--cache", str(cache)]
    return [*data, "--table", table, "--out", str(out), *more]


def table_json(out: Path, number: str = "1") -> dict:
    tree: dict = json.loads((out / f"table_{number}.json").read_text())
    return tree


def rules(sources: Sources, fold: FoldName | None) -> MeanAverageRecall:
    assert sources.annotations == Path("somewhere")
    assert fold in (1, 2)
    return mean_average_recall(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)


@pytest.mark.usefixtures("tiny")
def test_table_equals_plain_loops(cache: Path, tmp_path: Path, runner: FakeRunner) -> None:
    out = tmp_path / "out"
    given = words(cache, out, "--seeds", "2", "--annotations", "somewhere", "train.epochs=3")
    assert reproduce.main(given, runner=runner, measures={"rules": rules}) == 0
    table = table_json(out)
    assert (table["preset"], table["folds"]) == ("strict", [1, 2])
    for row, off in zip(table["rows"][:2], (1, 0), strict=True):
        values = {
            (fold, seed): ((1 + seed - off) / SUPPORT[fold][0] + (3 - off) / SUPPORT[fold][1]) / 2
            for fold in (1, 2)
            for seed in (0, 1)
        }
        means = [(values[1, seed] + values[2, seed]) / 2 for seed in (0, 1)]
        assert row["mean"] == pytest.approx(sum(means) / 2)
        assert row["std"] == pytest.approx(statistics.stdev(means))
        pooled = [(2 * (1 + seed - off) / 8 + 2 * (3 - off) / 8) / 2 for seed in (0, 1)]
        assert row["pooled"] == pytest.approx(sum(pooled) / 2)
        assert row["folds"] == pytest.approx([(values[f, 0] + values[f, 1]) / 2 for f in (1, 2)])
        assert (row["num_all"], row["num"], row["num_noise"]) == (11.5, 5.5, 5.0)
        assert (row["seeds"], row["finished"], row["cells"]) == (2, 4, 4)
        assert row["status"] == "finished"
    other, rule = table["rows"][2:]
    assert (other["status"], other["mean"], other["paper"]) == ("not run", None, {"mar": 0.25})
    assert (rule["mean"], rule["std"], rule["cells"], rule["num"]) == (0.75, None, 2, None)
    assert table["notes"] == ["for all", "for strict"]
    csv = pd.read_csv(out / "table_1.csv")
    assert csv["mean"].tolist()[:2] == pytest.approx([r["mean"] for r in table["rows"][:2]])
    assert csv["paper_num"].dropna().tolist() == [7.5]
    assert csv["fold2"].tolist()[1] == pytest.approx(table["rows"][1]["folds"][1])


@pytest.mark.usefixtures("tiny")
def test_cell_is_trained_with_the_settings_of_its_row(
    cache: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    out = tmp_path / "out"
    assert reproduce.main(words(cache, out, "--folds", "2", "train.epochs=3"), runner=runner) == 0
    place = ["--cache", str(cache), "--run", str(out / "runs" / "none_fold2_seed0")]
    config = ["--config", str(ROOT / CONFIG)]
    off = ["train.epochs=3", "loss.similarity=0", "model.reading=false"]
    assert runner.commands[:2] == [
        ["pipeline.train", *config, *place, *off, "fold=2", "train.seed=0"],
        ["pipeline.evaluate", *place],
    ]
    assert len(runner.commands) == 4
    assert not (out / "runs" / "none_fold2_seed0" / "state.pt").exists()
    text = (out / "table_1.md").read_text()
    assert "preset `strict`, test folds 2 of 2." in text
    # With the preset `paper`, both rows are the same network.
    again = words(cache, tmp_path / "paper", "--folds", "2", "model.preset=paper")
    assert reproduce.main(again, runner=runner) == 0
    assert len(runner.commands) == 6
    table = table_json(tmp_path / "paper")
    assert table["rows"][0]["mean"] == table["rows"][1]["mean"]
    assert table["notes"] == ["for all", "for paper"]


@pytest.mark.usefixtures("tiny")
def test_markdown_contains_not_run_instead_of_blanks(
    cache: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    out = tmp_path / "out"
    assert reproduce.main(words(cache, out), runner=runner) == 0
    lines = (out / "table_1.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:1] == "|"]
    names, _, first, second, third, fourth = rows
    assert all(len(row) == len(names) and all(row) for row in rows)
    assert names[:6] == ["method", "mAR (paper)", "mAR", "mAR (pooled)", "fold 1", "fold 2"]
    # Fold 1: (0 / 2 + 2 / 4) / 2, fold 2: (0 / 6 + 2 / 4) / 2, pooled: (0 / 8 + 4 / 8) / 2.
    assert first[:6] == ["method A", "0.50", "0.250", "0.250", "0.250", "0.250"]
    assert first[6:11] == ["7.5", "11.5", "5.5", "5.0", "1"]
    assert second[1] == "n/a"
    assert third[:4] == ["method C", "0.25", "*not run*", "*not run*"]
    assert fourth[2] == "*not run*"  # its function is unknown


@pytest.mark.usefixtures("tiny")
def test_finished_cells_are_not_run_again(
    cache: Path, tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert reproduce.main(words(cache, out, "--jobs", "2"), runner=runner) == 0
    first = table_json(out)
    assert len(runner.commands) == 8
    capsys.readouterr()
    assert reproduce.main(words(cache, out), runner=runner) == 0
    assert reproduce.main(words(cache, out, table="2"), runner=runner) == 0
    assert len(runner.commands) == 8
    assert table_json(out) == first
    assert table_json(out, "2")["rows"][0]["mean"] == first["rows"][1]["mean"]
    shown = capsys.readouterr().out
    assert "[1/4] none_fold1_seed0: mAR 0.2500, 5.0 of 11.0 tokens, finished before" in shown
    (out / "cells" / "full_fold2_seed0.json").unlink()
    assert reproduce.main(words(cache, out), runner=runner) == 0
    assert [Path(c[c.index("--run") + 1]).name for c in runner.commands[8:]] == [
        "full_fold2_seed0",
        "full_fold2_seed0",
    ]
    assert reproduce.main(words(cache, out, "--seeds", "2"), runner=runner) == 0
    assert len(runner.commands) == 10 + 8


@pytest.mark.usefixtures("tiny")
def test_cells_of_other_settings_or_data_are_refused(
    cache: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    out = tmp_path / "out"
    assert reproduce.main(words(cache, out), runner=runner) == 0
    with pytest.raises(UsageError, match=r"none_fold1_seed0\.json has others; use another folder"):
        reproduce.main(words(cache, out, "train.epochs=3"), runner=runner)
    other = random_cache(tmp_path / "other", train=2, test=1)
    with pytest.raises(UsageError, match="use another folder"):
        reproduce.main(words(other, out), runner=runner)
    (out / "cells" / "none_fold1_seed0.json").write_text("{}")
    with pytest.raises(UsageError, match=r"none_fold1_seed0\.json is damaged.*delete it"):
        reproduce.main(words(cache, out), runner=runner)


@pytest.mark.parametrize("failing", ["pipeline.train none_fold2", "pipeline.evaluate none_fold2"])
@pytest.mark.usefixtures("tiny")
def test_failed_cell_is_reported_and_does_not_stop_the_others(
    cache: Path,
    tmp_path: Path,
    runner: FakeRunner,
    failing: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, runner.failing = tmp_path / "out", failing
    assert reproduce.main(words(cache, out), runner=runner) == 1
    shown = capsys.readouterr().out
    log = out / "logs" / "none_fold2_seed0.log"
    stage = "training" if "train" in failing else "evaluation"
    message = f"{stage} failed with exit code 2: error: what went wrong (log: {log})"
    assert message in shown
    assert "cells: 3 of 4 finished, 1 failed" in shown
    first, second = table_json(out)["rows"][:2]
    assert (first["status"], first["mean"], first["seeds"]) == ("failed", None, 0)
    assert first["folds"] == [0.25, None]
    assert message in first["failures"][0]
    assert second["status"] == "finished"
    text = (out / "table_1.md").read_text()
    assert message in text
    assert "| method A | 0.50 | *failed* | *failed* | 0.250 | *failed* |" in text
    runner.failing = ""
    assert reproduce.main(words(cache, out), runner=runner) == 0
    assert table_json(out)["rows"][0]["mean"] == 0.25


@pytest.mark.usefixtures("tiny")
def test_degenerate_selection_is_a_result_with_a_warning(
    cache: Path, tmp_path: Path, runner: FakeRunner
) -> None:
    out, runner.warnings = tmp_path / "out", ["DEGENERATE_SELECTION"]
    assert reproduce.main(words(cache, out), runner=runner) == 0
    assert table_json(out)["rows"][0]["warnings"] == {"DEGENERATE_SELECTION": 2}
    text = (out / "table_1.md").read_text()
    assert "method A: warnings (number of cells): DEGENERATE_SELECTION (2)." in text


@pytest.mark.usefixtures("tiny")
def test_evaluation_without_the_metric_fails(
    cache: Path, tmp_path: Path, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "metrics", lambda settings: {"map_official": 0.5})
    assert reproduce.main(words(cache, tmp_path / "out"), runner=runner) == 1
    assert "a metric 'mar' expected" in (tmp_path / "out" / "table_1.md").read_text()


@pytest.mark.usefixtures("tiny")
def test_dry_run_estimates_times_from_finished_cells(
    cache: Path, tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert reproduce.main(words(cache, out, "--dry-run"), runner=runner) == 0
    shown = capsys.readouterr().out
    assert not runner.commands
    assert not out.exists()
    assert shown.splitlines()[-1] == "cells: 0 of 4 finished, 4 left (unknown time)"
    assert reproduce.main(words(cache, out, "--folds", "1"), runner=runner) == 0
    for name, seconds in (("none", 40.0), ("full", 60.0)):
        path = out / "cells" / f"{name}_fold1_seed0.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": seconds}))
    capsys.readouterr()
    assert reproduce.main(words(cache, out, "--dry-run", "--jobs", "2"), runner=runner) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/4] none_fold1_seed0: finished, 40 s  loss.similarity=0")
    assert lines[1].startswith("[2/4] none_fold2_seed0: about 40 s")
    assert lines[3] == "[4/4] full_fold2_seed0: about 60 s  fold=2 train.seed=0"
    assert lines[4] == "cells: 2 of 4 finished, 2 left (about 50 s)"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--folds", "3"], "--folds: some of 1, 2 expected, got '3'"),
        (["--seeds", "0"], "--seeds: at least 1 expected, got 0"),
        (["--jobs", "0"], "--jobs: at least 1 expected, got 0"),
        (["--table", "5"], "--table: some of 1, 2, or all, expected, got '5'"),
        (["--dataset", "none"], "--dataset: one of tiny expected, got 'none'"),
        (["fold=1"], "'fold=1': use --folds, --fold-lists, --cache and --seeds instead"),
        (["train.seed=1"], "use --folds, --fold-lists, --cache and --seeds instead"),
        (["train.epoch=1"], "unknown setting 'train.epoch'"),
        (["--cache", "nowhere"], "nowhere"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_wrong_arguments_are_refused(
    cache: Path, tmp_path: Path, runner: FakeRunner, more: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        reproduce.main([*words(cache, tmp_path / "out"), *more], runner=runner)
    assert not runner.commands


def test_documented_commands_list_their_cells(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    commands = re.findall(r"^    python -m tools\.reproduce (.+ cad120 .+)$", text, re.MULTILINE)
    assert len(commands) == 4
    places = {"configs/cad120.yaml": CONFIG, "cache/cad120": str(cache), "runs/cad120": "OUT"}
    for command in commands:
        given = [places.get(word, word) for word in shlex.split(command)]
        given = [str(tmp_path / "out") if word == "OUT" else word for word in given]
        assert reproduce.main([*given, "--dry-run"]) == 0
        assert "_fold4_seed2: unknown time" in capsys.readouterr().out


def in_process(command: Sequence[str], log: Path) -> int:
    """Run a command without a child process."""
    return int(importlib.import_module(command[0]).main([*command[1:]]))


def test_real_networks_of_a_dataset_without_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = random_cache(tmp_path / "cache", train=0, test=0)
    for split in ("train", "test"):
        for number in range(5):
            clip = labelled_clip(number, split)
            put(cache, replace(clip, header=replace(clip.header, actions=((number, 0.0, 0.5),))))
    monkeypatch.setattr(table_rows, "FOLDER", tmp_path)
    text = TINY.replace("folds: [1, 2]", "folds: []")
    text = text.replace("{function: rules}", "{words: [model.network=graph]}")
    (tmp_path / "tiny.yaml").write_text(text)
    small = [word for word in SMALL if "selection" not in word]
    more = ["loss.multi_label=false", "loss.excerpts=0", "train.epochs=1", "train.least_share=1"]
    out = tmp_path / "out"
    given = words(cache, out, *small, *more, "train.validation_fraction=0")
    assert reproduce.main(given, runner=in_process) == 0
    rows = table_json(out)["rows"]
    assert rows[3]["num"] == rows[3]["num_all"]  # a baseline keeps every token
    for row in (*rows[:2], rows[3]):
        assert row["status"] == "finished"
        name = f"{row['network']}_seed0"
        metrics = json.loads((out / "runs" / name / "metrics.json").read_text())
        assert row["mean"] == row["pooled"] == metrics["mar"]
        assert row["num_all"] == metrics["num_all"]
    settings = (out / "runs" / "none_seed0" / "config.yaml").read_text()
    assert "reading: false" in settings
    assert "| method A | 0.50 |" in (out / "table_1.md").read_text()
