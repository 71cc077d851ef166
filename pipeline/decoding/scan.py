"""What a file holds, found by reading its packets without decoding them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.format import Flags

from pipeline.errors import FailureReason, ItemError


@dataclass(frozen=True)
class Scan:
    """A video stream as its packets tell.

    Attributes:
        pts_s: presentation times of the frames to be shown, rising, seconds.
        start_s: start time of the container, seconds.
        dump_start_s: time from which ffmpeg counts the files of an image dump, seconds.
        rate: guessed frames per second.
        time_base: seconds per tick of the stream.
        num_declared: frames the header declares, 0 where it does not.
        num_packets: packets found, hidden ones too.
        has_pts: every packet carries the time at which its frame is shown.
        width: coded width, pixels.
        height: coded height, pixels.
        may_jump: times may jump, as in MPEG's transport and program streams.
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
        """Whether packets are missing that the header declares."""
        return 0 < self.num_packets < self.num_declared


def open_container(path: Path, ignore_edit_lists: bool) -> Any:
    """Open with PyAV; ItemError UNREADABLE_VIDEO if it is no video that FFmpeg knows."""
    options = {"ignore_editlist": "1"} if ignore_edit_lists else {}
    try:
        return av.open(str(path), options=options)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise_for_memory(error)
        raise ItemError(
            FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: a video file expected, FFmpeg says: {error}; is it damaged or cut?",
        ) from error


def raise_for_memory(error: Exception) -> None:
    """MemoryError if FFmpeg had too little, or could start no thread: no damage of the file's."""
    if isinstance(error, MemoryError | BlockingIOError):
        raise MemoryError(str(error)) from error


def video_stream(container: Any, path: Path) -> Any:
    """First video stream; ItemError NO_FRAMES without one, UNREADABLE_VIDEO without a decoder."""
    if not container.streams.video:
        raise ItemError(
            FailureReason.NO_FRAMES, f"{path.name}: a video stream expected, there is none"
        )
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ItemError(
            FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: video of a codec that FFmpeg knows expected, its header names another; "
            "is it damaged?",
        )
    return stream


def scan(path: Path, *, ignore_edit_lists: bool, max_pixels: int, max_frames: int) -> Scan:
    """Read all packets of the first video stream.

    Raises:
        ItemError: UNREADABLE_VIDEO, NO_FRAMES, TOO_LARGE (checked before any frame is decoded).
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
        # AVI has no presentation times; FFmpeg makes some up, which B-frames make wrong.
        is_made_up = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        has_pts = None not in times and not is_made_up
        if not has_pts:
            times = [i / rate for i in range(len(times))]
        if not times:
            raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: frames expected, it has none")
        pts = tuple(sorted(t for t in times if t is not None))
        start, own = container.start_time, stream.start_time
        start_s = pts[0] if start is None or not has_pts else start / 1e6
        # ffmpeg (ffmpeg.c, "Correcting starting time"): of a transport stream only the streams
        # that are read count, and a dump reads no sound.
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
                    f"{path.name}: at most {max_frames} frames expected; raise decode.max_frames",
                )
    except av.FFmpegError as error:
        raise_for_memory(error)
        # What could be read counts; a shortfall against the header is judged by the reader.
    return times, packets
