"""`python -m tools.reproduce`: train and evaluate the networks of tables of the paper.

A cell is a row of the table, a test fold and a seed. Each cell runs `pipeline.train` and
`pipeline.evaluate` in child processes, in a run folder of its own. A finished cell is stored in a
JSON file and not computed again, also for the other tables. Running the same command again computes
the cells that are missing or have failed.
"""

import argparse
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache.folder import read_cache_info
from pipeline.config.loading import load_config
from pipeline.errors import StageError, UsageError
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.files import make_folder
from pipeline.runtime.progress import duration
from pipeline.samples.folds import read_folds
from tools.tables.cells import Cell, CellResult, Cells, Measure, Runner, Sources
from tools.tables.children import Children
from tools.tables.measures import MEASURES
from tools.tables.output import write_table
from tools.tables.plan import Plan
from tools.tables.rows import Tables, read_tables

EXAMPLE = (
    "python -m tools.reproduce --dataset cad120 --table 2 --config configs/cad120.yaml "
    "--cache cache/cad120 --seeds 3 --out runs/cad120"
)
#: Settings that the command sets.
_OWN = ("fold", "folds", "train.seed")


def main(
    argv: list[str],
    *,
    runner: Runner | None = None,
    measures: Mapping[str, Measure] = MEASURES,
) -> int:
    """Compute the cells of tables and write the tables.

    Args:
        argv: arguments of the command.
        runner: runs a command. Default: in a child process.
        measures: functions of rows without a network.

    Returns:
        The exit code: 1 if a cell has failed.
    """
    start = time.monotonic()
    args, words = _parse(argv)
    tables = read_tables(args.dataset)
    sources = _sources(args, words, tables)
    plans = _plans(args, tables, sources, measures)
    children = Children()
    store = Cells(args.out, sources, runner or children.run, measures, tables.metric)
    cells = {name: cell for plan in plans for name, cell in plan.cells().items()}
    results = {name: found for name, cell in cells.items() if (found := store.find(cell))}
    if args.dry_run:
        _print_plan(cells, results, args.jobs, args.budget_hours)
        return EXIT_OK
    make_folder(args.out, "--out")
    end = None if args.budget_hours is None else start + 3600 * args.budget_hours
    failures = _compute(store, cells, results, children, tables, args.jobs, end)
    left = len(cells) - len(results) - len(failures)
    unfinished = f", {left} left because of --budget-hours" if left else ""
    print(f"cells: {len(results)} of {len(cells)} finished, {len(failures)} failed{unfinished}")
    for plan in plans:
        paths = write_table(args.out, plan.summarize(results, failures))
        print(f"table: {paths[0]}")
    return EXIT_FAILURES if failures else EXIT_OK


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = common_parser("python -m tools.reproduce", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--dataset", required=True, help="name of a file in configs/tables/")
    add("--table", required=True, help="numbers of tables in the paper, such as 1,2, or all")
    add("--config", type=Path, required=True, help="settings of all networks")
    add(
        "--cache",
        type=Path,
        required=True,
        action="append",
        help="cache of pipeline.extract (repeatable: one with annotated and one with detected "
        "boxes)",
    )
    add(
        "--annotations",
        type=Path,
        help="folder of the annotations, for rows without a network and, in the synthetic world, "
        "for the truth of names and sentences",
    )
    add("--seeds", type=int, default=1, help="number of seeds, from 0 (default: %(default)s)")
    add("--folds", help="test folds, such as 1,2 (default: all)")
    add("--fold-lists", type=Path, help="file of tools.make_folds, for rows that test on its folds")
    add("--out", type=Path, required=True, help="folder of the tables, the cells and the runs")
    add("--jobs", type=int, default=1, help="number of cells at a time (default: %(default)s)")
    add("--budget-hours", type=float, help="start no cell that is expected to end later")
    add("--dry-run", action="store_true", help="print the cells and their estimated times")
    args, words = parse_words(parser, argv)
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name}: at least 1 expected, got {getattr(args, name)}")
    if args.budget_hours is not None and not args.budget_hours > 0:
        raise UsageError(f"--budget-hours: above 0 expected, got {args.budget_hours}")
    for word in words:
        if word.partition("=")[0] in _OWN:
            raise UsageError(f"{word!r}: use --folds, --fold-lists, --cache and --seeds instead")
    return args, words


def _sources(args: argparse.Namespace, words: list[str], tables: Tables) -> Sources:
    caches: dict[str, Path] = {}
    for cache in args.cache:
        boxes = read_cache_info(cache).settings.boxes  # raises a clear error for other folders
        if boxes in caches:
            raise UsageError(
                f"--cache: caches with different boxes expected, {caches[boxes]} and {cache} both "
                f"have boxes={boxes}"
            )
        caches[boxes] = cache
    if args.fold_lists is not None:
        listed = read_folds(str(args.fold_lists))
        missing = {name for group in tables.fold_groups.values() for name in group} - listed.keys()
        if missing:
            raise UsageError(f"--fold-lists: a fold {min(missing)} expected in {args.fold_lists}")
    return Sources(
        config=args.config,
        cache=args.cache[0],
        annotations=args.annotations,
        words=tuple(words),
        caches=caches,
        folds=args.fold_lists,
        truth_videos=tables.truth_videos if args.annotations else 0,
    )


def _plans(
    args: argparse.Namespace, tables: Tables, sources: Sources, functions: Collection[str]
) -> list[Plan]:
    """Return the tables to compute: one for each source of boxes that a table lists."""
    numbers = [*tables.tables] if args.table == "all" else args.table.split(",")
    for number in numbers:
        if number not in tables.tables:
            known = ", ".join(tables.tables)
            raise UsageError(f"--table: some of {known}, or all, expected, got {number!r}")
    preset = load_config(args.config, sources.words).model.preset
    folds = _chosen_folds(args.folds, tables)
    return [
        Plan(
            dataset=args.dataset,
            number=number,
            tables=tables,
            preset=preset,
            sources=sources,
            folds=folds,
            seeds=args.seeds,
            functions=functions,
            boxes=boxes,
        )
        for number in dict.fromkeys(numbers)
        for boxes in _sources_of_boxes(tables, number, sources)
    ]


def _sources_of_boxes(tables: Tables, number: str, sources: Sources) -> Sequence[str | None]:
    """Return the sources of the boxes of a table that have a cache, or else its first one."""
    listed = tables.tables[number].boxes
    return [name for name in listed if name in sources.caches] or listed[:1] or [None]


def _chosen_folds(text: str | None, tables: Tables) -> tuple[int | None, ...]:
    """Return the folds of the flag --folds, or all folds; (None,) for one test split."""
    if text is None:
        return tables.folds or (None,)
    names = {str(fold): fold for fold in tables.folds}
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in names:
            known = ", ".join(names) or "no folds"
            raise UsageError(f"--folds: some of {known} expected, got {name!r}")
    return tuple(names[name] for name in dict.fromkeys(chosen))


def _compute(
    store: Cells,
    cells: Mapping[str, Cell],
    results: dict[str, CellResult],
    children: Children,
    tables: Tables,
    jobs: int,
    end: float | None,
) -> dict[str, str]:
    """Compute the unfinished cells, add their results, and return the messages of failed cells.

    No cell is started whose estimate ends after the time `end` of `time.monotonic`.
    """
    for number, (name, result) in enumerate(results.items(), 1):
        _print_line(number, len(cells), name, f"{_numbers(result, tables)}, finished before")
    failures: dict[str, str] = {}
    times = Times(results.values())

    def compute(cell: Cell) -> CellResult | None:
        expected = times.expected(cell) or 0.0
        if end is not None and time.monotonic() + expected > end:
            return None
        return store.compute(cell)

    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {
            pool.submit(compute, cell): name for name, cell in cells.items() if name not in results
        }
        for number, future in enumerate(as_completed(futures), len(results) + 1):
            name = futures[future]
            try:
                found = future.result()
                text = "not started because of --budget-hours"
                if found is not None:
                    results[name] = found
                    times.add(found)
                    text = f"{_numbers(found, tables)}, {duration(found.seconds)}"
            except StageError as error:
                failures[name] = str(error)
                text = f"failed: {error}"
            _print_line(number, len(cells), name, text)
    except BaseException:
        children.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return failures


class Times:
    """Estimates of the times of cells from the times of finished cells.

    Args:
        results: finished cells.
    """

    def __init__(self, results: Iterable[CellResult]) -> None:
        self._seconds: dict[str, list[float]] = {}
        for result in results:
            self.add(result)

    def add(self, result: CellResult) -> None:
        """Add a finished cell."""
        if result.cell.function is None:
            self._seconds.setdefault(result.cell.network, []).append(result.seconds)

    def expected(self, cell: Cell) -> float | None:
        """Return the mean time of the cells of the network, or else of all networks, in seconds.

        None if no cell with a network is finished.
        """
        every = [seconds for values in self._seconds.values() for seconds in values]
        known = self._seconds.get(cell.network, every)
        return float(np.mean(known)) if known else None


def _print_line(number: int, total: int, name: str, text: str) -> None:
    print(f"[{number:{len(str(total))}}/{total}] {name}: {text}", flush=True)


def _numbers(result: CellResult, tables: Tables) -> str:
    """Describe the metrics of a cell."""
    metrics: Mapping[str, Any] = result.metrics
    text = f"{tables.label} {metrics[tables.metric]:.4f}"
    if metrics.get("num") is not None:
        text += f", {metrics['num']:.1f} of {metrics['num_all']:.1f} tokens"
    return text


def _print_plan(
    cells: Mapping[str, Cell],
    results: Mapping[str, CellResult],
    jobs: int,
    budget_hours: float | None,
) -> None:
    """Print the cells, and estimates of their times (`Times`).

    With a budget, the cells after the one that exceeds it are marked.
    """
    times, spent, pending = Times(results.values()), 0.0, 0
    limit = float("inf") if budget_hours is None else 3600 * budget_hours
    for number, (name, cell) in enumerate(cells.items(), 1):
        if name in results:
            text = f"finished, {duration(results[name].seconds)}"
        else:
            expected, pending = times.expected(cell), pending + 1
            text = "unknown time" if expected is None else f"about {duration(expected)}"
            spent += (expected or 0.0) / jobs
            text += ", after the budget" if spent > limit else ""
        _print_line(number, len(cells), name, f"{text}  {' '.join(cell.training_words)}")
    total = f"about {duration(spent)}" if spent or not pending else "unknown time"
    print(f"cells: {len(results)} of {len(cells)} finished, {pending} left ({total})")


if __name__ == "__main__":
    run_command(main)
