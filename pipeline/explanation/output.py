"""Files of an explanation in an output folder."""

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.config.typed_json import parse_json
from pipeline.datasets.video_files import video_sha256
from pipeline.decoding import DecodeOptions
from pipeline.decoding.array_stream import array_sha256
from pipeline.decoding.options import Numbering
from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.formats import FILES, Format
from pipeline.explanation.media.captions import captions
from pipeline.explanation.media.sheet import write_sheet
from pipeline.explanation.media.video import write_video
from pipeline.explanation.prediction_rows import PREDICTIONS
from pipeline.explanation.report.gallery import ENTRY, GalleryEntry, entry_of
from pipeline.explanation.report.page import report_page
from pipeline.runtime.files import json_bytes, write_atomically, write_json
from pipeline.runtime.writers import sweep_temporary_files

_TEXTS: dict[Format, Callable[[Explanation], bytes]] = {
    Format.JSON: lambda explanation: json_bytes(explanation.to_dict()),
    Format.HTML: lambda explanation: report_page(explanation).encode("utf-8", "replace"),
    Format.VTT: lambda explanation: captions(explanation).encode("utf-8", "replace"),
}
#: Names of other files and folders in an output folder.
RESERVED = re.compile(
    rf"gallery\.html|{re.escape(PREDICTIONS)}|failures\.jsonl|run(-\d+-of-\d+)?\.json|exports"
)
_NAMES = tuple(name for names in FILES.values() for name in names)


def save(
    explanation: Explanation,
    out: Path,
    formats: Collection[Format],
    video: Path | np.ndarray | None = None,
    options: DecodeOptions | None = None,
) -> None:
    """Write the files of an explanation to `OUT/ID/`, and `entry.json` for the gallery.

    Each file is written as a whole or not at all, the annotated video last. If a file cannot be
    written, the others are. Files of the same explanation in other formats stay. All other files of
    the video are removed first.

    Args:
        explanation: the explanation.
        out: output folder, which is created if it does not exist.
        formats: the formats.
        video: the explained video, which is required for the annotated video: its path, or its
            frames as a (T, H, W, 3) uint8 array of RGB images. A path is stored in `entry.json`.
        options: decoder options of the annotated video. Default: ``DecodeOptions()``.

    Raises:
        ItemError: if the annotated video cannot be decoded, see `write_video`. CHANGED_VIDEO if
            `video` is not the explained video. UNSAFE_ID if the folder of the video is a file, or
            would be one.
        OSError: if a file cannot be written.
        ValueError: if the annotated video is requested without the video.
    """
    if Format.VIDEO in formats and video is None:
        raise ValueError("video: the explained video expected for an annotated video, got None")
    folder = out / explanation.video.id
    if RESERVED.fullmatch(folder.name) or (folder.exists() and not folder.is_dir()):
        raise ItemError(
            FailureReason.UNSAFE_ID,
            f"{folder.name}: an id that is not the name of another file of {out} expected; rename "
            "the video",
        )
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary_files(folder)
    files = [*_saved(folder, explanation.fingerprint)]
    if not files:
        remove(folder)
    source, problems = None if isinstance(video, np.ndarray) else video, list[OSError]()
    for kind in sorted(formats, key=lambda kind: kind is Format.VIDEO):
        try:
            name = _write(explanation, kind, folder, video, options)
            files = [*dict.fromkeys([*files, name])]
            write_json(folder / ENTRY, entry_of(explanation, files, source).to_dict())
        except OSError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _write(
    explanation: Explanation,
    kind: Format,
    folder: Path,
    video: Path | np.ndarray | None,
    options: DecodeOptions | None,
) -> str:
    """Write the file of one format and return its name."""
    path = folder / FILES[kind][0]
    if kind is Format.VIDEO:
        assert video is not None
        return _write_video(explanation, video, path, options).name
    if kind is Format.SHEET:
        write_sheet(explanation, path)
    else:
        write_atomically(path, _TEXTS[kind](explanation))
    return path.name


def _write_video(
    explanation: Explanation,
    video: Path | np.ndarray,
    path: Path,
    options: DecodeOptions | None,
) -> Path:
    if isinstance(video, Path):
        sha256, name = video_sha256(video), str(video)
    else:
        sha256, name = array_sha256(video, explanation.video.fps), "the frames"
    if sha256 != explanation.video.sha256:
        raise ItemError(
            FailureReason.CHANGED_VIDEO,
            f"{explanation.video.id}: the explained video expected, but {name} differ from it; "
            "predict the video again",
        )
    numbering: Numbering = "presentation"
    if explanation.video.edit_lists == "ignored":
        numbering = "dump"
    label = f"{explanation.video.id}: video"
    with tqdm(desc=label, unit="frame", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return write_video(
            explanation, video, path, options=options, numbering=numbering, progress=progress
        )


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
            with suppress(NotADirectoryError):
                (folder / name).unlink(missing_ok=True)


def _saved(folder: Path, fingerprint: str) -> tuple[str, ...]:
    """Return the names of the files of an explanation that exist."""
    try:
        entry = GalleryEntry.from_dict(parse_json((folder / ENTRY).read_bytes()))
    except (OSError, ValueError):
        return ()
    mine = entry.files if entry.fingerprint == fingerprint else ()
    return tuple(name for name in _NAMES if name in mine and (folder / name).is_file())
