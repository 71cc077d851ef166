"""Properties of a video stream, read from its packets without decoding.

Three numbers describe the length of a stream. They are equal only in the simplest files:

packets          coded units in the file. A packet may show no frame: it may be hidden (the
                 alternative references of VP8), cut off by an edit list, empty (frames that a
                 recorder dropped, in AVI), or depend on frames before the start of the recording.
declared frames  number of packets according to the header. MP4 declares exact numbers, which
                 include packets that edit lists cut off. AVI declares the length of its clock. Most
                 other formats declare no number.
shown frames     frames that ffmpeg shows (`-fps_mode passthrough`). Several of them may have equal
                 times. Only shown frames have an index and a time.

A file is truncated if packets or bytes are missing that it declares. It is corrupt if its packets
cannot be decoded, or do not show the expected frames. Other differences between the numbers are
normal. The shown frames are known from the packets if every visible packet shows one frame
(`Scan.is_one_to_one`). Otherwise, they are decoded once to count them.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.format import Flags

from pipeline.decoding.completeness import declares_duration, missing_bytes
from pipeline.decoding.container import (
    is_shown_before,
    may_jump,
    open_container,
    packets_of,
    raise_for_memory,
    video_stream,
)
from pipeline.errors import FailureReason, ItemError

#: Codecs in which every visible packet shows one frame.
_ONE_TO_ONE = frozenset(
    ("h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "mpeg1video", "mpeg2video", "prores", "png")
)
_VP8_SHOWN = 0x10
#: Smallest difference between the declared and the actual duration of a truncated file, in seconds
#: and as a share of the declared duration. The smaller difference counts.
_MISSING_S, _MISSING_SHARE = 1.0, 0.1


@dataclass(frozen=True)
class Scan:
    """Properties of a video stream, read from its packets.

    Attributes:
        pts_s: presentation times of the shown frames in seconds, non-decreasing. Approximate unless
            `is_one_to_one` is True.
        num_visible: number of packets that are not empty, hidden or cut off by an edit list.
        is_regular: whether every visible packet shows one frame, as far as is known.
        starts_open: whether the first packets of the stream, or of a part of a joined stream, may
            depend on frames that are not in the file.
        start_s: start time of the container in seconds.
        dump_start_s: start time of ffmpeg's image dump in seconds.
        rate: guessed frames per second.
        time_base: seconds per tick of the stream.
        num_declared: number of packets that the header declares, or 0 if unknown.
        num_packets: number of packets in the file, including packets that show no frame.
        has_pts: whether the times come from presentation timestamps, so that they can be matched
            with the times of other programs.
        has_times: whether the container stores any times.
        decoding_times: decoding times of the visible packets in ticks, if they have no reliable
            presentation times, but increasing decoding times. Otherwise empty.
        width: coded width in pixels.
        height: coded height in pixels.
        num_streams: number of video streams, including attached pictures.
        may_jump: whether timestamps may jump, as in MPEG transport and program streams.
        is_complete: whether all declared packets and bytes are there, or None if the file declares
            neither, as in a live recording.
        shortage: description of what is missing if `is_complete` is False.
    """

    pts_s: tuple[float, ...]
    num_visible: int
    is_regular: bool
    starts_open: bool
    start_s: float
    dump_start_s: float
    rate: float
    time_base: float
    num_declared: int
    num_packets: int
    has_pts: bool
    has_times: bool
    decoding_times: tuple[int, ...]
    width: int
    height: int
    num_streams: int
    may_jump: bool
    is_complete: bool | None
    shortage: str

    @property
    def is_one_to_one(self) -> bool:
        """Whether the packets determine the shown frames, so that `pts_s` is exact."""
        return self.is_regular and self.has_pts


@dataclass
class _Packets:
    """Packets of a stream; `times` are those of the visible packets, in seconds."""

    times: list[float | None]
    dts: list[int]
    number: int = 0
    has_key_first: bool = True
    is_in_order: bool = True
    is_last_corrupt: bool = False


def scan(path: Path, *, ignore_edit_lists: bool, max_pixels: int, max_frames: int) -> Scan:
    """Read all packets of the video stream without decoding frames.

    Args:
        path: path of the video file.
        ignore_edit_lists: whether to ignore edit lists, so that packets that they cut off are
            visible.
        max_pixels: maximum number of pixels per frame.
        max_frames: maximum number of packets.

    Returns:
        Properties of the stream.

    Raises:
        ItemError: UNREADABLE_VIDEO, NO_FRAMES, TRUNCATED_VIDEO (if FFmpeg cannot open the file
            because its end is missing) or TOO_LARGE.
        MemoryError: if FFmpeg lacks memory or threads.
    """
    missing = None
    with suppress(OSError):  # FFmpeg reports that the file cannot be read
        missing = missing_bytes(path)
    try:
        return _scan(path, missing, ignore_edit_lists, max_pixels, max_frames)
    except ItemError as error:
        if not missing or error.reason is FailureReason.TOO_LARGE:
            raise
        raise ItemError(
            FailureReason.TRUNCATED_VIDEO,
            f"{path.name}: the file lacks at least {missing} bytes at its end; download it again",
        ) from error


def _scan(
    path: Path, missing: int | None, ignore_edit_lists: bool, max_pixels: int, max_frames: int
) -> Scan:
    with open_container(path, ignore_edit_lists) as container:
        stream = video_stream(container, path)
        context = stream.codec_context
        width, height = context.width, context.height
        if width * height > max_pixels:
            raise ItemError(
                FailureReason.TOO_LARGE,
                f"{path.name}: at most {max_pixels} pixels per frame expected, got "
                f"{width}x{height}; raise decode.max_pixels",
            )
        found = _read_packets(container, stream, path, max_frames)
        rate = float(stream.guessed_rate or stream.average_rate or 0) or 25.0
        # AVI and ASF have no presentation times. FFmpeg derives them, but incorrectly if there are
        # B-frames.
        is_made_up = container.format.name in ("avi", "asf") and bool(context.has_b_frames)
        has_pts = None not in found.times and not is_made_up
        times = found.times if has_pts else [i / rate for i in range(len(found.times))]
        if not times:
            raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: the video has no frames")
        pts = tuple(sorted(t for t in times if t is not None))
        start, own = container.start_time, stream.start_time
        start_s = start / 1e6 if start is not None else pts[0]
        # As in ffmpeg.c, "Correcting starting time": the start time of a transport stream is the
        # start time of the streams that are read. An image dump does not read the audio stream.
        jumps = may_jump(container)
        counts_own = own is not None and jumps
        is_regular = context.codec.canonical_name in _ONE_TO_ONE and found.has_key_first
        is_regular &= found.is_in_order
        step_s = max(1 / rate, pts[-1] - pts[-2] if len(pts) > 1 else 0.0)
        shortage, is_complete = _shortage(
            path, container, stream, found, missing, (pts[-1], step_s)
        )
        return Scan(
            pts_s=pts,
            num_visible=len(pts),
            is_regular=is_regular,
            starts_open=not found.has_key_first or (jumps and not found.is_in_order),
            start_s=start_s,
            dump_start_s=own * float(stream.time_base) if counts_own else start_s,
            rate=rate,
            time_base=float(stream.time_base),
            num_declared=stream.frames,
            num_packets=found.number,
            has_pts=has_pts,
            has_times=not container.format.flags & Flags.no_timestamps.value,
            decoding_times=() if has_pts or not found.is_in_order else tuple(found.dts),
            width=width,
            height=height,
            num_streams=len(container.streams.video),
            may_jump=jumps,
            is_complete=is_complete,
            shortage=shortage,
        )


def _read_packets(container: Any, stream: Any, path: Path, max_frames: int) -> _Packets:
    found = _Packets([], [])
    first: Any = None
    base, is_vp8 = float(stream.time_base), stream.codec_context.codec.canonical_name == "vp8"
    try:
        for packet, follows in packets_of(container, stream):
            found.number += 1
            if found.number > max_frames:
                raise ItemError(
                    FailureReason.TOO_LARGE,
                    f"{path.name}: at most {max_frames} frames expected, got more; "
                    "raise decode.max_frames",
                )
            if packet.size == 0:
                continue
            found.is_in_order &= follows
            found.is_last_corrupt = packet.is_corrupt
            first = packet if first is None else first
            found.has_key_first &= first.is_keyframe and not is_shown_before(packet, first)
            is_hidden = is_vp8 and not memoryview(packet)[0] & _VP8_SHOWN
            if not packet.is_discard and not is_hidden:
                found.times.append(None if packet.pts is None else packet.pts * base)
                found.dts += [] if packet.dts is None else [packet.dts]
    except av.FFmpegError as error:
        raise_for_memory(error)
        # Keep the packets read so far; their number is compared with the header.
    return found


def _shortage(
    path: Path,
    container: Any,
    stream: Any,
    found: _Packets,
    missing: int | None,
    end_s: tuple[float, float],
) -> tuple[str, bool | None]:
    """Return what is missing in the file, and whether the file is complete (None: unknown)."""
    kind, (last_s, step_s) = container.format.name, end_s
    if found.is_last_corrupt:
        return "the last packet is incomplete", False
    if stream.frames and kind != "avi":
        number, is_mp4 = found.number, "mp4" in kind
        if number < stream.frames and is_mp4:
            number = _count_all(path)  # edit lists cut off packets that are in the file
        if number < stream.frames:
            return f"header declares {stream.frames} frames, found {number}", False
        if number == stream.frames and is_mp4:
            return "", True
    if missing:
        return f"the file lacks at least {missing} bytes at its end", False
    declares = kind == "flv" or (missing is None and "matroska" in kind and declares_duration(path))
    declared_s = (container.duration or 0) / 1e6 if declares else 0.0
    shortest_s = declared_s - min(_MISSING_S, _MISSING_SHARE * declared_s) - step_s
    if last_s < shortest_s:
        last_s = _last_time_s(path)
        if last_s < shortest_s:
            return (
                f"header declares {declared_s:.1f} s, the last packet is at {last_s:.1f} s",
                False,
            )
    return "", None if missing is None and not declared_s else True


def _count_all(path: Path) -> int:
    with open_container(path, ignore_edit_lists=True) as container:
        return _read_packets(container, video_stream(container, path), path, 2**62).number


def _last_time_s(path: Path) -> float:
    """Return the time of the last packet of all streams, in seconds."""
    last_s = 0.0
    with open_container(path, ignore_edit_lists=True) as container:
        for packet in container.demux():
            if packet.pts is not None:
                last_s = max(last_s, float(packet.pts * packet.time_base))
    return last_s
