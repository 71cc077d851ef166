"""What a stage leaves about itself: `run.json`, `failures.jsonl`, counts that add up."""

import json
import logging
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.errors import RETRYABLE, FailureReason, ItemError, StageError, UsageError
from pipeline.runtime.command_line import (
    EXIT_BUDGET,
    EXIT_FAILURES,
    EXIT_OK,
    EXIT_USAGE,
    Interrupted,
)
from pipeline.runtime.files import append_line, write_atomically, write_json
from pipeline.runtime.writers import folder_lock

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
        tree = {
            "found": self.found,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
        }
        return tree | ({"pending": self.pending} if self.pending else {})

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.to_dict().items())


class Failures:
    """`failures.jsonl` of a folder: one line per item that has no result now.

    Others may write to the folder as well: a change reads the file again and changes one line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "failures.jsonl"
        self._seen: tuple[int, int, int] | None = None
        self._rows = self._read()

    def known(self, item: str) -> dict[str, Any] | None:
        """The line of an item that failed before."""
        return self._rows.get(item)

    def add(
        self,
        item: str,
        error: ItemError,
        *,
        stage: str,
        sha256: str,
        settings: str,
        videos: Path | None = None,
    ) -> None:
        """Record a failure.

        Args:
            item: what failed.
            error: why.
            stage: in which it did.
            sha256: of its bytes, as far as that is known.
            settings: hash of what else determines that it fails.
            videos: the folder it is of, where a stage has several.
        """
        row = {
            "id": item,
            "stage": stage,
            "reason": FailureReason(error.reason).value,
            "message": " ".join(str(error).split())[:500],
            "retryable": error.reason in RETRYABLE,
            "attempts": int(self._rows.get(item, {}).get("attempts", 0)) + 1,
            "input_sha256": sha256,
            "settings": settings,
        } | ({"videos": str(videos.absolute())} if videos else {})
        if item in self._rows:
            self._change(lambda rows: rows.update({item: row}))
        else:
            with folder_lock(self._folder):
                append_line(self._path, json.dumps(row, sort_keys=True))
        self._rows[item] = row

    def remove(self, item: str) -> None:
        """Forget an item that has a result now."""
        if self._state() != self._seen:  # another writer's failure may be of this item
            self._rows = self._read()
        if self._rows.pop(item, None) is not None:
            self._change(lambda rows: rows.pop(item, None))

    def keep_only(self, items: set[str], *, videos: Path | None = None) -> None:
        """Forget items that are no longer there.

        Args:
            items: those that are.
            videos: of that folder; what failed in others is kept.
        """
        mine = None if videos is None else str(videos.absolute())
        gone = {
            item
            for item, row in self._rows.items()
            if item not in items and (mine is None or row.get("videos", mine) == mine)
        }
        for item in gone:
            del self._rows[item]
        if gone:
            self._change(lambda rows: [rows.pop(item, None) for item in gone])

    def _change(self, change: Callable[[dict[str, dict[str, Any]]], object]) -> None:
        with folder_lock(self._folder):
            rows = self._read()
            change(rows)
            lines = [json.dumps(row, sort_keys=True) + "\n" for row in rows.values()]
            write_atomically(self._path, "".join(lines).encode())

    def _state(self) -> tuple[int, int, int] | None:
        with suppress(OSError):
            found = self._path.stat()
            return found.st_ino, found.st_size, found.st_mtime_ns
        return None

    def _read(self) -> dict[str, dict[str, Any]]:
        self._seen = self._state()
        rows: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError, RecursionError):
                    row = json.loads(line)
                    rows[str(row["id"])] = row
        return rows


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
        if status == "refused" and (self.folder / self.name).is_file():
            return  # what a run left before stays true
        tree = {
            "status": status,
            "exit_code": code,
            "counts": self.counts.to_dict(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._start)),
            "seconds": round(time.time() - self._start, 3),
        }
        try:
            write_json(self.folder / self.name, self._tree | self.extra | tree)
        except OSError as problem:
            if error is None:
                raise StageError(
                    f"{self.folder / self.name} cannot be written: {problem}"
                ) from None
            LOGGER.error("%s cannot be written: %s", self.folder / self.name, problem)

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
