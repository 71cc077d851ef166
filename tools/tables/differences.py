"""Differences between rows of a table, with intervals from a paired bootstrap over videos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.recall import recall_of_scores
from tools.tables.cells import Cell, CellResult
from tools.tables.rows import Comparison
from tools.tables.scores import VideoScores

RESAMPLES = 500


#: Returns the scores of the test videos of a cell, or None if they do not exist.
ScoresReader = Callable[[Cell], VideoScores | None]


@dataclass(frozen=True)
class Difference:
    """Difference between rows of a table.

    Attributes:
        name: what is compared.
        plus: names of the rows that are added.
        minus: names of the rows that are subtracted.
        value: mean difference over the folds and seeds.
        low: lower end of the 95 % interval over resamples of the test videos.
        high: upper end.
        seeds: number of seeds for which all cells of the rows are finished.
    """

    name: str
    plus: Sequence[str]
    minus: Sequence[str]
    value: float
    low: float
    high: float
    seeds: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return asdict(self)


def compare(
    comparison: Comparison,
    cells: Mapping[str, Sequence[Cell]],
    results: Mapping[str, CellResult],
    scores: ScoresReader,
    *,
    metric: str,
    resamples: int = RESAMPLES,
) -> Difference | None:
    """Compute the difference between rows of a table.

    The k-th folds of all rows have the same test videos. Each resample draws the videos of each
    fold with replacement, the same ones for all rows and seeds. The interval therefore contains the
    chance of the test videos, and no other chance: networks of other seeds differ as well.

    Args:
        comparison: rows to compare.
        cells: cells of each row, all folds of the first seed first.
        results: results of the finished cells, by the name of the cell.
        scores: reader of the scores of a cell.
        metric: key of the metric, `map_official` or `mar`.
        resamples: number of resamples.

    Returns:
        The difference, or None if there is no seed whose cells are finished and have scores of the
        same videos.
    """
    signs = [*((name, 1.0) for name in comparison.plus), *((n, -1.0) for n in comparison.minus)]
    rows = [_by_seed(cells[name]) for name, _ in signs]
    found: list[list[list[VideoScores]]] = []  # by seed, fold and row
    for seed in [s for s in rows[0] if all(s in row for row in rows)]:
        folds = zip(*(row[seed] for row in rows), strict=True)
        read = [[scores(c) if c.name in results else None for c in fold] for fold in folds]
        whole = [[each for each in fold if each is not None] for fold in read]
        if all(len(fold) == len(signs) and _are_same(fold) for fold in whole):
            found.append(whole)
    if not found:
        return None
    weights = np.array([sign for _, sign in signs])

    def difference(drawn: Sequence[np.ndarray | None]) -> float:
        values = [
            [
                [_metric(each, metric, rows) for each in fold]
                for fold, rows in zip(seed, drawn, strict=True)
            ]
            for seed in found
        ]
        return float((np.array(values) @ weights).mean())

    rng, videos = np.random.default_rng(0), [f[0].rows_of_videos(metric) for f in found[0]]
    values = []
    for _ in range(resamples):
        drawn = [
            np.concatenate([fold[i] for i in rng.integers(len(fold), size=len(fold))])
            for fold in videos
        ]
        values.append(difference(drawn))
    low, high = np.nanquantile(values, [0.025, 0.975])
    value = difference([None] * len(videos))
    name, plus, minus = comparison.name, comparison.plus, comparison.minus
    return Difference(name, plus, minus, value, float(low), float(high), len(found))


def _by_seed(cells: Sequence[Cell]) -> dict[int, list[Cell]]:
    found: dict[int, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.seed, []).append(cell)
    return found


def _are_same(fold: Sequence[VideoScores]) -> bool:
    first = fold[0]
    return all(
        np.array_equal(first.ids, each.ids) and np.array_equal(first.labels, each.labels)
        for each in fold
    )


def _metric(found: VideoScores, metric: str, rows: np.ndarray | None) -> float:
    scores, labels = found.scores, found.labels
    if rows is not None:
        scores, labels = scores[rows], labels[rows]
    if metric == "mar":
        found_recall = recall_of_scores(scores, labels)
        return float(found_recall.recall[found_recall.support > 0].mean())
    return charades_map(scores, labels).map
