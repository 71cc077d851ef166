"""What all commands share: parsing, logging, exit codes, signals."""

import argparse
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from pipeline.errors import ItemError, StageError, UsageError

EXIT_OK, EXIT_FAILURES, EXIT_USAGE, EXIT_BUDGET = 0, 1, 2, 3

VERIFY_HELP = "compare every byte of the cache with its manifest, not only sizes and headers"
_SETTINGS_HELP = "\n\nsettings: key=value words, as in pipeline/config/schema.py"
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=")


class Interrupted(BaseException):
    """A signal asked the command to stop."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"interrupted ({exit_code})")
        self.exit_code = exit_code


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence; see `common_parser`."""

    has_settings = True

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage."""
        raise UsageError(f"{message}; see: {self.prog} --help")


def common_parser(
    prog: str, description: str, example: str, *, has_settings: bool = True
) -> Parser:
    """Parser with an example in its help and `key=value` words at its end.

    Args:
        prog: `python -m pipeline.NAME`.
        description: one or two sentences.
        example: a command line that works.
        has_settings: whether the command takes `key=value` words.

    Returns:
        A parser; call `parse_words` on it.
    """
    parser = Parser(
        prog=prog,
        description=description,
        epilog=f"example:\n  {example}" + (_SETTINGS_HELP if has_settings else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.has_settings = has_settings
    return parser


def parse_words(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split off `key=value` words, wherever they stand, then parse the rest.

    Raises:
        UsageError: for anything the parser does not know, or settings of a command without any.
    """
    settings = [word for word in argv if _SETTING.match(word)]
    args = parser.parse_args([word for word in argv if not _SETTING.match(word)])
    if settings and not parser.has_settings:
        raise UsageError(f"no key=value settings expected, got {settings[0]!r}")
    return args, settings


def run_command(main: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave the process with its exit code.

    UsageError is one sentence on standard error and exit code 2, StageError the same and 1, and so
    is an ItemError past which a command cannot go; SIGINT 130; SIGTERM 143. A second signal ends
    the process at once.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths may hold bytes that are no text
    words = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGINT, _on_signal)
    try:
        code = main(words)
    except UsageError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = EXIT_USAGE
    except (StageError, ItemError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = EXIT_FAILURES
    except KeyboardInterrupt:
        print("interrupted; the same command again finishes what is missing", file=sys.stderr)
        code = 130
    except Interrupted as interrupted:
        print("terminated; the same command again finishes what is missing", file=sys.stderr)
        code = interrupted.exit_code
    sys.exit(code)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """End in order; a second signal ends at once."""
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Interrupted(143)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
