"""`run.json`: what a command did, with counts that add up."""

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
    """Items of a run; done + skipped + failed + pending = found at every moment."""

    found: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def pending(self) -> int:
        """Items not reached yet."""
        return self.found - self.done - self.skipped - self.failed

    def check(self) -> None:
        """AssertionError unless every item found is accounted for."""
        if self.pending:
            raise AssertionError(f"done + skipped + failed = found expected, got {self}")

    def to_dict(self) -> dict[str, int]:
        """As JSON; `pending` only where a run ended before all were tried."""
        return asdict(self) | ({"pending": self.pending} if self.pending else {})

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.to_dict().items())


class RunRecord:
    """Context of one run of a stage; writes `run.json` (`name`) when it ends, however it ends.

    Attributes:
        counts: items found, done, skipped, failed.
        extra: further entries of `run.json` (hashes, metrics, …).
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
            return  # what a run left before stays true
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
        """0 all well, 1 some failed, 3 more failed than `max_failures`."""
        budget = self._tree["config"].get("max_failures")
        if budget is not None and self.counts.failed > budget:
            return EXIT_BUDGET
        return EXIT_FAILURES if self.counts.failed else EXIT_OK


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine numbers."""
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
