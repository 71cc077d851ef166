"""Formats in which an explanation is written."""

from collections.abc import Iterable
from enum import StrEnum

from pipeline.errors import UsageError


class Format(StrEnum):
    """Format of a file of an explanation."""

    JSON = "json"
    HTML = "html"
    VTT = "vtt"


#: Names that a file of each format can have.
FILES = {
    Format.JSON: ("explanation.json",),
    Format.HTML: ("report.html",),
    Format.VTT: ("captions.vtt",),
}
DEFAULT = (Format.JSON, Format.HTML, Format.VTT)


def parse_formats(names: Iterable[str]) -> tuple[Format, ...]:
    """Parse names of formats, such as "json".

    Raises:
        UsageError: if a name is unknown.
    """
    found: list[Format] = []
    for name in names:
        if name not in [*Format]:
            raise UsageError(f"--format: one of {', '.join(Format)} expected, got {name!r}")
        found.append(Format(name))
    return tuple(dict.fromkeys(found))
