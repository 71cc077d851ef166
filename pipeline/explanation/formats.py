"""Formats in which an explanation is written."""

from collections.abc import Iterable
from enum import StrEnum

from pipeline.errors import UsageError


class Format(StrEnum):
    """Format of a file of an explanation."""

    JSON = "json"
    HTML = "html"
    VIDEO = "video"
    SHEET = "sheet"
    VTT = "vtt"


#: Names that a file of each format can have.
FILES = {
    Format.JSON: ("explanation.json",),
    Format.HTML: ("report.html",),
    Format.VIDEO: ("annotated.mp4", "annotated.webm"),
    Format.SHEET: ("sheet.png",),
    Format.VTT: ("captions.vtt",),
}
#: All formats but the video, which takes the most time and space.
DEFAULT = (Format.JSON, Format.HTML, Format.SHEET, Format.VTT)


def parse_formats(names: Iterable[str]) -> tuple[Format, ...]:
    """Parse names of formats, such as "json".

    Raises:
        UsageError: if a name is unknown.
    """
    found: list[Format] = []
    for name in map(str.strip, names):
        if name not in [*Format]:
            raise UsageError(f"--format: one of {', '.join(Format)} expected, got {name!r}")
        found.append(Format(name))
    return tuple(dict.fromkeys(found))
