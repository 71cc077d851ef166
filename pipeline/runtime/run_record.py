"""The file `run.json`, which records one run of a command."""

import logging
import platform
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, UsageError
from pipeline.runtime.command_line import (
    EXIT_BUDGET,
    EXIT_FAILURES,
    EXIT_OK,
    EXIT_USAGE,
    Interrupted,
)
from pipeline.runtime.files import write_json

LOGGER = logging.getLogger(__name__)
RUN_SCHEMA = "laiar.run/1"
_PACKAGES = ("torch", "torchvision", "av", "numpy", "safetensors", "opencv-python-headless")


@dataclass
class Counts:
    """Numbers of items of a run.

    found = done + skipped + failed + pending at any time.
    """

    found: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def pending(self) -> int:
        """Number of items that are not processed yet."""
        return self.found - self.done - self.skipped - self.failed

    def check(self) -> None:
        """Raise AssertionError if items are pending."""
        if self.pending:
            raise AssertionError(f"done + skipped + failed = found expected, got {self}")

    def to_dict(self) -> dict[str, int]:
        """Return the counts as JSON, with `pending` only if items are pending."""
        return asdict(self) | ({"pending": self.pending} if self.pending else {})

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.to_dict().items())


class RunRecord:
    """Context manager of one run of a stage, which writes `run.json` on exit.

    The record is also written after errors and signals. A run that ends with a `UsageError` does
    not overwrite the record of an earlier run.

    Args:
        folder: output folder of the run. No record is written if it does not exist.
        stage: name of the stage.
        config: all settings, as JSON.
        argv: arguments of the command.
        seed: random seed of the run.
        name: file name of the record.

    Attributes:
        counts: numbers of items found, done, skipped and failed.
        extra: further entries of the record (hashes, metrics, …).
        is_rejected: whether the result of the run is of no use, so that its exit code is 1.

    Raises:
        StageError: on exit, if the record of a successful run cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stage: str,
        config: dict[str, Any],
        argv: list[str],
        seed: int = 0,
        name: str = "run.json",
    ) -> None:
        self.folder, self.name = folder, name
        self.counts = Counts()
        self.extra: dict[str, Any] = {}
        self.is_rejected = False
        self._tree: dict[str, Any] = {
            "schema": RUN_SCHEMA,
            "stage": stage,
            "argv": argv,
            "config": config,
            "seed": seed,
            "versions": versions(),
        }

    def __enter__(self) -> "RunRecord":
        self._start = time.time()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        path = self.folder / self.name
        status, code = _status(error) if error else ("finished", self.exit_code)
        if not self.folder.is_dir():
            return
        if status == "refused" and path.is_file():
            return  # keep the record of the earlier run
        tree = {
            "status": status,
            "exit_code": code,
            "counts": self.counts.to_dict(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._start)),
            "seconds": round(time.time() - self._start, 3),
        }
        try:
            write_json(path, self._tree | self.extra | tree)
        except OSError as problem:
            if error is None:
                raise StageError(f"{path} cannot be written: {problem}") from None
            LOGGER.error("%s cannot be written: %s", path, problem)

    @property
    def exit_code(self) -> int:
        """Exit code of the run.

        The code is 3 for more than `max_failures` failures, 1 for other failures and for a rejected
        result, and 0 otherwise.
        """
        budget = self._tree["config"].get("max_failures")
        if budget is not None and self.counts.failed > budget:
            return EXIT_BUDGET
        return EXIT_FAILURES if self.counts.failed or self.is_rejected else EXIT_OK


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect numerical results."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _status(error: BaseException) -> tuple[str, int]:
    match error:
        case UsageError():
            return "refused", EXIT_USAGE
        case KeyboardInterrupt():
            return "interrupted", 130
        case Interrupted():
            return "interrupted", error.exit_code
        case _:
            return "crashed", 1
