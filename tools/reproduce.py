"""`python -m tools.reproduce`: train and evaluate the networks of a table of the paper.

A cell is a row of the table, a test fold and a seed. Each cell runs `pipeline.train` and
`pipeline.evaluate` in child processes, in a run folder of its own. A finished cell is stored in a
JSON file and not computed again, also for the other tables. Running the same command again computes
the cells that are missing or have failed.
"""

import argparse
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache.folder import read_cache_info
from pipeline.cache.manifest import read_manifest
from pipeline.config.loading import load_config
from pipeline.errors import StageError, UsageError
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import file_sha256, json_sha256, make_folder
from pipeline.runtime.progress import duration
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
_OWN = ("fold", "train.seed")


def main(
    argv: list[str],
    *,
    runner: Runner | None = None,
    measures: Mapping[str, Measure] = MEASURES,
) -> int:
    """Compute the cells of a table and write it.

    Args:
        argv: arguments of the command.
        runner: runs a command. Default: in a child process.
        measures: functions of rows without a network.

    Returns:
        The exit code: 1 if a cell has failed.
    """
    args, words = _parse(argv)
    plan = _plan(args, words, measures)
    children = Children()
    sources = Sources(args.config, args.cache, args.annotations, tuple(words))
    store = Cells(args.out, sources, runner or children.run, measures, plan.tables.metric)
    cells = plan.cells()
    results = {name: found for name, cell in cells.items() if (found := store.find(cell))}
    if args.dry_run:
        _print_plan(cells, results, args.jobs)
        return EXIT_OK
    make_folder(args.out, "--out")
    failures = _compute(store, cells, results, children, plan.tables, args.jobs)
    paths = write_table(args.out, plan.summarize(results, failures))
    print(f"cells: {len(results)} of {len(cells)} finished, {len(failures)} failed")
    print(f"table: {paths[0]}")
    return EXIT_FAILURES if failures else EXIT_OK


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = common_parser("python -m tools.reproduce", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--dataset", required=True, help="name of a file in configs/tables/")
    add("--table", required=True, help="number of the table in the paper")
    add("--config", type=Path, required=True, help="settings of all networks")
    add("--cache", type=Path, required=True, help="cache of pipeline.extract")
    add("--annotations", type=Path, help="folder of the annotations, for rows without a network")
    add("--seeds", type=int, default=1, help="number of seeds, from 0 (default: %(default)s)")
    add("--folds", help="test folds, such as 1,2 (default: all)")
    add("--out", type=Path, required=True, help="folder of the tables, the cells and the runs")
    add("--jobs", type=int, default=1, help="number of cells at a time (default: %(default)s)")
    add("--dry-run", action="store_true", help="print the cells and their estimated times")
    args, words = parse_words(parser, argv)
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name}: at least 1 expected, got {getattr(args, name)}")
    for word in words:
        if word.partition("=")[0] in _OWN:
            raise UsageError(f"{word!r}: use --folds and --seeds instead")
    return args, words


def _plan(args: argparse.Namespace, words: list[str], functions: Collection[str]) -> Plan:
    tables = read_tables(args.dataset)
    if args.table not in tables.tables:
        known = ", ".join(tables.tables)
        raise UsageError(f"--table: one of {known} expected, got {args.table!r}")
    preset = load_config(args.config, words).model.preset
    read_cache_info(args.cache)  # raises a clear error for other folders
    failed = Failures(args.cache).rows()
    rows = read_manifest(args.cache).items()
    clips = sorted((name, row.sha256) for name, row in rows if name not in failed)
    return Plan(
        dataset=args.dataset,
        number=args.table,
        tables=tables,
        preset=preset,
        words=tuple(words),
        folds=_chosen_folds(args.folds, tables),
        seeds=args.seeds,
        functions=functions,
        inputs=json_sha256([file_sha256(args.config), clips]),
    )


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
) -> dict[str, str]:
    """Compute the unfinished cells, add their results, and return the messages of failed cells."""
    for number, (name, result) in enumerate(results.items(), 1):
        _print_line(number, len(cells), name, f"{_numbers(result, tables)}, finished before")
    failures: dict[str, str] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        futures: dict[Future[CellResult], str] = {
            pool.submit(store.compute, cell): name
            for name, cell in cells.items()
            if name not in results
        }
        for number, future in enumerate(as_completed(futures), len(results) + 1):
            name = futures[future]
            try:
                results[name] = result = future.result()
                text = f"{_numbers(result, tables)}, {duration(result.seconds)}"
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


def _print_line(number: int, total: int, name: str, text: str) -> None:
    print(f"[{number:{len(str(total))}}/{total}] {name}: {text}", flush=True)


def _numbers(result: CellResult, tables: Tables) -> str:
    """Describe the metrics of a cell."""
    metrics: Mapping[str, Any] = result.metrics
    text = f"{tables.label} {metrics[tables.metric]:.4f}"
    if metrics.get("num") is not None:
        text += f", {metrics['num']:.1f} of {metrics['num_all']:.1f} tokens"
    return text


def _print_plan(cells: Mapping[str, Cell], results: Mapping[str, CellResult], jobs: int) -> None:
    """Print the cells, and estimates of their times from the finished cells.

    The estimate of a cell is the mean time of the finished cells of its network, or else of all
    networks.
    """
    times: dict[str, list[float]] = {}
    for result in results.values():
        if result.cell.function is None:
            times.setdefault(result.cell.network, []).append(result.seconds)
    every = [seconds for values in times.values() for seconds in values]
    left = []
    for number, (name, cell) in enumerate(cells.items(), 1):
        if name in results:
            text = f"finished, {duration(results[name].seconds)}"
        elif known := times.get(cell.network, every):
            left.append(float(np.mean(known)))
            text = f"about {duration(left[-1])}"
        else:
            text = "unknown time"
        _print_line(number, len(cells), name, f"{text}  {' '.join(cell.training_words)}")
    pending = len(cells) - len(results)
    total = f"about {duration(sum(left) / jobs)}" if every else "unknown time"
    print(f"cells: {len(results)} of {len(cells)} finished, {pending} left ({total})")


if __name__ == "__main__":
    run_command(main)
