"""Files of an explanation in an output folder."""

from collections.abc import Callable, Collection
from pathlib import Path

from pipeline.config.typed_json import parse_json
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.formats import FILES, Format
from pipeline.explanation.media.captions import captions
from pipeline.explanation.report.gallery import ENTRY, GalleryEntry, entry_of
from pipeline.explanation.report.page import report_page
from pipeline.runtime.files import json_bytes, write_atomically, write_json

_CONTENTS: dict[Format, Callable[[Explanation], bytes]] = {
    Format.JSON: lambda explanation: json_bytes(explanation.to_dict()),
    Format.HTML: lambda explanation: report_page(explanation).encode("utf-8", "replace"),
    Format.VTT: lambda explanation: captions(explanation).encode("utf-8", "replace"),
}
_NAMES = tuple(name for names in FILES.values() for name in names)


def save(
    explanation: Explanation, out: Path, formats: Collection[Format], video: Path | None = None
) -> None:
    """Write the files of an explanation to `OUT/ID/`, and `entry.json` for the gallery.

    Each file is written as a whole or not at all. Files of the same explanation in other formats
    stay. All other files of the video are removed first.

    Args:
        explanation: the explanation.
        out: output folder, which is created if it does not exist.
        formats: the formats.
        video: path of the video, which is stored in `entry.json`.

    Raises:
        OSError: if a file cannot be written.
    """
    folder = out / explanation.video.id
    folder.mkdir(parents=True, exist_ok=True)
    files = [*_saved(folder, explanation.fingerprint)]
    if not files:
        remove(folder)
    for kind in formats:
        name = FILES[kind][0]
        write_atomically(folder / name, _CONTENTS[kind](explanation))
        files = [*dict.fromkeys([*files, name])]
        write_json(folder / ENTRY, entry_of(explanation, files, video).to_dict())


def is_saved(folder: Path, fingerprint: str, formats: Collection[Format]) -> bool:
    """Return whether an explanation exists in some formats.

    Args:
        folder: folder of the video.
        fingerprint: fingerprint of the explanation.
        formats: the formats.
    """
    files = _saved(folder, fingerprint)
    return bool(files) and all(any(name in files for name in FILES[kind]) for kind in formats)


def remove(folder: Path, keep: str | None = None) -> None:
    """Remove the files of a video.

    Args:
        folder: folder of the video.
        keep: fingerprint of the explanation whose files are kept.
    """
    if keep is None or not _saved(folder, keep):
        for name in (ENTRY, *_NAMES):
            (folder / name).unlink(missing_ok=True)


def _saved(folder: Path, fingerprint: str) -> tuple[str, ...]:
    """Return the names of the files of an explanation that exist."""
    try:
        entry = GalleryEntry.from_dict(parse_json((folder / ENTRY).read_bytes()))
    except (OSError, ValueError):
        return ()
    mine = entry.files if entry.fingerprint == fingerprint else ()
    return tuple(name for name in _NAMES if name in mine and (folder / name).is_file())
