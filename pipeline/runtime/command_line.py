"""Argument parsing, logging, exit codes and signal handling of all commands."""

import argparse
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from types import FrameType
from typing import NoReturn, TypeVar

from pipeline.errors import ItemError, StageError, UsageError

EXIT_OK, EXIT_FAILURES, EXIT_USAGE, EXIT_BUDGET = 0, 1, 2, 3

VERIFY_HELP = "compare every byte of the cache with its manifest, not only sizes and headers"
_SETTINGS_HELP = "\n\nsettings: key=value words; see pipeline/config/schema.py"
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=")


NameT = TypeVar("NameT", bound=StrEnum)


class Interrupted(BaseException):
    """Raised in the main thread when the process receives SIGTERM.

    Attributes:
        exit_code: exit code of the command.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"interrupted ({exit_code})")
        self.exit_code = exit_code


class Parser(argparse.ArgumentParser):
    """Argument parser that raises `UsageError` for invalid arguments.

    Create it with `common_parser`.

    Attributes:
        has_settings: whether the command accepts `key=value` words.
    """

    has_settings = True

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage."""
        raise UsageError(f"{message}; see: {self.prog} --help")


def parse_names(names: Iterable[str], kind: type[NameT], flag: str) -> tuple[NameT, ...]:
    """Parse names of an enum, each of which counts once.

    Args:
        names: values of the enum, possibly surrounded by spaces.
        kind: the enum.
        flag: flag of the names, used in the error message.

    Raises:
        UsageError: if a name is unknown.
    """
    found: list[NameT] = []
    for name in map(str.strip, names):
        if name not in [*kind]:
            raise UsageError(f"{flag}: one of {', '.join(kind)} expected, got {name!r}")
        found.append(kind(name))
    return tuple(dict.fromkeys(found))


def common_parser(
    prog: str, description: str, example: str, *, has_settings: bool = True
) -> Parser:
    """Create the argument parser of a command.

    Args:
        prog: start of the command line, such as `python -m pipeline.extract`.
        description: one or two sentences for the help text.
        example: complete command line for the help text.
        has_settings: whether the command accepts `key=value` words.

    Returns:
        A parser to pass to `parse_words`.
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
    """Parse the arguments of a command and return its `key=value` words separately.

    Returns:
        The parsed arguments, and the `key=value` words in their order.

    Raises:
        UsageError: if an argument is invalid, or there is a `key=value` word but the command has no
            settings.
    """
    settings = [word for word in argv if _SETTING.match(word)]
    args = parser.parse_args([word for word in argv if not _SETTING.match(word)])
    if settings and not parser.has_settings:
        raise UsageError(f"this command accepts no key=value settings, got {settings[0]!r}")
    return args, settings


def run_command(main: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit the process with its exit code.

    An error is printed to standard error as one line. The exit code is 2 for a `UsageError`, 1 for
    a `StageError` or an `ItemError`, 130 for SIGINT and 143 for SIGTERM. A second signal ends the
    process immediately.

    Args:
        main: function that takes the arguments and returns the exit code.
        argv: arguments of the command. Default: the arguments of the process.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths may be invalid UTF-8
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
        print("interrupted; run the same command again to resume", file=sys.stderr)
        code = 130
    except Interrupted as interrupted:
        print("terminated; run the same command again to resume", file=sys.stderr)
        code = interrupted.exit_code
    sys.exit(code)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """Raise an exception. A second signal exits the process immediately."""
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Interrupted(143)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
