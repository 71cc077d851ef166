"""Opening of video files with PyAV, and their packets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.format import Flags
from av.stream import Disposition

from pipeline.errors import FailureReason, ItemError

#: Smallest jumps of a clock that ffmpeg removes, in seconds (`dts_delta_threshold`, and backwards).
_JUMP_S, _BACKWARDS_S = 10.0, 0.1


def open_container(path: Path, ignore_edit_lists: bool) -> Any:
    """Open a video file with PyAV.

    Raises:
        ItemError: UNREADABLE_VIDEO if FFmpeg cannot open the file.
        MemoryError: if FFmpeg lacks memory or threads.
    """
    options = {"ignore_editlist": "1"} if ignore_edit_lists else {}
    try:
        return av.open(str(path), options=options)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise_for_memory(error)
        raise ItemError(
            FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: FFmpeg cannot open the file: {error}; is it damaged or truncated?",
        ) from error


def raise_for_memory(error: Exception) -> None:
    """Raise MemoryError if an error of FFmpeg is caused by a lack of memory or threads."""
    if isinstance(error, MemoryError | BlockingIOError):
        raise MemoryError(str(error)) from error


def video_stream(container: Any, path: Path) -> Any:
    """Return the video stream that ffmpeg shows.

    It is the first of the streams with the most pixels. A stream that is marked as default counts
    as 5 million pixels more, as in ffmpeg. Attached pictures, such as the cover of a song, are not
    video.

    Raises:
        ItemError: NO_FRAMES if there is no video stream. UNREADABLE_VIDEO if FFmpeg has no decoder
            for it.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "only attached pictures" if container.streams.video else "no video stream"
        raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: the file has {what}")
    stream = max(streams, key=_score)
    if stream.codec_context is None:
        raise ItemError(
            FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: FFmpeg has no decoder for the codec in the header; is the file damaged?",
        )
    return stream


def _score(stream: Any) -> int:
    context = stream.codec_context
    pixels = context.width * context.height if context is not None else 0
    return pixels + 5_000_000 * bool(stream.disposition & Disposition.default)


def may_jump(container: Any) -> bool:
    """Return whether timestamps may jump, as in MPEG transport and program streams."""
    return bool(container.format.flags & Flags.ts_discont.value)


def packets_of(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Yield pairs (packet, whether its decoding time follows that of the packet before it).

    Packets without data, as the empty chunks of AVI, are included. If the clock of a transport or
    program stream jumps, as in parts that were joined, the timestamps are shifted as in ffmpeg, so
    that the packet follows the packet before it.

    Raises:
        av.FFmpegError: if FFmpeg cannot read the file.
    """
    is_shifted, offset = may_jump(container), 0
    second = round(1 / float(stream.time_base))
    step = round(second / float(stream.guessed_rate or 25))
    last: int | None = None
    expected = 0
    for packet in container.demux(stream):
        if packet.size == 0 and packet.dts is None:
            return  # PyAV's marker of the end
        follows = True
        if packet.dts is not None:
            if last is not None:
                ahead = packet.dts + offset - expected
                jumps = is_shifted and abs(ahead) > _JUMP_S * second
                follows = packet.dts + offset > last and not jumps
                if jumps or (is_shifted and -ahead > _BACKWARDS_S * second):
                    offset -= ahead
            last = packet.dts + offset
            expected = last + (packet.duration or step)
        if offset:
            packet.dts = None if packet.dts is None else packet.dts + offset
            packet.pts = None if packet.pts is None else packet.pts + offset
        yield packet, follows


def is_shown_before(packet: Any, other: Any) -> bool:
    """Return whether a packet is shown before another one, as far as is known."""
    return None not in (packet.pts, other.pts) and packet.pts < other.pts
