"""Cells of a table: training and evaluation of one network for one fold and one seed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache.clip import ClipHeader
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
        truth_videos: number of test videos on which the truth of names and sentences is measured;
            0 without annotations.
    """

    config: Path
    cache: Path
    annotations: Path | None = None
    words: tuple[str, ...] = ()
    caches: Mapping[str, Path] = field(default_factory=dict)
    folds: Path | None = None
    truth_videos: int = 0
    _headers: dict[Path, list[ClipHeader]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def cache_of(self, boxes: str | None) -> Path:
        """Return the cache with a source of boxes; None selects the first cache."""
        return (self.cache if boxes is None else self.caches[boxes]).resolve()

    def inputs(self, boxes: str | None, *, has_folds: bool, has_predicted: bool) -> str:
        """Return the SHA-256 of the settings, the clips, `cache.json` and the file of the folds.

        Clips are compared by what determines them: video, annotation and settings. The features of
        another machine differ by rounding, so that cells of several machines can be joined.

        Args:
            boxes: source of the boxes; None selects the first cache.
            has_folds: whether the file of the folds is used.
            has_predicted: whether predicted relations are used.
        """
        cache = self.cache_of(boxes)
        if cache not in self._headers:
            self._headers[cache] = [clip.header for clip in list_clips(cache)[0]]
        clips = [
            (h.video_id, h.fingerprint, h.labels, h.predictor if has_predicted else None)
            for h in self._headers[cache]
        ]
        parts = [file_sha256(self.config), read_cache_info(cache).to_dict(), clips]
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
        inputs: result of `Sources.inputs`.
        boxes: source of the boxes, which selects the cache, or None for the first cache.
        truth_videos: number of test videos on which the truth of names and sentences is measured.
    """

    network: str
    fold: FoldName | None
    seed: int
    words: tuple[str, ...]
    function: str | None
    inputs: str
    boxes: str | None = None
    truth_videos: int = 0

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
        """Return the fields as JSON."""
        return asdict(self)

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
            schema, fingerprint = tree["schema"], tree["fingerprint"]
            found = self._parse(cell, tree) if schema == CELL_SCHEMA else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--out: {path} is damaged ({error}); delete it") from error
        if found is None:
            raise UsageError(
                f"--out: a cell of schema {CELL_SCHEMA} expected, {path} has {schema!r}; use "
                "another folder"
            )
        if fingerprint != cell.fingerprint:
            raise UsageError(
                f"--out: results of these settings and of these data expected, but {path} has "
                "others; use another folder, or restore the missing clips of the cache"
            )
        return found

    def _parse(self, cell: Cell, tree: Any) -> CellResult:
        """Convert the JSON of a finished cell.

        Raises:
            KeyError, TypeError, ValueError: if a field is missing or has another type.
        """
        metrics, seconds, warnings = tree["metrics"], tree["seconds"], tree["warnings"]
        if not isinstance(metrics, dict):
            raise ValueError("metrics: an object expected")
        for name, value in ((self._metric, metrics[self._metric]), ("seconds", seconds)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name}: a number of at least 0 expected, got {value!r}")
        if not isinstance(warnings, list) or not all(isinstance(code, str) for code in warnings):
            raise ValueError("warnings: a list of codes expected")
        drawn = None if cell.function else Resamples.from_dict(tree["resamples"])
        return CellResult(cell, metrics, float(seconds), tuple(warnings), drawn)

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
        seconds = round(time.time() - start, 1)
        drawn = None if cell.function else self._resample(cell, run / "scores.npz")
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

    def _resample(self, cell: Cell, path: Path) -> Resamples:
        try:
            return VideoScores.read(path).resample(self._metric)
        except (UsageError, OSError, ValueError, KeyError) as error:
            raise StageError(f"{cell.name}: {path}: scores expected: {error}") from error

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
        if not (cell.truth_videos and sources.annotations and explains):
            return {}
        words = ["--annotations", str(sources.annotations.resolve()), "--out", str(run / "truth")]
        limit = ["--limit", str(cell.truth_videos), "--truth"]
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
