"""Where weights files are."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def find_weights(
    name: str, *, setting: str, how_to: str, suffixes: Sequence[str] = (".safetensors",)
) -> Path:
    """Find a weights file; a relative name counts from the working directory, else from `ROOT`.

    Args:
        name: path as the user gives it.
        setting: name of the setting, for error messages.
        how_to: how to get such a file, for error messages.
        suffixes: accepted endings.

    Raises:
        UsageError: if the file does not exist or has another suffix.
    """
    path = Path(name)
    if not path.is_absolute() and not path.is_file() and (ROOT / path).is_file():
        path = ROOT / path
    if not path.is_file():
        raise UsageError(f"{setting}: weights file not found: {path}; {how_to}")
    if path.suffix not in suffixes:
        raise UsageError(
            f"{setting}: a file that ends in {' or '.join(suffixes)} expected, got {path.name}; "
            "python -m tools.convert_weights turns a .pth, .pkl or .tar into .safetensors"
        )
    return path
