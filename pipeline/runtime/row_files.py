"""Files with one JSON line per item, to which several processes may write."""

import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pipeline.runtime.files import append_line, write_atomically
from pipeline.runtime.writers import folder_lock, living_writers

#: Lock of the threads of this process that read rows.
_READING = threading.Lock()


@runtime_checkable
class ItemRow(Protocol):
    """Row of an item."""

    @property
    def id(self) -> str:
        """Id of the item."""

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON."""


RowT = TypeVar("RowT", bound=ItemRow)


class RowFile(ABC, Generic[RowT]):
    """File with one JSON line per item.

    The last line of an id is valid. Damaged lines are ignored. Repeated reads load only the lines
    that were appended since the previous read.

    Args:
        path: path of the file, which may not exist.

    Attributes:
        SORTS_KEYS: whether the keys of a line are sorted.
        KEEPS_OTHERS: whether `write` keeps lines that are not rows, as those of other versions.
    """

    SORTS_KEYS: ClassVar[bool] = True
    KEEPS_OTHERS: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, RowT] = {}
        #: Lines of other versions by id, if they are kept.
        self._others: dict[str, Any] = {}
        self._file, self._read, self._end = (0, 0), 0, b""

    @abstractmethod
    def parse(self, tree: Any) -> RowT:
        """Convert the JSON of a line to a row. An error means that the line is damaged."""

    def tree(self, row: RowT) -> dict[str, Any]:
        """Return the JSON of the line of a row."""
        return row.to_dict()

    def rows(self) -> dict[str, RowT]:
        """Read the file and return the last row of each id."""
        with _READING:
            return self._updated()

    def _updated(self) -> dict[str, RowT]:
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                # A new file may have the inode number of a file that was replaced earlier.
                file.seek(self._read - len(self._end))
                is_same = file.read(len(self._end)) == self._end
                if (found.st_dev, found.st_ino) != self._file or not is_same:
                    self._file, self._rows, self._others = (found.st_dev, found.st_ino), {}, {}
                    self._read, self._end = 0, b""
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return {}
        if whole := data.rfind(b"\n") + 1:
            self._read += whole
            self._end = data[data.rfind(b"\n", 0, whole - 1) + 1 : whole]
        # A line without a line feed may be incomplete. It is used if valid, and read again later.
        for line in data.decode("utf-8", "replace").splitlines():
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                tree = json.loads(line, parse_constant=_reject)
                if self.KEEPS_OTHERS:
                    self._others[str(tree["id"])] = tree
                row = self.parse(tree)
                self._rows[row.id] = row
                self._others.pop(row.id, None)
        return self._rows

    def append(self, row: RowT) -> None:
        """Append a line."""
        with folder_lock(self.path.parent):
            self.append_locked(row)

    def append_locked(self, row: RowT) -> None:
        """Append a line. The caller must hold the lock of the folder."""
        append_line(self.path, self._line(row))

    def change(self, change: Callable[[dict[str, RowT]], object]) -> None:
        """Read the rows, change them in place, and replace the file."""
        with folder_lock(self.path.parent):
            rows = dict(self.rows())
            change(rows)
            self._write(map(self._line, rows.values()))

    def write(self, rows: Mapping[str, RowT]) -> None:
        """Replace the file by rows, sorted by id. A file with the same content is left as it is."""
        lines = {item: json.dumps(tree) for item, tree in self._others.items()}
        lines |= {item: self._line(row) for item, row in rows.items()}
        self._write(lines[item] for item in sorted(lines))

    def settle(self, written: Mapping[str, RowT]) -> None:
        """Append missing lines at the end of a run, and sort the lines without another writer.

        Lines can be missing if two writers replaced the file at the same time on a file system
        without locks.

        Args:
            written: rows that this run wrote, by id.
        """
        with folder_lock(self.path.parent):
            for item in sorted(written.keys() - self.rows().keys()):
                self.append_locked(written[item])
            if not living_writers(self.path.parent):
                self.write(self.rows())

    def _write(self, lines: Iterable[str]) -> None:
        data = "".join(line + "\n" for line in lines).encode()
        if not self.path.is_file() or self.path.read_bytes() != data:
            write_atomically(self.path, data)

    def _line(self, row: RowT) -> str:
        return json.dumps(self.tree(row), sort_keys=self.SORTS_KEYS, allow_nan=False)


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
