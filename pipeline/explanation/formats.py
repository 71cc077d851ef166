"""Formats in which an explanation is written."""

from enum import StrEnum


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
