"""What a stage leaves about itself: `run.json`, `failures.jsonl`, counts that add up."""

import json
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.command_line import EXIT_BUDGET, EXIT_FAILURES, EXIT_OK, EXIT_USAGE, Interrupted
from pipeline.errors import RETRYABLE, FailureReason, ItemError, UsageError
from pipeline.files import write_atomically, write_json

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

    def to_tree(self) -> dict[str, int]:
        """As JSON; `pending` only where a run ended before all were tried."""
        tree = {
            "found": self.found,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
        }
        return tree | ({"pending": self.pending} if self.pending else {})

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.to_tree().items())


class Failures:
    """`failures.jsonl` of a folder: one line per item that has no result now."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "failures.jsonl"
        self._rows: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self._rows[row["id"]] = row
                except (ValueError, KeyError, TypeError):
                    continue

    def known(self, item: str, input_sha256: str, settings: str) -> dict[str, Any] | None:
        """The line of an item that failed before with the same bytes and settings."""
        row = self._rows.get(item)
        same = row and row.get("input_sha256") == input_sha256 and row.get("settings") == settings
        return row if same else None

    def add(self, item: str, error: ItemError, *, stage: str, sha256: str, settings: str) -> None:
        """Record a failure and write the file."""
        attempts = int(self._rows.get(item, {}).get("attempts", 0)) + 1
        self._rows[item] = {
            "id": item,
            "stage": stage,
            "reason": FailureReason(error.reason).value,
            "message": " ".join(str(error).split())[:500],
            "retryable": error.reason in RETRYABLE,
            "attempts": attempts,
            "input_sha256": sha256,
            "settings": settings,
        }
        self._write()

    def remove(self, item: str) -> None:
        """Forget an item that has a result now."""
        if self._rows.pop(item, None) is not None:
            self._write()

    def keep_only(self, items: set[str]) -> None:
        """Forget items that are no longer there."""
        gone = self._rows.keys() - items
        for item in gone:
            del self._rows[item]
        if gone:
            self._write()

    def _write(self) -> None:
        lines = [json.dumps(row, sort_keys=True) + "\n" for row in self._rows.values()]
        write_atomically(self._path, "".join(lines).encode())


class RunRecord:
    """Context of one run of a stage; writes `run.json` when it ends, however it ends.

    Attributes:
        counts: items found, done, skipped, failed.
        extra: further entries of `run.json` (hashes, metrics, …).
    """

    def __init__(
        self, folder: Path, *, stage: str, config: dict[str, Any], argv: list[str], seed: int = 0
    ) -> None:
        self.folder = folder
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status, code = _status(error)
        if error is None:
            code = self.exit_code
        if not self.folder.is_dir():
            return
        if status == "refused" and (self.folder / "run.json").is_file():
            return  # what a run left before stays true
        write_json(
            self.folder / "run.json",
            self._tree
            | self.extra
            | {
                "status": status,
                "exit_code": code,
                "counts": self.counts.to_tree(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._start)),
                "seconds": round(time.time() - self._start, 3),
            },
        )

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


def _status(error: BaseException | None) -> tuple[str, int]:
    match error:
        case None:
            return "finished", EXIT_OK
        case UsageError():
            return "refused", EXIT_USAGE
        case KeyboardInterrupt():
            return "interrupted", 130
        case Interrupted():
            return "interrupted", error.exit_code
        case _:
            return "crashed", 1
