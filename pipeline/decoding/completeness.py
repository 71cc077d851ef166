"""Completeness of a video file, from the sizes that its headers declare.

A file that is cut at its end often opens and decodes without an error. The container tells whether
bytes are missing: Matroska, AVI, MP4, ASF and MXF declare the sizes of their parts, transport
streams and Ogg consist of packets and pages of known sizes, and a GIF ends with a trailer. Live
recordings declare no sizes.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_SEGMENT, _INFO, _DURATION, _CLUSTER = 0x18538067, 0x1549A966, 0x4489, 0x1F43B675
_BOXES = (b"moov", b"mdat", b"moof")
_OTHER_BOXES = (b"ftyp", b"styp", b"free", b"skip", b"wide", b"uuid", b"sidx", b"meta", b"mfra")
_ASF, _ASF_DATA = (bytes.fromhex(x + "8e66cf11a6d900aa0062ce6c") for x in ("3026b275", "3626b275"))
_NO_ASF_DATA, _LARGEST_PAGE = 50, 65_307
_MXF, _GIF_TRAILER, _PADDING = b"\x06\x0e\x2b\x34", b";", 64


def missing_bytes(path: Path) -> int | None:
    """Return the number of bytes that a file lacks at its end.

    Args:
        path: path of a video file in any format.

    Returns:
        0 if all parts that the file declares are complete. None if the file declares no sizes, as
        in a live recording, or if the format is not known.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        head = _at(file, 0, 3 * 204)
        for is_format, measure in _FORMATS:
            if is_format(head):
                end = measure(file, size)
                return None if end is None else max(end - size, 0)
    return None


def declares_duration(path: Path) -> bool:
    """Return whether the header of a Matroska file of undeclared size contains its duration."""
    with path.open("rb") as file:
        for name, start, end in _elements(file, 0, file.seek(0, 2)):
            if name == _INFO and end is not None:
                return _DURATION in {inner for inner, _, _ in _elements(file, start, end)}
            if name == _CLUSTER:
                return False
    return False


def _matroska_end(file: BinaryIO, size: int) -> int | None:
    last: int | None = None
    for name, _, last in _elements(file, 0, size):
        if name == _SEGMENT and last is not None:
            return last
    return last if last is not None and last > size else None


def _elements(file: BinaryIO, at: int, stop: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield (id, start of the content, end) of EBML elements.

    The end of an element of unknown size, as in a live recording, is None. Its children follow. The
    end of an element that is cut within its header is after `stop`, and its id is 0.
    """
    while at < stop:
        data = _at(file, at, 12)
        length = 9 - data[0].bit_length()
        more = 9 - data[length].bit_length() if length < len(data) else 0
        if length > 8 or more > 8:
            return
        start = at + length + more
        if not more or start > stop:
            yield 0, start, stop + 1
            return
        mask = (1 << 7 * more) - 1
        number = int.from_bytes(data[length : length + more], "big") & mask
        end = None if number == mask else start + number
        yield int.from_bytes(data[:length], "big"), start, end
        at = start if end is None else end


def _avi_end(file: BinaryIO, size: int) -> int | None:
    end = at = 0
    while at < size and _at(file, at, 4) == b"RIFF":
        (number,) = struct.unpack("<I", _at(file, at + 4, 4).ljust(4, b"\0"))
        if number in (0, 0xFFFFFFFF):
            return None
        end = at + 8 + number
        at = end + number % 2
    return end


def _mp4_end(file: BinaryIO, size: int) -> int | None:
    at = 0
    while at < size:
        if at + 8 > size:
            return at + 8  # cut within the header of a box
        head = _at(file, at, 16).ljust(16, b"\0")
        number, name = struct.unpack(">I4s", head[:8])
        if name not in _BOXES + _OTHER_BOXES or number == 0:
            return None
        if number == 1:
            (number,) = struct.unpack(">Q", head[8:])
        if number < 8:
            return None
        at += number
        if at > size:
            return at if name in _BOXES else None
    return at


def _asf_end(file: BinaryIO, size: int) -> int | None:
    at = 0
    while at < size:
        head = _at(file, at, 24).ljust(24, b"\0")
        (number,) = struct.unpack("<Q", head[16:])
        if number < 24 or (head[:16] == _ASF_DATA and number <= _NO_ASF_DATA):
            return None
        at += number
    return at


def _ogg_end(file: BinaryIO, size: int) -> int | None:
    start = max(size - _LARGEST_PAGE, 0)
    tail = _at(file, start, _LARGEST_PAGE)
    at = tail.rfind(b"OggS")
    if at < 0:
        return None
    page = tail[at : at + 27].ljust(27, b"\0")
    table = tail[at + 27 : at + 27 + page[26]]
    end = start + at + 27 + page[26] + sum(table)
    is_last_page = page[5] & 4
    return end if end > size or is_last_page else None


def _ts_end(file: BinaryIO, size: int, packet: int, first: int = 0) -> int | None:
    rest = size % packet
    tail = _at(file, size - rest, first + 1)
    is_cut = rest and (len(tail) <= first or tail[first : first + 1] == b"G")
    return size - rest + packet if is_cut else None  # other bytes may follow the last packet


def _gif_end(file: BinaryIO, size: int) -> int | None:
    tail = _at(file, max(size - _PADDING, 0), _PADDING).rstrip(b"\0\r\n")
    return None if tail.endswith(_GIF_TRAILER) else size + 1


def _mxf_end(file: BinaryIO, size: int) -> int | None:
    at = 0
    while at < size:
        head = _at(file, at, 25)
        if head[:4] != _MXF[: len(head[:4])]:
            return None
        if len(head) < 17:
            return at + 17
        length, start = head[16], at + 17
        if length > 0x80:
            more = length - 0x80
            if more > 8:
                return None
            length, start = int.from_bytes(head[17 : 17 + more], "big"), start + more
        at = start + length
    return at


def _has_sync(head: bytes, first: int, packet: int) -> bool:
    return head[first : first + 2 * packet + 1 : packet] == b"GGG"


def _at(file: BinaryIO, at: int, number: int) -> bytes:
    file.seek(at)
    return file.read(number)


#: Test of the first bytes of a file, and function that returns the declared end, by format.
_FORMATS: tuple[
    tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], int | None]],
    ...,
] = (
    (lambda head: head[:4] == b"\x1aE\xdf\xa3", _matroska_end),
    (lambda head: head[:4] + head[8:12] == b"RIFFAVI ", _avi_end),
    (lambda head: head[4:8] in _BOXES + _OTHER_BOXES, _mp4_end),
    (lambda head: head[:16] == _ASF, _asf_end),
    (lambda head: head[:4] == b"OggS", _ogg_end),
    (lambda head: head[:4] == b"GIF8", _gif_end),
    (lambda head: head[:4] == _MXF, _mxf_end),
    (lambda head: _has_sync(head, 0, 188), lambda file, size: _ts_end(file, size, 188)),
    (lambda head: _has_sync(head, 4, 192), lambda file, size: _ts_end(file, size, 192, 4)),
    (lambda head: _has_sync(head, 0, 204), lambda file, size: _ts_end(file, size, 204)),
)
