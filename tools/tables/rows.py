"""Rows of the tables of the paper, from the files in `configs/tables/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.errors import UsageError
from pipeline.weights.files import ROOT

FOLDER = ROOT / "configs" / "tables"
#: Name of a fold (setting `fold`).
FoldName = int | str


@dataclass(frozen=True)
class Network:
    """Network of a row.

    Attributes:
        words: settings, as `key=value` words.
        strict: further settings with `model.preset=strict`.
        paper: further settings with `model.preset=paper`.
        function: key of `tools.tables.measures.MEASURES`, for a row whose metrics come from a
            function instead of a network.
    """

    words: Sequence[str] = ()
    strict: Sequence[str] = ()
    paper: Sequence[str] = ()
    function: str | None = None

    def settings(self, preset: str) -> list[str]:
        """Return the settings with a preset."""
        return [*self.words, *(self.strict if preset == "strict" else self.paper)]


@dataclass(frozen=True)
class Row:
    """Row of a table.

    Attributes:
        name: name of the method.
        network: name of its network: one for all presets, or one per preset. None for a method that
            this repository does not contain.
        folds: name of the group of folds that the row is the mean of (`Tables.fold_groups`), or
            None for the folds of the dataset.
        boxes: source of the boxes, or None for that of the table.
        paper: numbers of the paper, by their keys in `metrics.json`.
    """

    name: str
    network: str | Mapping[str, str] | None = None
    folds: str | None = None
    boxes: str | None = None
    paper: Mapping[str, float] = field(default_factory=dict)

    def network_name(self, preset: str) -> str | None:
        """Return the name of the network with a preset, or None without a network."""
        return self.network[preset] if isinstance(self.network, Mapping) else self.network


@dataclass(frozen=True)
class Comparison:
    """Difference between rows of a table: the sum of `plus` minus the sum of `minus`.

    Attributes:
        name: what is compared.
        plus: names of rows.
        minus: names of rows, as many as in `plus`.
    """

    name: str
    plus: Sequence[str]
    minus: Sequence[str]


@dataclass(frozen=True)
class Column:
    """Column of a table beside its metric: a mean over the finished cells.

    Attributes:
        name: heading.
        key: key of the number in `metrics.json`; keys of nested dicts are joined by dots.
    """

    name: str
    key: str


@dataclass(frozen=True)
class Table:
    """Table of the paper.

    Attributes:
        title: what its rows compare.
        rows: rows in the order of the paper.
        notes: lines below the table, by preset; those of `all` are for all presets.
        boxes: sources of the boxes of which each one makes a table; empty if all rows have their
            own, or if the dataset has one cache.
        comparisons: differences between rows.
    """

    title: str
    rows: tuple[Row, ...]
    notes: Mapping[str, list[str]]
    boxes: Sequence[str] = ()
    comparisons: tuple[Comparison, ...] = ()

    def notes_of(self, preset: str) -> list[str]:
        """Return the lines below the table with a preset."""
        return [*self.notes.get("all", []), *self.notes.get(preset, [])]


@dataclass(frozen=True)
class Tables:
    """Tables of the paper for one dataset.

    Attributes:
        metric: key of the metric in `metrics.json`.
        label: name of the metric.
        folds: folds of the dataset (setting `fold`); empty for a dataset with one test split.
        networks: networks by name.
        tables: tables by number.
        boxes: settings by source of the boxes. Empty if all networks use one cache.
        fold_groups: folds of a file (setting `folds`), by the name of the group.
        columns: further columns of all tables.
        truth_videos: number of test videos on which the truth of names and sentences is measured,
            if the annotations contain the true relations; 0 for none.
    """

    metric: str
    label: str
    folds: tuple[int, ...]
    networks: Mapping[str, Network]
    tables: Mapping[str, Table]
    boxes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fold_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    truth_videos: int = 0


def read_tables(dataset: str) -> Tables:
    """Read the tables of a dataset.

    Args:
        dataset: name of a file in `configs/tables/`, without its suffix.

    Raises:
        UsageError: if there is no such file, or a row has an unknown field, network or group of
            folds, or a comparison has an unknown row.
    """
    path = FOLDER / f"{dataset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise UsageError(f"--dataset: one of {known} expected, got {dataset!r}")
    try:
        found = _tables(yaml.safe_load(path.read_text(encoding="utf-8")))
        for table in found.tables.values():
            _check(table, found)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{path}: tables as in configs/tables/cad120.yaml expected, got "
            f"{type(error).__name__}: {error}"
        ) from error
    return found


def _tables(tree: dict[str, Any]) -> Tables:
    networks = {name: Network(**entry) for name, entry in tree.pop("networks").items()}
    tables = {number: _table(entry) for number, entry in tree.pop("tables").items()}
    columns = tuple(Column(**entry) for entry in tree.pop("columns", []))
    folds = tuple(tree.pop("folds"))
    return Tables(folds=folds, networks=networks, tables=tables, columns=columns, **tree)


def _table(entry: dict[str, Any]) -> Table:
    rows = tuple(Row(**row) for row in entry.pop("rows"))
    comparisons = tuple(Comparison(**each) for each in entry.pop("comparisons", []))
    return Table(rows=rows, comparisons=comparisons, **entry)


def _check(table: Table, tables: Tables) -> None:
    for row in table.rows:
        names = {row.network_name(preset) for preset in ("strict", "paper")} - {None}
        for name in names - tables.networks.keys():
            raise ValueError(f"row {row.name!r}: unknown network {name!r}")
        if names and tables.boxes and not (table.boxes or row.boxes):
            raise ValueError(f"row {row.name!r}: boxes expected, because its table has none")
        if row.folds is not None and row.folds not in tables.fold_groups:
            raise ValueError(f"row {row.name!r}: unknown group of folds {row.folds!r}")
    known = {row.name for row in table.rows}
    for each in table.comparisons:
        for name in {*each.plus, *each.minus} - known:
            raise ValueError(f"comparison {each.name!r}: unknown row {name!r}")
        if len(each.plus) != len(each.minus):
            raise ValueError(f"comparison {each.name!r}: as many rows in plus as in minus expected")
    sources = {*table.boxes, *(row.boxes for row in table.rows if row.boxes)}
    for source in sources - tables.boxes.keys():
        raise ValueError(f"unknown source of boxes {source!r}")
