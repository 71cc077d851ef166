"""The file `failures.jsonl`, which lists the failed videos of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any, ClassVar

from pipeline.config.typed_json import TypedJson
from pipeline.errors import RETRYABLE, FailureReason, ItemError
from pipeline.runtime.row_files import RowFile


def log_failure(logger: Logger, item: str, error: ItemError) -> None:
    """Log the failure of an item."""
    logger.error("%s failed: %s: %s", item, error.reason.value, error)


@dataclass(frozen=True)
class Failure(TypedJson):
    """Failure of an item, one line of `failures.jsonl`.

    Attributes:
        id: id of the item.
        stage: name of the stage.
        reason: value of the `FailureReason`.
        message: start of the message of the error.
        retryable: whether another attempt may succeed with the same input.
        attempts: number of failed attempts.
        input_sha256: SHA-256 of the item's bytes; empty if unknown.
        settings: SHA-256 over everything else that determines the failure.
        videos: video folder of the item, for a cache of several video folders.
    """

    SPARSE: ClassVar[bool] = True

    id: str
    stage: str
    reason: str
    message: str
    retryable: bool
    attempts: int
    input_sha256: str = ""
    settings: str = ""
    videos: str | None = None


class Failures(RowFile[Failure]):
    """Failures of a folder, stored in `failures.jsonl`.

    Args:
        folder: folder of the file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "failures.jsonl")

    def parse(self, tree: Any) -> Failure:
        """Convert the JSON of a line to a failure."""
        return Failure.from_dict(tree)

    def known(self, item: str) -> Failure | None:
        """Return the failure of an item, or None if the item has not failed before."""
        return self.rows().get(item)

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
        """Record a failure. See `Failure` for the arguments."""
        known = self.known(item)
        row = Failure(
            item,
            stage,
            FailureReason(error.reason).value,
            " ".join(str(error).split())[:500],
            error.reason in RETRYABLE,
            attempts=known.attempts + 1 if known else 1,
            input_sha256=sha256,
            settings=fingerprint,
            videos=str(videos.absolute()) if videos else None,
        )
        if known:
            self.change(lambda rows: rows.update({item: row}))
        else:
            self.append(row)

    def remove(self, item: str) -> None:
        """Remove the failure of an item whose result exists."""
        if self.known(item):
            self.change(lambda rows: rows.pop(item, None))

    def keep_only(self, items: set[str], *, videos: Path | None = None) -> None:
        """Remove the failures of items that no longer exist.

        Args:
            items: ids of the existing items.
            videos: video folder of these items; failures of other video folders are kept.
        """
        mine = None if videos is None else str(videos.absolute())

        def is_gone(row: Failure) -> bool:
            return row.id not in items and (mine is None or row.videos in (None, mine))

        if gone := [item for item, row in self.rows().items() if is_gone(row)]:
            self.change(lambda rows: [rows.pop(item, None) for item in gone])

    def replace(self, failed: Mapping[str, ItemError], *, stage: str, logger: Logger) -> None:
        """Replace all failures by those of a stage that processed all items, and log them."""
        self.keep_only(set(failed))
        for item, error in sorted(failed.items()):
            log_failure(logger, item, error)
            self.add(item, error, stage=stage)
