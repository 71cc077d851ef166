"""Cells of a table, and the table of their results."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.config.loading import load_config
from tools.tables.cells import Cell, CellResult, Sources
from tools.tables.differences import compare
from tools.tables.output import TableSummary
from tools.tables.rows import FoldName, Row, Table, Tables
from tools.tables.summary import summarize


@dataclass(frozen=True)
class Plan:
    """What to compute for a table.

    Attributes:
        dataset: name of the dataset.
        number: number of the table in the paper.
        tables: tables of the dataset.
        preset: preset of the networks.
        sources: data of the commands.
        folds: test folds; (None,) for a dataset with one test split.
        seeds: number of seeds. A row without a network has one.
        functions: names of the known functions of rows without a network.
        boxes: source of the boxes, or None for the first cache.
    """

    dataset: str
    number: str
    tables: Tables
    preset: str
    sources: Sources
    folds: tuple[FoldName | None, ...]
    seeds: int
    functions: Collection[str]
    boxes: str | None = None

    @property
    def table(self) -> Table:
        """The table."""
        return self.tables.tables[self.number]

    def row_folds(self, row: Row) -> tuple[FoldName | None, ...]:
        """Return the folds of a row; none if it requires the file of the folds."""
        if row.folds is None:
            return self.folds
        return () if self.sources.folds is None else tuple(self.tables.fold_groups[row.folds])

    def row_cells(self, row: Row) -> list[Cell]:
        """Return the cells of a row; none for a row that cannot be run."""
        name = row.network_name(self.preset)
        if name is None:
            return []
        network = self.tables.networks[name]
        boxes = row.boxes or self.boxes
        if boxes is not None and boxes not in self.sources.caches:
            return []
        words = (*self.tables.boxes.get(str(boxes), ()), *self.sources.words)
        seeds = self.seeds
        if network.function is not None:
            if network.function not in self.functions:
                return []
            seeds = 1
        else:
            words = (*words, *network.settings(self.preset))
        relations = load_config(self.sources.config, words).relations
        inputs = self.sources.inputs(
            boxes,
            has_folds=row.folds is not None,
            has_predicted=relations.name == "predicted",
        )
        truth = self.sources.truth_videos if network.function is None else 0
        return [
            Cell(name, fold, seed, words, network.function, inputs, boxes, truth)
            for seed in range(seeds)
            for fold in self.row_folds(row)
        ]

    def cells(self) -> dict[str, Cell]:
        """Return the cells of all rows by name. Rows with the same network share cells."""
        return {cell.name: cell for row in self.table.rows for cell in self.row_cells(row)}

    def summarize(
        self,
        results: Mapping[str, CellResult],
        failures: Mapping[str, str],
    ) -> TableSummary:
        """Return the results of the table.

        Args:
            results: results of the finished cells, by the name of the cell.
            failures: messages of the failed cells, by the name of the cell.
        """
        cells = {row.name: self.row_cells(row) for row in self.table.rows}
        rows = [
            summarize(
                row,
                row.network_name(self.preset),
                cells[row.name],
                results,
                failures,
                tables=self.tables,
                folds=self.row_folds(row),
            )
            for row in self.table.rows
        ]
        found = [compare(each, cells, results) for each in self.table.comparisons]
        return TableSummary(
            number=self.number,
            title=self.table.title,
            dataset=self.dataset,
            tables=self.tables,
            preset=self.preset,
            boxes=self.boxes,
            folds=self.folds,
            rows=rows,
            differences=[each for each in found if each is not None],
            notes=self.table.notes_of(self.preset),
        )
