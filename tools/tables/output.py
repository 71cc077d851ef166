"""Markdown, CSV and JSON files of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.runtime.files import write_atomically, write_json
from pipeline.runtime.progress import duration
from tools.tables.summary import RowSummary

TABLE_SCHEMA = "laiar.table/1"
#: Text of a number that the paper or the row does not have.
NONE = "n/a"


@dataclass(frozen=True)
class TableSummary:
    """Results of a table.

    Attributes:
        number: number of the table in the paper.
        title: what the rows compare.
        dataset: name of the dataset.
        metric: key of the metric in `metrics.json`.
        label: name of the metric.
        preset: preset of the networks.
        folds: test folds; (None,) for a dataset with one test split.
        all_folds: all folds of the dataset.
        rows: results of the rows.
        notes: lines below the table.
    """

    number: str
    title: str
    dataset: str
    metric: str
    label: str
    preset: str
    folds: Sequence[int | None]
    all_folds: Sequence[int]
    rows: Sequence[RowSummary]
    notes: Sequence[str]

    @property
    def fold_names(self) -> list[str]:
        """Names of the columns of the folds; none for a dataset with one test split."""
        return [f"fold {fold}" for fold in self.folds if fold is not None]


def write_table(out: Path, table: TableSummary) -> list[Path]:
    """Write `table_N.md`, `table_N.csv` and `table_N.json`, and return their paths."""
    paths = [out / f"table_{table.number}.{suffix}" for suffix in ("md", "csv", "json")]
    write_atomically(paths[0], markdown(table).encode())
    frame = pd.DataFrame([_flat(table, row) for row in table.rows])
    write_atomically(paths[1], frame.to_csv(index=False, na_rep="").encode())
    tree: dict[str, Any] = {
        "schema": TABLE_SCHEMA,
        "table": table.number,
        "title": table.title,
        "dataset": table.dataset,
        "metric": table.metric,
        "preset": table.preset,
        "folds": list(table.folds),
        "rows": [row.to_dict() for row in table.rows],
        "notes": list(table.notes),
    }
    write_json(paths[2], tree)
    return paths


def markdown(table: TableSummary) -> str:
    """Return a table as Markdown."""
    label, pools = table.label, any(row.pooled is not None for row in table.rows)
    names = ["method", f"{label} (paper)", label]
    names += [f"{label} (pooled)"] * pools + table.fold_names
    names += ["Num (paper)", "Num before", "Num", "Num (noise)", "seeds", "time"]
    lines = [names, ["---"] * len(names)]
    lines += [_cells(table, row, pools=pools) for row in table.rows]
    text = [f"# Table {table.number}: {table.title}", ""]
    text += [f"Dataset {table.dataset}, preset `{table.preset}`{_which_folds(table)}.", ""]
    text += ["| " + " | ".join(line) + " |" for line in lines] + [""]
    text += [f"- {' '.join(note.split())}" for note in [*table.notes, *_remarks(table.rows)]]
    return "\n".join(text) + "\n"


def _cells(table: TableSummary, row: RowSummary, *, pools: bool) -> list[str]:
    """Return the columns of a row."""
    missing = "*not run*" if row.status == "not run" else f"*{row.status}*"
    ours = missing
    if row.mean is not None:
        ours = f"{row.mean:.3f}" + ("" if row.std is None else f" ± {row.std:.3f}")
    found = [row.name, _paper(row.paper, table.metric, 2), ours]
    values = [row.pooled] * pools + [v for v in row.folds if table.fold_names]
    found += [missing if value is None else f"{value:.3f}" for value in values]
    found.append(_paper(row.paper, "num", 1))
    tokens = (row.num_all, row.num, row.num_noise)
    # A row without a network has no tokens.
    empty = NONE if row.finished else missing
    found += [empty if value is None else f"{value:.1f}" for value in tokens]
    return [*found, str(row.seeds), duration(row.seconds) if row.finished else missing]


def _paper(numbers: Mapping[str, float], key: str, digits: int) -> str:
    return f"{numbers[key]:.{digits}f}" if key in numbers else NONE


def _which_folds(table: TableSummary) -> str:
    if not table.fold_names:
        return ""
    folds = ", ".join(str(fold) for fold in table.folds)
    whole = "" if len(table.folds) == len(table.all_folds) else f" of {len(table.all_folds)}"
    return f", test folds {folds}{whole}"


def _remarks(rows: Sequence[RowSummary]) -> list[str]:
    """Return notes on rows with unfinished or failed cells, and with warnings."""
    found = []
    for row in rows:
        if row.finished < row.cells:
            found.append(f"{row.name}: {row.finished} of {row.cells} cells are finished.")
        found += [f"{row.name}: {message}" for message in row.failures]
        if row.warnings:
            codes = ", ".join(f"{code} ({num})" for code, num in row.warnings.items())
            found.append(f"{row.name}: warnings (number of cells): {codes}.")
    return found


def _flat(table: TableSummary, row: RowSummary) -> dict[str, Any]:
    """Return a row of the CSV file."""
    tree = row.to_dict()
    flat = {name: tree[name] for name in ("name", "network", "status")}
    flat |= {f"paper_{key}": row.paper.get(key) for key in (table.metric, "num")}
    flat |= {name: tree[name] for name in ("mean", "std", "pooled")}
    if table.fold_names:
        flat |= {f"fold{f}": value for f, value in zip(table.folds, row.folds, strict=True)}
    names = ("num_all", "num", "num_noise", "seeds", "finished", "cells", "seconds")
    return flat | {name: tree[name] for name in names}
