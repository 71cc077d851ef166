"""Writing of report pages and gallery pages."""

import os
from pathlib import Path

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.report.gallery import entry_of, gallery_page, read_entries
from pipeline.explanation.report.page import report_page
from pipeline.runtime.files import publish, write_atomically, write_json, writer_token


def write_report(explanation: Explanation, out: Path) -> Path:
    """Write `ID/report.html`, and `ID/entry.json` for the gallery.

    Args:
        explanation: the explanation.
        out: output folder.

    Returns:
        Path of the report page.
    """
    folder = out / explanation.video.id
    folder.mkdir(parents=True, exist_ok=True)
    page = report_page(explanation).encode("utf-8", "replace")
    write_atomically(folder / "report.html", page)
    write_json(folder / "entry.json", entry_of(explanation).to_dict())
    return folder / "report.html"


def write_gallery(out: Path) -> Path:
    """Write `gallery.html`, which lists the videos with a report page in a folder.

    Args:
        out: output folder.

    Returns:
        Path of the gallery page.
    """
    path = out / "gallery.html"
    temporary = path.with_name(f".{path.name}.tmp-{writer_token()}")
    try:
        with open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.writelines(gallery_page(read_entries(sorted(out.glob("*/entry.json")))))
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
