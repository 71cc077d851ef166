"""Decoding of the shown frames of a video with PyAV, and their times."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.decoding.container import (
    is_shown_before,
    open_container,
    packets_of,
    raise_for_memory,
    video_stream,
)
from pipeline.decoding.scan import Scan
from pipeline.errors import FailureReason, ItemError

#: Bytes per pixel of a decoded frame, its RGB image and a copy of the image.
_FRAME_BYTES = 8
#: Presentation and decoding time of a frame, in ticks.
_Stamp = tuple[int | None, int | None]


def damage(
    path: Path, problem: str, reason: FailureReason = FailureReason.CORRUPT_VIDEO
) -> ItemError:
    """Return the error of a damaged file."""
    advice = "download it again or set decode.tolerant=true"
    return ItemError(reason, f"{path.name}: {problem}; {advice}")


def decode(
    path: Path, scan: Scan, *, ignore_edit_lists: bool, is_check: bool = False
) -> Iterator[Any]:
    """Decode the shown frames of an undamaged file, in order.

    A recording that begins in the middle or between two groups of pictures, or a part of a joined
    stream (`Scan.starts_open`), begins with packets that depend on missing frames. Errors before
    the second keyframe are ignored, and FFmpeg shows the same frames as the ffmpeg program. FFmpeg
    then reports less damage.

    Args:
        path: path of the video file.
        scan: scan of its packets.
        ignore_edit_lists: whether to ignore edit lists.
        is_check: whether FFmpeg reports all damage, even if it then shows fewer frames of such a
            recording.

    Raises:
        ItemError: CORRUPT_VIDEO if FFmpeg reports an error or a corrupt frame. TRUNCATED_VIDEO if
            the error is in the last packet of a file that does not declare its length.
    """
    with open_container(path, ignore_edit_lists) as container:
        stream = video_stream(container, path)
        if is_check or not scan.starts_open:
            stream.codec_context.options = {"err_detect": "explode"}
        packets, start = _filled(container, stream), _Start(scan)
        try:
            for packet, follows in packets:
                for frame in start.decoded(stream, packet, follows):
                    if frame.is_corrupt:
                        raise damage(path, f"FFmpeg marks the frame at {frame.time} s as corrupt")
                    yield frame
        except (av.FFmpegError, ValueError) as error:
            raise_for_memory(error)
            # Some decoders report a lack of memory as invalid data. Memory for a decoded frame, its
            # RGB image and a copy must be left; otherwise, this line raises MemoryError.
            np.empty((scan.height, scan.width, _FRAME_BYTES), np.uint8)
            is_at_end = next(packets, (None, True))[0] is None
            if is_at_end and scan.is_complete is None:
                problem = f"the file ends within a frame ({error})"
                raise damage(path, problem, FailureReason.TRUNCATED_VIDEO) from error
            raise damage(path, f"FFmpeg cannot decode the file: {error}") from error


def decode_what_can_be(
    path: Path, scan: Scan, *, ignore_edit_lists: bool
) -> Iterator[tuple[Any, bool]]:
    """Yield the decodable frames of a damaged file, each with a flag.

    The flag is True once damage has been found. Packets that cannot be decoded are skipped. The
    decoder is flushed at the end, even if the file is truncated.
    """
    with open_container(path, ignore_edit_lists) as container:
        stream = video_stream(container, path)
        packets, start = _filled(container, stream), _Start(scan)
        is_damaged = False
        while True:
            try:
                packet, follows = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                raise_for_memory(error)
                packet, follows, is_damaged = None, True, True
            try:
                for frame in start.decoded(stream, packet, follows):
                    is_damaged |= frame.is_corrupt
                    yield frame, is_damaged
            except av.FFmpegError as error:
                raise_for_memory(error)
                is_damaged = True


def _filled(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Yield the packets of `packets_of` that contain data, and None, which flushes the decoder."""
    for packet, follows in packets_of(container, stream):
        if packet.size:
            yield packet, follows
    yield None, True


class _Start:
    """Decoding of a stream whose starts, or whose parts' starts, may depend on missing frames."""

    def __init__(self, scan: Scan) -> None:
        self._starts_open = scan.starts_open
        self._num_keys, self._key = 0, None

    def decoded(self, stream: Any, packet: Any, follows: bool) -> list[Any]:
        """Return the frames of a packet, or none if it is in a start and cannot be decoded."""
        if not follows:
            self._num_keys, self._key = 0, None
        if self._num_keys < 2 and packet is not None and packet.is_keyframe:
            self._num_keys += 1
            self._key = packet
        try:
            return list(stream.codec_context.decode(packet))
        except av.FFmpegError as error:
            raise_for_memory(error)
            before_key = None not in (self._key, packet) and is_shown_before(packet, self._key)
            if self._starts_open and (self._num_keys < 2 or before_key):
                return []
            raise


def shown_times(path: Path, scan: Scan, *, ignore_edit_lists: bool) -> tuple[float, ...]:
    """Decode all frames and return their times, as in ffmpeg.

    Returns:
        Times in seconds, non-decreasing. A frame without a time follows the frame before it by
        one frame duration. All frames of a stream without any times have this distance.

    Raises:
        ItemError: NO_FRAMES. CORRUPT_VIDEO if visible packets show no frame, although their codec
            shows one frame per packet. See also `decode`.
    """
    if scan.starts_open:
        for _ in decode(path, scan, ignore_edit_lists=ignore_edit_lists, is_check=True):
            pass
    frames = decode(path, scan, ignore_edit_lists=ignore_edit_lists)
    stamps = [(frame.pts, frame.dts) for frame in frames]
    if not stamps:
        raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: no frame can be decoded")
    if scan.is_regular and scan.num_visible != len(stamps):
        raise damage(path, f"{scan.num_visible} frames expected, {len(stamps)} can be decoded")
    if not scan.has_times:
        return tuple(i / scan.rate for i in range(len(stamps)))
    ticks = _delayed(scan.decoding_times, stamps) or _best_effort(stamps)
    times: list[float] = []
    for tick in ticks:
        before = times[-1] if times else 0.0
        if tick is None:
            times.append(before + 1 / scan.rate if times else 0.0)
        else:
            times.append(max(tick * scan.time_base, before) if times else tick * scan.time_base)
    return tuple(times)


def _delayed(times: Sequence[int], stamps: Sequence[_Stamp]) -> list[int | None]:
    """Return the times of the frames of a stream that only stores decoding times, in ticks.

    If frame k is shown when packet k + d is decoded, ffmpeg shows it at the decoding time of this
    packet. d is the number of frames that the decoder delays. The first frames may have a smaller
    delay, because FFmpeg measures d while it decodes.

    Args:
        times: decoding times of the packets, increasing. Empty if the stream stores other times.
        stamps: times of the frames. There must be as many as packets.
    """
    if len(times) != len(stamps):
        return []
    number = {time: i for i, time in enumerate(times)}
    delay = max(
        number.get(dts if dts is not None else -1, 0) - k for k, (_, dts) in enumerate(stamps)
    )
    return [times[k + delay] if k + delay < len(times) else None for k in range(len(stamps))]


def _best_effort(stamps: Sequence[_Stamp]) -> list[int | None]:
    """Return the times that FFmpeg chooses from presentation and decoding times, in ticks.

    This is FFmpeg's `guess_correct_pts`: presentation times, unless they decrease more often than
    the decoding times.
    """
    chosen = []
    last_pts = last_dts = float("-inf")
    num_bad_pts = num_bad_dts = 0
    for pts, dts in stamps:
        if dts is not None:
            num_bad_dts += dts <= last_dts
            last_dts = dts
        elif pts is not None:
            last_dts = pts
        if pts is not None:
            num_bad_pts += pts <= last_pts
            last_pts = pts
        elif dts is not None:
            last_pts = dts
        is_pts = pts is not None and (num_bad_pts <= num_bad_dts or dts is None)
        chosen.append(pts if is_pts else dts)
    return chosen
