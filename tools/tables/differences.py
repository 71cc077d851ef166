"""Differences between rows of a table, with intervals from a paired bootstrap over videos."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tools.tables.cells import Cell, CellResult
from tools.tables.rows import Comparison
from tools.tables.scores import Resamples


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
) -> Difference | None:
    """Compute the difference between rows of a table.

    The k-th folds of all rows have the same test videos. Each resample draws the videos of each
    fold with replacement, the same ones for all rows and seeds. Test videos without a clip are left
    out. The interval therefore contains the
    chance of the test videos, and no other chance: networks of other seeds differ as well.

    Args:
        comparison: rows to compare.
        cells: cells of each row, all folds of the first seed first.
        results: results of the finished cells, by the name of the cell.

    Returns:
        The difference, or None if there is no seed whose cells are finished and have resamples of
        the same videos.
    """
    signs = [*((name, 1.0) for name in comparison.plus), *((n, -1.0) for n in comparison.minus)]
    rows = [_by_seed(cells[name]) for name, _ in signs]
    found: list[list[list[Resamples]]] = []  # by seed, fold and row
    for seed in [s for s in rows[0] if all(s in row for row in rows)]:
        folds = list(zip(*(row[seed] for row in rows), strict=True))
        whole = [[r for cell in fold if (r := _resamples(cell, results))] for fold in folds]
        if all(len(fold) == len(signs) and _are_same(fold) for fold in whole):
            found.append(whole)
    if not found:
        return None
    weights = np.array([sign for _, sign in signs])
    # (seeds, folds, rows) and (seeds, folds, rows, resamples)
    values = np.array([[[r.whole for r in fold] for fold in seed] for seed in found])
    drawn = np.array([[[r.values for r in fold] for fold in seed] for seed in found])
    differences = np.einsum("sfrn,r->n", drawn, weights) / (values.shape[0] * values.shape[1])
    low, high = np.nanquantile(differences, [0.025, 0.975])
    name, plus, minus = comparison.name, comparison.plus, comparison.minus
    value = float((values @ weights).mean())
    return Difference(name, plus, minus, value, float(low), float(high), len(found))


def _by_seed(cells: Sequence[Cell]) -> dict[int, list[Cell]]:
    found: dict[int, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.seed, []).append(cell)
    return found


def _resamples(cell: Cell, results: Mapping[str, CellResult]) -> Resamples | None:
    return results[cell.name].resamples if cell.name in results else None


def _are_same(fold: Sequence[Resamples]) -> bool:
    """Whether all cells have as many resamples of the same videos."""
    return len({(each.videos, len(each.values)) for each in fold}) == 1
