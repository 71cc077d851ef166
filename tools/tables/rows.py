"""Rows of the tables of the paper, from the files in `configs/tables/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.errors import UsageError
from pipeline.weights.files import ROOT

FOLDER = ROOT / "configs" / "tables"


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
        paper: numbers of the paper, by their keys in `metrics.json`.
    """

    name: str
    network: str | Mapping[str, str] | None = None
    paper: Mapping[str, float] = field(default_factory=dict)

    def network_name(self, preset: str) -> str | None:
        """Return the name of the network with a preset, or None without a network."""
        return self.network[preset] if isinstance(self.network, Mapping) else self.network


@dataclass(frozen=True)
class Table:
    """Table of the paper.

    Attributes:
        title: what its rows compare.
        rows: rows in the order of the paper.
        notes: lines below the table, by preset; those of `all` are for all presets.
    """

    title: str
    rows: tuple[Row, ...]
    notes: Mapping[str, list[str]]

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
    """

    metric: str
    label: str
    folds: tuple[int, ...]
    networks: Mapping[str, Network]
    tables: Mapping[str, Table]


def read_tables(dataset: str) -> Tables:
    """Read the tables of a dataset.

    Args:
        dataset: name of a file in `configs/tables/`, without its suffix.

    Raises:
        UsageError: if there is no such file, or a row has an unknown field or network.
    """
    path = FOLDER / f"{dataset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise UsageError(f"--dataset: one of {known} expected, got {dataset!r}")
    try:
        found = _tables(yaml.safe_load(path.read_text(encoding="utf-8")))
        for table in found.tables.values():
            for row in table.rows:
                for preset in ("strict", "paper"):
                    name = row.network_name(preset)
                    if name is not None and name not in found.networks:
                        raise ValueError(f"row {row.name!r}: unknown network {name!r}")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{path}: tables as in configs/tables/cad120.yaml expected, got "
            f"{type(error).__name__}: {error}"
        ) from error
    return found


def _tables(tree: dict[str, Any]) -> Tables:
    networks = {name: Network(**entry) for name, entry in tree["networks"].items()}
    tables = {
        number: Table(entry["title"], tuple(Row(**row) for row in entry["rows"]), entry["notes"])
        for number, entry in tree["tables"].items()
    }
    return Tables(tree["metric"], tree["label"], tuple(tree["folds"]), networks, tables)
