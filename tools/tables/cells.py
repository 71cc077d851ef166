"""Cells of a table: training and evaluation of one network for one fold and one seed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache.folder import read_cache_info
from pipeline.cache.listing import list_clips
from pipeline.errors import ItemError, StageError, UsageError
from pipeline.evaluation.recall import MeanAverageRecall
from pipeline.runtime.files import file_sha256, json_sha256, write_json
from pipeline.training.state import STATE_FILE
from pipeline.weights.cards import read_json
from pipeline.weights.run_folder import BANK
from tools.tables.rows import FoldName
from tools.tables.scores import Resamples, VideoScores

CELL_SCHEMA = "laiar.cell/2"
#: Runs `python -m WORDS` and appends its output to a file. Returns the exit code.
Runner = Callable[[Sequence[str], Path], int]


@dataclass(frozen=True)
class Sources:
    """Data of a command.

    Attributes:
        config: YAML file of the settings.
        cache: folder of the first cache.
        annotations: folder of the annotations, which some functions and the truth of names and
            sentences require, or None.
        words: settings of all networks, as key=value words.
        caches: folders of the caches by the source of their boxes.
        folds: file that lists the videos of folds (setting `folds`), or None.
        truth_videos: number of test videos on which the truth of names and sentences is measured.
    """

    config: Path
    cache: Path
    annotations: Path | None = None
    words: tuple[str, ...] = ()
    caches: Mapping[str, Path] = field(default_factory=dict)
    folds: Path | None = None
    truth_videos: int = 0
    _clips: dict[tuple[Path, bool], str] = field(default_factory=dict, init=False, repr=False)

    def cache_of(self, boxes: str | None) -> Path:
        """Return the cache with a source of boxes; None selects the first cache."""
        return (self.cache if boxes is None else self.caches[boxes]).resolve()

    def inputs(self, boxes: str | None, *, has_folds: bool, has_predicted: bool) -> str:
        """Return the SHA-256 of the file of the settings, the clips, and the file of the folds.

        Clips are compared by what determines them: video, annotation and settings. The features of
        another machine differ by rounding, so that cells of several machines can be joined.

        Args:
            boxes: source of the boxes; None selects the first cache.
            has_folds: whether the file of the folds is used.
            has_predicted: whether predicted relations are used.
        """
        key = self.cache_of(boxes), has_predicted
        if key not in self._clips:
            headers = [clip.header for clip in list_clips(key[0])[0]]
            clips = [
                (h.video_id, h.fingerprint, h.labels, h.predictor if has_predicted else None)
                for h in headers
            ]
            self._clips[key] = json_sha256([read_cache_info(key[0]).to_dict(), clips])
        parts = [file_sha256(self.config), self._clips[key]]
        if has_folds and self.folds is not None:
            parts.append(file_sha256(self.folds))
        return json_sha256(parts)


#: Computes the metrics of a row without a network, on the test clips of a fold.
Measure = Callable[[Sources, FoldName | None], MeanAverageRecall]


@dataclass(frozen=True)
class Cell:
    """Cell to compute.

    Attributes:
        network: name of the network.
        fold: test fold, or None for a dataset with one test split. A text is the name of a fold of
            the file `Sources.folds`.
        seed: random seed of the training.
        words: settings of the training, without those of the fold and of the seed.
        function: key of `tools.tables.measures.MEASURES`, or None for a network.
        inputs: SHA-256 of the file of the settings and of the clips of the cache.
        boxes: source of the boxes, which selects the cache, or None for the first cache.
    """

    network: str
    fold: FoldName | None
    seed: int
    words: tuple[str, ...]
    function: str | None
    inputs: str
    boxes: str | None = None

    @property
    def name(self) -> str:
        """Name of the files of the cell."""
        boxes = "" if self.boxes is None else f"_{self.boxes}"
        fold = f"_fold{self.fold}" if isinstance(self.fold, int) else f"_{self.fold}"
        return f"{self.network}{boxes}{'' if self.fold is None else fold}_seed{self.seed}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that determines the result, except the code."""
        return json_sha256(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON, without `boxes` if it is None."""
        return {k: v for k, v in asdict(self).items() if k != "boxes" or v is not None}

    @property
    def training_words(self) -> list[str]:
        """All settings of the training."""
        fold = [] if self.fold is None else [f"fold={self.fold}"]
        return [*self.words, *fold, f"train.seed={self.seed}"]


@dataclass(frozen=True)
class CellResult:
    """Result of a finished cell.

    Attributes:
        cell: the cell.
        metrics: content of `metrics.json`.
        seconds: time of the training and of the evaluation. After an interruption, the time of the
            last command.
        warnings: codes of the warnings of the training and of the evaluation.
        resamples: metric on resamples of the test videos, or None for a row without a network.
    """

    cell: Cell
    metrics: Mapping[str, Any]
    seconds: float
    warnings: tuple[str, ...] = ()
    resamples: Resamples | None = None


class Cells:
    """Computes cells and stores each finished cell in a JSON file.

    Args:
        out: output folder, with the folders `cells` (results), `runs` (run folders) and `logs`.
        sources: data of the commands.
        runner: runs a command.
        measures: functions of rows without a network.
        metric: key of the metric, which each result must contain.
    """

    def __init__(
        self,
        out: Path,
        sources: Sources,
        runner: Runner,
        measures: Mapping[str, Measure],
        metric: str,
    ) -> None:
        self._out, self._sources = out.resolve(), sources
        self._run, self._measures, self._metric = runner, measures, metric

    def path(self, cell: Cell) -> Path:
        """Return the file of the result of a cell."""
        return self._out / "cells" / f"{cell.name}.json"

    def log(self, cell: Cell) -> Path:
        """Return the file of the output of the commands of a cell."""
        return self._out / "logs" / f"{cell.name}.log"

    def find(self, cell: Cell) -> CellResult | None:
        """Return the stored result of a cell, or None if it is not finished.

        Raises:
            UsageError: if the file is damaged, or its result belongs to other settings.
        """
        path = self.path(cell)
        if not path.is_file():
            return None
        try:
            tree = read_json(path)
            is_same = tree["fingerprint"] == cell.fingerprint and tree["schema"] == CELL_SCHEMA
            drawn = tree["resamples"]
            found = CellResult(
                cell,
                tree["metrics"],
                tree["seconds"],
                tuple(tree["warnings"]),
                None if drawn is None else Resamples.from_dict(drawn),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--out: {path} is damaged ({error}); delete it") from error
        if not is_same:
            raise UsageError(
                f"--out: results of these settings and of this cache expected, but {path} has "
                "others; use another folder"
            )
        return found

    def compute(self, cell: Cell) -> CellResult:
        """Compute a cell and store its result.

        The checkpoint of a finished training is deleted, because it is several times as large as
        the weights.

        Raises:
            StageError: if a command fails. The message names its log.
        """
        start = time.time()
        run = self._out / "runs" / cell.name
        for folder in (run.parent, self.path(cell).parent, self.log(cell).parent):
            folder.mkdir(parents=True, exist_ok=True)
        metrics, warnings = self._measure(cell) if cell.function else self._train(cell, run)
        if metrics.get(self._metric) is None:
            raise StageError(
                f"{cell.name}: a metric {self._metric!r} expected, the evaluation has none; check "
                "loss.multi_label and the test clips"
            )
        scores, drawn = run / "scores.npz", None
        if not cell.function and scores.is_file():
            drawn = VideoScores.read(scores).resample(self._metric)
        seconds = round(time.time() - start, 1)
        result = CellResult(cell, metrics, seconds, tuple(sorted(warnings)), drawn)
        tree = {
            "schema": CELL_SCHEMA,
            "fingerprint": cell.fingerprint,
            "cell": cell.to_dict(),
            "metrics": metrics,
            "seconds": result.seconds,
            "warnings": list(result.warnings),
            "resamples": drawn and drawn.to_dict(),
        }
        write_json(self.path(cell), tree)
        (run / STATE_FILE).unlink(missing_ok=True)
        return result

    def _measure(self, cell: Cell) -> tuple[dict[str, Any], set[str]]:
        assert cell.function is not None
        try:
            return self._measures[cell.function](self._sources, cell.fold).to_dict(), set()
        except (UsageError, ItemError) as error:
            raise StageError(f"{cell.name}: {error}") from error

    def _train(self, cell: Cell, run: Path) -> tuple[dict[str, Any], set[str]]:
        sources, log = self._sources, self.log(cell)
        cache = ["--cache", str(sources.cache_of(cell.boxes)), "--run", str(run)]
        config = ["--config", str(sources.config.resolve())]
        folds = []
        if isinstance(cell.fold, str) and sources.folds is not None:
            folds = [f"folds={sources.folds.resolve()}"]
        code = self._run(["pipeline.train", *config, *cache, *cell.training_words, *folds], log)
        warnings = _warnings_of_training(run)
        # Such a network is a valid result of an ablation.
        if code and not (code == 1 and "DEGENERATE_SELECTION" in warnings):
            raise StageError(f"{cell.name}: training {_failure(code, log)}")
        if code := self._run(["pipeline.evaluate", *cache], log):
            raise StageError(f"{cell.name}: evaluation {_failure(code, log)}")
        metrics = _read(run / "metrics.json") | self._truth(cell, run, cache, log)
        return metrics, warnings | {*metrics.get("warnings", [])}

    def _truth(self, cell: Cell, run: Path, cache: list[str], log: Path) -> dict[str, Any]:
        """Measure the share of true names and sentences, if the true relations are known."""
        sources, explains = self._sources, (run / BANK).is_file()
        if not (sources.truth_videos and sources.annotations and explains):
            return {}
        words = ["--annotations", str(sources.annotations.resolve()), "--out", str(run / "truth")]
        limit = ["--limit", str(sources.truth_videos), "--truth"]
        if code := self._run(["tools.faithfulness", *cache, *words, *limit], log):
            raise StageError(f"{cell.name}: truth of sentences {_failure(code, log)}")
        found = _read(run / "truth" / "faithfulness.json")["metrics"]
        truth = {name: row["mean"] for name, row in found.items()}
        names = [v for k, v in truth.items() if k.startswith("name is true") and k.count(",") == 1]
        return {"truth": truth | {"names": float(np.mean(names)) if names else None}}


def _warnings_of_training(run: Path) -> set[str]:
    """Return the warnings of a training without failed clips."""
    path = run / "run.json"
    tree = _read(path) if path.is_file() else {}
    if tree.get("status") != "finished" or tree["counts"]["failed"]:
        return set()
    return {*tree.get("warnings", [])}


def _read(path: Path) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise StageError(f"{path}: a file of the pipeline expected: {error}") from error
    return tree


def _failure(code: int, log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "no output")
    return f"failed with exit code {code}: {last.strip()[:200]} (log: {log})"
