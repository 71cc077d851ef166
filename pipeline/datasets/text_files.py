"""Reader of text files that other programs wrote in UTF-8 or UTF-16."""

import codecs
from pathlib import Path

from pipeline.errors import UsageError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, *, errors: str = "strict") -> str:
    """Read a text file in UTF-8 with or without a byte order mark, or in UTF-16 with one.

    Args:
        path: path of the file.
        errors: treatment of bytes that are not valid in the encoding, see `bytes.decode`.

    Returns:
        The text without the byte order mark. Line ends are not changed.

    Raises:
        UsageError: if the file has another encoding.
        OSError: if the file cannot be read.
    """
    data = path.read_bytes()
    is_wide = data.startswith(_UTF16)
    problem = "NUL characters"
    if is_wide or b"\0" not in data:
        try:
            text = data.decode("utf-16" if is_wide else "utf-8-sig", errors)
            if "\0" not in text:
                return text
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            problem = f"the byte 0x{data[error.start]:02x} in line {line}"
    raise UsageError(
        f"{path}: text in UTF-8, or in UTF-16 with a byte order mark, expected, got {problem}; "
        "save the file as UTF-8"
    )
