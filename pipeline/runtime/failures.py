"""The file `failures.jsonl`, which lists the failed videos of a folder."""

import json
from collections.abc import Callable, Mapping
from logging import Logger
from pathlib import Path
from typing import Any

from pipeline.errors import RETRYABLE, FailureReason, ItemError
from pipeline.runtime.files import append_line, file_state, read_rows, write_atomically
from pipeline.runtime.writers import folder_lock


def log_failure(logger: Logger, item: str, error: ItemError) -> None:
    """Log the failure of an item."""
    logger.error("%s failed: %s: %s", item, error.reason.value, error)


class Failures:
    """Failures of a folder, stored in `failures.jsonl` with one line per item.

    Several processes may change the file. It is read again before each change, so that the lines
    of other processes are kept.

    Args:
        folder: folder of the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "failures.jsonl"
        self._rows = self._read()

    def known(self, item: str) -> dict[str, Any] | None:
        """Return the line of an item, or None if the item has not failed before."""
        return self._rows.get(item)

    def add(
        self,
        item: str,
        error: ItemError,
        *,
        stage: str,
        sha256: str = "",
        fingerprint: str = "",
        videos: Path | None = None,
    ) -> None:
        """Record a failure.

        Args:
            item: id of the item.
            error: reason and message of the failure.
            stage: name of the stage.
            sha256: SHA-256 of the item's bytes; empty if unknown.
            fingerprint: SHA-256 over everything else that determines the failure.
            videos: video folder of the item, for a cache of several video folders.
        """
        row = {
            "id": item,
            "stage": stage,
            "reason": FailureReason(error.reason).value,
            "message": " ".join(str(error).split())[:500],
            "retryable": error.reason in RETRYABLE,
            "attempts": int(self._rows.get(item, {}).get("attempts", 0)) + 1,
            "input_sha256": sha256,
            "settings": fingerprint,
        } | ({"videos": str(videos.absolute())} if videos else {})
        if item in self._rows:
            self._change(lambda rows: rows.update({item: row}))
        else:
            with folder_lock(self._folder):
                append_line(self._path, json.dumps(row, sort_keys=True))
        self._rows[item] = row

    def remove(self, item: str) -> None:
        """Remove the failure of an item whose result exists."""
        if file_state(self._path) != self._seen:  # another process may have added the item
            self._rows = self._read()
        if self._rows.pop(item, None) is not None:
            self._change(lambda rows: rows.pop(item, None))

    def keep_only(self, items: set[str], *, videos: Path | None = None) -> None:
        """Remove the failures of items that no longer exist.

        Args:
            items: ids of the existing items.
            videos: video folder of these items; failures of other video folders are kept.
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

    def replace(self, failed: Mapping[str, ItemError], *, stage: str, logger: Logger) -> None:
        """Replace all failures by the failures of a stage that processed all items, and log them.

        Args:
            failed: mapping from the id of each failed item to its error.
            stage: name of the stage.
            logger: logger of the stage.
        """
        self.keep_only(set(failed))
        for item, error in sorted(failed.items()):
            log_failure(logger, item, error)
            self.add(item, error, stage=stage)

    def _change(self, change: Callable[[dict[str, dict[str, Any]]], object]) -> None:
        with folder_lock(self._folder):
            rows = self._read()
            change(rows)
            lines = [json.dumps(row, sort_keys=True) + "\n" for row in rows.values()]
            write_atomically(self._path, "".join(lines).encode())

    def _read(self) -> dict[str, dict[str, Any]]:
        self._seen = file_state(self._path)
        return read_rows(self._path)
