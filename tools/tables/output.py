"""Markdown, CSV and JSON files of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.runtime.files import write_atomically, write_json
from pipeline.runtime.progress import duration
from tools.tables.differences import Difference
from tools.tables.rows import FoldName, Tables
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
        tables: tables of the dataset.
        preset: preset of the networks.
        boxes: source of the boxes, or None if all networks use one cache.
        folds: test folds; (None,) for a dataset with one test split.
        rows: results of the rows.
        differences: differences between rows.
        notes: lines below the table.
    """

    number: str
    title: str
    dataset: str
    tables: Tables
    preset: str
    boxes: str | None
    folds: Sequence[FoldName | None]
    rows: Sequence[RowSummary]
    differences: Sequence[Difference]
    notes: Sequence[str]

    @property
    def name(self) -> str:
        """Name of the files."""
        return f"table_{self.number}" + ("" if self.boxes is None else f"_{self.boxes}")

    @property
    def has_groups(self) -> bool:
        """Whether rows are means over a group of folds of a file."""
        return len(self.folds) < self.num_folds

    @property
    def num_folds(self) -> int:
        """Largest number of folds of a row."""
        return max([len(self.folds), *(len(row.folds) for row in self.rows)])

    @property
    def fold_names(self) -> list[str]:
        """Names of the columns of the folds; none for a dataset with one test split."""
        if self.has_groups:
            return [f"fold {number}" for number in range(1, self.num_folds + 1)]
        return [f"fold {fold}" for fold in self.folds if fold is not None]


def write_table(out: Path, table: TableSummary) -> list[Path]:
    """Write the Markdown, CSV and JSON file of a table, and return their paths."""
    paths = [out / f"{table.name}.{suffix}" for suffix in ("md", "csv", "json")]
    write_atomically(paths[0], markdown(table).encode())
    frame = pd.DataFrame([_flat(table, row) for row in table.rows])
    write_atomically(paths[1], frame.to_csv(index=False, na_rep="").encode())
    tree: dict[str, Any] = {
        "schema": TABLE_SCHEMA,
        "table": table.number,
        "title": table.title,
        "dataset": table.dataset,
        "metric": table.tables.metric,
        "preset": table.preset,
        "boxes": table.boxes,
        "folds": list(table.folds),
        "rows": [row.to_dict() for row in table.rows],
        "differences": [each.to_dict() for each in table.differences],
        "notes": list(table.notes),
    }
    write_json(paths[2], tree)
    return paths


def markdown(table: TableSummary) -> str:
    """Return a table as Markdown."""
    label, pools = table.tables.label, any(row.pooled is not None for row in table.rows)
    names = ["method", f"{label} (paper)", label]
    names += [f"{label} (pooled)"] * pools + table.fold_names
    names += ["variance", "worst fold"] * table.has_groups
    names += [column.name for column in table.tables.columns]
    names += ["Num (paper)", "Num before", "Num", "Num (noise)", "seeds", "time"]
    lines = [names, ["---"] * len(names)]
    lines += [_cells(table, row, pools=pools) for row in table.rows]
    text = [f"# Table {table.number}: {table.title}", ""]
    boxes = "" if table.boxes is None else f", boxes `{table.boxes}`"
    text += [f"Dataset {table.dataset}, preset `{table.preset}`{boxes}{_which_folds(table)}.", ""]
    text += ["| " + " | ".join(line) + " |" for line in lines] + [""]
    if table.differences:
        text += [
            f"| difference in {label} | value | 95 % interval | seeds |",
            "| --- |" + " --- |" * 3,
        ]
        text += [_difference(each) for each in table.differences] + [""]
    text += [f"- {' '.join(note.split())}" for note in [*table.notes, *_remarks(table.rows)]]
    return "\n".join(text) + "\n"


def _difference(found: Difference) -> str:
    interval = f"{found.low:+.3f} to {found.high:+.3f}"
    return f"| {found.name} | {found.value:+.3f} | {interval} | {found.seeds} |"


def _cells(table: TableSummary, row: RowSummary, *, pools: bool) -> list[str]:
    """Return the columns of a row."""
    missing = "*not run*" if row.status == "not run" else f"*{row.status}*"
    ours = missing
    if row.mean is not None:
        ours = f"{row.mean:.3f}" + ("" if row.std is None else f" ± {row.std:.3f}")
    digits = 3 if table.tables.metric == "map_official" else 2
    found = [row.name, _paper(row.paper, table.tables.metric, digits), ours]
    values = [row.pooled] * pools + [v for v in row.folds if table.fold_names]
    found += [missing if value is None else f"{value:.3f}" for value in values]
    found += [NONE] * (len(table.fold_names) - len(row.folds)) if table.fold_names else []
    if table.has_groups:
        several = len(row.folds) > 1
        spread = [None if row.variance is None else f"{row.variance:.2f}"]
        spread += [None if row.worst is None else f"{row.worst:.3f}"]
        found += [(value or missing) if several else NONE for value in spread]
    empty = NONE if row.finished else missing
    found += [empty if value is None else f"{value:.3f}" for value in row.columns.values()]
    found.append(_paper(row.paper, "num", 1))
    tokens = (row.num_all, row.num, row.num_noise)
    # A row without a network has no tokens.
    found += [empty if value is None else f"{value:.1f}" for value in tokens]
    return [*found, str(row.seeds), duration(row.seconds) if row.finished else missing]


def _paper(numbers: Mapping[str, float], key: str, digits: int) -> str:
    return f"{numbers[key]:.{digits}f}" if key in numbers else NONE


def _which_folds(table: TableSummary) -> str:
    if not table.fold_names or table.has_groups:
        return ""
    folds = ", ".join(str(fold) for fold in table.folds)
    every = table.tables.folds
    whole = "" if len(table.folds) == len(every) else f" of {len(every)}"
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
    flat |= {f"paper_{key}": row.paper.get(key) for key in (table.tables.metric, "num")}
    flat |= {name: tree[name] for name in ("mean", "std", "pooled", "variance", "worst")}
    folds = zip(table.fold_names, row.folds, strict=False)
    flat |= {name.replace(" ", ""): value for name, value in folds} | dict(row.columns)
    names = ("num_all", "num", "num_noise", "seeds", "finished", "cells", "seconds")
    return flat | {name: tree[name] for name in names}
