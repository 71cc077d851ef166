"""Properties of a video stream, read from its packets without decoding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.format import Flags

from pipeline.errors import FailureReason, ItemError


@dataclass(frozen=True)
class Scan:
    """Properties of a video stream, read from its packets.

    Attributes:
        pts_s: presentation times of the visible frames in seconds, increasing.
        start_s: start time of the container in seconds.
        dump_start_s: start time of ffmpeg's image dump in seconds.
        rate: guessed frames per second.
        time_base: seconds per tick of the stream.
        num_declared: number of frames that the header declares, or 0 if unknown.
        num_packets: number of packets in the file, including the packets of hidden frames.
        has_pts: whether every packet has a valid presentation time.
        width: coded width in pixels.
        height: coded height in pixels.
        may_jump: whether timestamps may jump, as in MPEG transport and program streams.
    """

    pts_s: tuple[float, ...]
    start_s: float
    dump_start_s: float
    rate: float
    time_base: float
    num_declared: int
    num_packets: int
    has_pts: bool
    width: int
    height: int
    may_jump: bool

    @property
    def is_truncated(self) -> bool:
        """Whether the file has fewer packets than its header declares."""
        return 0 < self.num_packets < self.num_declared


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
    """Return the first video stream.

    Raises:
        ItemError: NO_FRAMES if there is no video stream. UNREADABLE_VIDEO if FFmpeg has no decoder
            for it.
    """
    if not container.streams.video:
        raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: the file has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ItemError(
            FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: FFmpeg has no decoder for the codec in the header; is the file damaged?",
        )
    return stream


def scan(path: Path, *, ignore_edit_lists: bool, max_pixels: int, max_frames: int) -> Scan:
    """Read all packets of the first video stream without decoding frames.

    Args:
        path: path of the video file.
        ignore_edit_lists: whether to ignore edit lists, so that hidden frames count as visible.
        max_pixels: maximum number of pixels per frame.
        max_frames: maximum number of packets.

    Returns:
        Properties of the stream.

    Raises:
        ItemError: UNREADABLE_VIDEO, NO_FRAMES or TOO_LARGE.
        MemoryError: if FFmpeg lacks memory or threads.
    """
    with open_container(path, ignore_edit_lists) as container:
        stream = video_stream(container, path)
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise ItemError(
                FailureReason.TOO_LARGE,
                f"{path.name}: at most {max_pixels} pixels per frame expected, got "
                f"{width}x{height}; raise decode.max_pixels",
            )
        times, packets = _times(container, stream, path, max_frames)
        rate = float(stream.guessed_rate or stream.average_rate or 0) or 25.0
        # AVI has no presentation times. FFmpeg derives them, but incorrectly if there are B-frames.
        is_made_up = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        has_pts = None not in times and not is_made_up
        if not has_pts:
            times = [i / rate for i in range(len(times))]
        if not times:
            raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: the video has no frames")
        pts = tuple(sorted(t for t in times if t is not None))
        start, own = container.start_time, stream.start_time
        start_s = pts[0] if start is None or not has_pts else start / 1e6
        # As in ffmpeg.c, "Correcting starting time": the start time of a transport stream is the
        # start time of the streams that are read. An image dump does not read the audio stream.
        may_jump = bool(container.format.flags & Flags.ts_discont.value)
        counts_own = own is not None and may_jump
        return Scan(
            pts_s=pts,
            start_s=start_s,
            dump_start_s=own * float(stream.time_base) if counts_own else start_s,
            rate=rate,
            time_base=float(stream.time_base),
            num_declared=stream.frames,
            num_packets=packets,
            has_pts=has_pts,
            width=width,
            height=height,
            may_jump=may_jump,
        )


def _times(
    container: Any, stream: Any, path: Path, max_frames: int
) -> tuple[list[float | None], int]:
    times: list[float | None] = []
    packets = 0
    base = float(stream.time_base)
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            packets += 1
            if not packet.is_discard:
                times.append(None if packet.pts is None else packet.pts * base)
            if packets > max_frames:
                raise ItemError(
                    FailureReason.TOO_LARGE,
                    f"{path.name}: at most {max_frames} frames expected, got more; "
                    "raise decode.max_frames",
                )
    except av.FFmpegError as error:
        raise_for_memory(error)
        # Keep the packets read so far; `VideoReader` compares their number with the header.
    return times, packets
