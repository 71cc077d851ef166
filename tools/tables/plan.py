"""Cells of a table, and the table of their results."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tools.tables.cells import Cell, CellResult
from tools.tables.output import TableSummary
from tools.tables.rows import Row, Table, Tables
from tools.tables.summary import summarize


@dataclass(frozen=True)
class Plan:
    """What to compute for a table.

    Attributes:
        dataset: name of the dataset.
        number: number of the table.
        tables: tables of the dataset.
        preset: preset of the networks.
        words: settings of all networks.
        folds: test folds; (None,) for a dataset with one test split.
        seeds: number of seeds. A row without a network has one.
        functions: names of the known functions of rows without a network.
        inputs: SHA-256 of the file of the settings and of the clips of the cache.
    """

    dataset: str
    number: str
    tables: Tables
    preset: str
    words: tuple[str, ...]
    folds: tuple[int | None, ...]
    seeds: int
    functions: Collection[str]
    inputs: str

    @property
    def table(self) -> Table:
        """The table."""
        return self.tables.tables[self.number]

    def row_cells(self, row: Row) -> list[Cell]:
        """Return the cells of a row; none for a row that cannot be run."""
        name = row.network_name(self.preset)
        if name is None:
            return []
        network = self.tables.networks[name]
        words, seeds = (*self.words, *network.settings(self.preset)), self.seeds
        if network.function is not None:
            if network.function not in self.functions:
                return []
            words, seeds = self.words, 1
        return [
            Cell(name, fold, seed, words, network.function, self.inputs)
            for seed in range(seeds)
            for fold in self.folds
        ]

    def cells(self) -> dict[str, Cell]:
        """Return the cells of all rows by name. Rows with the same network share cells."""
        return {cell.name: cell for row in self.table.rows for cell in self.row_cells(row)}

    def summarize(
        self, results: Mapping[str, CellResult], failures: Mapping[str, str]
    ) -> TableSummary:
        """Return the results of the table.

        Args:
            results: results of the finished cells, by the name of the cell.
            failures: messages of the failed cells, by the name of the cell.
        """
        rows = [
            summarize(
                row,
                row.network_name(self.preset),
                self.row_cells(row),
                results,
                failures,
                metric=self.tables.metric,
                folds=self.folds,
            )
            for row in self.table.rows
        ]
        return TableSummary(
            number=self.number,
            title=self.table.title,
            dataset=self.dataset,
            metric=self.tables.metric,
            label=self.tables.label,
            preset=self.preset,
            folds=self.folds,
            all_folds=self.tables.folds,
            rows=rows,
            notes=self.table.notes_of(self.preset),
        )
