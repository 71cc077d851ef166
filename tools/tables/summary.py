"""Mean, standard deviation and pooled metric of each row of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import none_if_nan
from pipeline.evaluation.recall import MeanAverageRecall
from tools.tables.cells import Cell, CellResult
from tools.tables.rows import FoldName, Row, Tables


@dataclass(frozen=True)
class RowSummary:
    """Results of a row of a table.

    A seed is complete if the cells of all folds are finished.

    Attributes:
        name: name of the method.
        network: name of the network, or None.
        paper: numbers of the paper, by their keys in `metrics.json`.
        mean: mean over the complete seeds of the mean over the folds; None without complete seeds.
        std: sample standard deviation of the mean over the folds; None with fewer than two complete
            seeds.
        pooled: mean over the complete seeds of the mAR of the clips of all folds together; None for
            other metrics.
        folds: mean over the finished cells of each fold; None for a fold without finished cells.
        num_all: mean number of tokens per clip before the selection, over the finished cells.
        num: the same after the selection.
        num_noise: the same for the subsets that the selectors draw in training.
        variance: population variance of the folds, of the metric in percent; None without complete
            seeds or with one fold.
        worst: lowest value of a fold; None under the same conditions.
        columns: mean of each further column over the finished cells, by its heading.
        seeds: number of complete seeds.
        finished: number of finished cells.
        cells: number of cells.
        seconds: sum of the times of the finished cells.
        warnings: number of finished cells with each warning.
        failures: messages of the cells that failed.
    """

    name: str
    network: str | None
    paper: Mapping[str, float]
    mean: float | None
    std: float | None
    pooled: float | None
    folds: tuple[float | None, ...]
    num_all: float | None
    num: float | None
    num_noise: float | None
    variance: float | None
    worst: float | None
    columns: Mapping[str, float | None]
    seeds: int
    finished: int
    cells: int
    seconds: float
    warnings: Mapping[str, int]
    failures: tuple[str, ...]

    @property
    def status(self) -> str:
        """`finished`, `incomplete`, `failed` or `not run`."""
        if self.finished and self.finished == self.cells:
            return "finished"
        return "failed" if self.failures else "incomplete" if self.finished else "not run"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the status for JSON."""
        return asdict(self) | {"status": self.status, "failures": list(self.failures)}


def summarize(
    row: Row,
    network: str | None,
    cells: Sequence[Cell],
    results: Mapping[str, CellResult],
    failures: Mapping[str, str],
    *,
    tables: Tables,
    folds: Sequence[FoldName | None],
) -> RowSummary:
    """Summarize the cells of a row.

    Args:
        row: row of the table.
        network: name of its network, or None.
        cells: cells of the row; empty if it is not run.
        results: results of the finished cells, by the name of the cell.
        failures: messages of the failed cells, by the name of the cell.
        tables: tables of the dataset.
        folds: folds of the row.
    """
    metric = tables.metric
    done = [results[cell.name] for cell in cells if cell.name in results]
    by_fold = [[float(r.metrics[metric]) for r in done if r.cell.fold == fold] for fold in folds]
    complete = [
        parts
        for seed in dict.fromkeys(cell.seed for cell in cells)
        if len(parts := [r for r in done if r.cell.seed == seed]) == len(folds)
    ]
    # (complete seeds, folds)
    table = np.array([[float(r.metrics[metric]) for r in parts] for parts in complete])
    is_spread = bool(complete) and len(folds) > 1
    means = [float(np.mean([r.metrics[metric] for r in parts])) for parts in complete]
    pooled = [pooled_mar([r.metrics for r in parts]) for parts in complete]
    known = [value for value in pooled if value is not None]
    codes = [code for r in done for code in r.warnings]
    return RowSummary(
        name=row.name,
        network=network,
        paper=row.paper,
        mean=_mean(means),
        std=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        pooled=_mean(known),
        folds=tuple(_mean(values) for values in by_fold),
        num_all=_mean_metric(done, "num_all"),
        num=_mean_metric(done, "num"),
        num_noise=_mean_metric(done, "num_noise"),
        variance=float(np.var(100 * table.mean(0))) if is_spread else None,
        worst=float(table.mean(0).min()) if is_spread else None,
        columns={column.name: _mean_metric(done, column.key) for column in tables.columns},
        seeds=len(complete),
        finished=len(done),
        cells=len(cells),
        seconds=round(sum(r.seconds for r in done), 1),
        warnings={code: codes.count(code) for code in sorted({*codes})},
        failures=tuple(failures[cell.name] for cell in cells if cell.name in failures),
    )


def pooled_mar(metrics: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mAR of the clips of several folds together.

    Args:
        metrics: content of `metrics.json` of each fold.

    Returns:
        The mAR, or None if the folds have no recalls.
    """
    if not all("recall" in tree for tree in metrics):
        return None
    hits, support = (
        np.sum([[row[key] for row in tree["recall"]] for tree in metrics], axis=0)
        for key in ("hits", "support")
    )
    return none_if_nan(MeanAverageRecall(hits, support).mar)


def _mean_metric(results: Sequence[CellResult], key: str) -> float | None:
    values = [_nested(r.metrics, key.split(".")) for r in results]
    return _mean([float(value) for value in values if value is not None])


def _nested(tree: Any, keys: Sequence[str]) -> Any:
    """Return the value at a path of keys, or None if there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
