"""`python -m tools.benchmark_page FILE...`: make a page from files of `tools.benchmark all`."""

import io
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.runtime.files import write_atomically
from pipeline.weights.cards import read_json
from tools.benchmark import BENCHMARKS, SCHEMA

EXAMPLE = "python -m tools.benchmark_page docs/results/benchmarks/*.json --out docs/benchmarks.md"
HEAD = """# Speed

Each section is a run of `tools.benchmark all` on one machine. The rows of a table are measured in
turn, and the fastest of several rounds is shown. Compare the rows of a table, but not the tables of
different machines. This page is made from the files in `docs/results/benchmarks/`:

    python -m tools.benchmark all --json FILE
    python -m tools.benchmark_page docs/results/benchmarks/*.json --out docs/benchmarks.md
"""
#: Headings of the benchmarks, in the order of the page.
TITLES = {
    "decode": "Decoding",
    "detector": "Detector",
    "relations": "Relation predictor",
    "cache": "Reading the cache",
    "train": "Training",
    "predict": "Prediction",
}


def main(argv: list[str]) -> int:
    """Write the page and return the exit code."""
    parser = common_parser(
        "python -m tools.benchmark_page", __doc__ or "", EXAMPLE, has_settings=False
    )
    parser.add_argument("files", type=Path, nargs="+", help="files of tools.benchmark all --json")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file")
    args, _ = parse_words(parser, argv)
    if args.out.is_dir() or not args.out.resolve().parent.is_dir():
        raise UsageError(f"--out: a file in an existing folder expected, got {args.out}")
    text = "\n".join([HEAD, *(_section(path) for path in args.files)])
    write_atomically(args.out, text.encode(errors="replace"))
    return EXIT_OK


def _section(path: Path) -> str:
    """Return the section of a file."""
    try:
        tree: dict[str, Any] = read_json(path)
        if tree["schema"] != SCHEMA:
            raise ValueError(f"schema {SCHEMA} expected, got {tree['schema']}")
        machine, command, results = tree["machine"], tree["command"], tree["results"]
        if not isinstance(command, list) or not isinstance(results, dict) or not results:
            raise ValueError("a list `command` and an object `results` expected")
        head = (
            f"## {machine['device']}\n\n{machine['cores']} cores, {machine['threads']} threads, "
            f"Python {machine['python']}, torch {machine['torch']}.\n\n"
            f"    python -m tools.benchmark {shlex.join(command)}\n"
        )
        names = sorted(results, key=[*TITLES].index)
        parts = [f"### {TITLES[name]}\n\n{_shown(name, results[name])}" for name in names]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UsageError(
            f"{path}: a file of `tools.benchmark all --json` expected ({type(error).__name__}: "
            f"{error})"
        ) from error
    return "\n".join([head, *parts])


def _shown(name: str, result: dict[str, Any]) -> str:
    """Return what `tools.benchmark` prints for a result, as a code block."""
    out = io.StringIO()
    with redirect_stdout(out):
        BENCHMARKS[name][1](result)
    return f"```text\n{out.getvalue().strip()}\n```\n"


if __name__ == "__main__":
    run_command(main)
