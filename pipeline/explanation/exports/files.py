"""Streaming writing of files that are published together."""

import json
import os
import secrets
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from pipeline.runtime.files import publish, writer_token


class ExportFiles:
    """Files of a folder that replace the earlier files when all of them are complete.

    Until then, they have temporary names. Leaving the context removes files that are not published.

    Args:
        folder: existing folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[Path, IO[str]] = {}
        self._scratch = ExitStack()

    def __enter__(self) -> "ExportFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()
        for file in self._files.values():
            with suppress(OSError):
                file.close()
            Path(file.name).unlink(missing_ok=True)

    def open(self, name: str) -> IO[str]:
        """Open a new file for writing.

        Args:
            name: path of the file in the folder.

        Raises:
            OSError: if the file cannot be created.
        """
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        temporary = path.parent / f".{path.name}.tmp-{writer_token()}-{secrets.token_hex(4)}"
        self._files[path] = temporary.open("x", encoding="utf-8", newline="")
        return self._files[path]

    def open_scratch(self) -> IO[str]:
        """Open a file for writing and reading that is never published.

        Raises:
            OSError: if the file cannot be created.
        """
        return self._scratch.enter_context(
            tempfile.TemporaryFile("w+", encoding="utf-8", newline="", dir=self.folder)
        )

    def publish(self) -> list[Path]:
        """Complete all files and return their paths.

        Raises:
            OSError: if a file cannot be completed or renamed. If it cannot be completed, no earlier
                file is replaced.
        """
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for path, file in self._files.items():
            publish(Path(file.name), path)
        return list(self._files)


class JsonList:
    """JSON list that is written item by item.

    Args:
        file: output file.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._separator = file, "[\n"

    def add(self, item: Any) -> None:
        """Add an item.

        Raises:
            ValueError: if the item contains NaN or infinity.
            OSError: if the item cannot be written.
        """
        self._file.write(self._separator + to_json(item))
        self._separator = ",\n"

    def end(self) -> None:
        """Write the end of the list."""
        self._file.write("[]" if self._separator == "[\n" else "\n]")


def append_file(scratch: IO[str], file: IO[str]) -> None:
    """Append the content of a scratch file to another file."""
    scratch.seek(0)
    shutil.copyfileobj(scratch, file)


def to_json(tree: Any) -> str:
    """Return JSON of ASCII characters, which tools read whatever encoding they expect.

    Raises:
        ValueError: if the tree contains NaN or infinity.
    """
    return json.dumps(tree, allow_nan=False)
