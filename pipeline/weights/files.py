"""Search for weights files."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def find_weights(
    name: str, *, setting: str, how_to: str, suffixes: Sequence[str] = (".safetensors",)
) -> Path:
    """Find a weights file.

    A relative path is resolved against the working directory first, and then against `ROOT`.

    Args:
        name: path of the file, as set by the user.
        setting: name of the setting that contains the path, used in error messages.
        how_to: instructions for creating such a file, used in error messages.
        suffixes: accepted suffixes.

    Raises:
        UsageError: if the file does not exist or its suffix is not accepted.
    """
    path = Path(name)
    if not path.is_absolute() and not path.is_file() and (ROOT / path).is_file():
        path = ROOT / path
    if not path.is_file():
        raise UsageError(f"{setting}: weights file not found: {path}; {how_to}")
    if path.suffix not in suffixes:
        raise UsageError(
            f"{setting}: a file that ends in {' or '.join(suffixes)} expected, got {path.name}; "
            "python -m tools.convert_weights converts .pth, .pkl and .tar files"
        )
    return path
