"""Copy of the sound of a video."""

import contextlib
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline.decoding.container import may_jump, video_stream
from pipeline.decoding.options import Numbering
from pipeline.explanation.media.encoding import VideoFormat

LOGGER = logging.getLogger(__name__)
#: Sampling rates that the encoders of sound accept.
RATES = {"aac": (8000, 11025, 16000, 22050, 32000, 44100, 48000), "libopus": (48000,)}
#: Sound may begin this many seconds before the picture, such as the first packets of AAC.
EARLIEST_S = 0.2
#: Gaps of sound up to this many seconds are closed when it is encoded.
GAP_S = 0.05


class Sound:
    """Sound of a video, which is copied to another container in the order of time.

    Packets are copied without encoding if the container allows the codec. Otherwise, they are
    decoded and encoded. Sound that cannot be read ends early, with a warning in the log.

    Args:
        source: the video.
        output: container to which the sound is copied.
        kind: its codecs.
        numbering: frame numbering of the picture; see `open_video`.
    """

    def __init__(
        self, source: Path, output: Any, kind: VideoFormat, *, numbering: Numbering
    ) -> None:
        self._name = source.name
        self._input: Any = None
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._start = 0.0
        try:
            self._input = av.open(str(source))
            stream = self._input.streams.best("audio")
            if stream is not None and stream.codec_context is not None:
                self._start = start_of(source, numbering)
                self._packets = self._opened(stream, output, kind)
        except (av.FFmpegError, ValueError) as error:
            self._warn(error)
        self._next: tuple[float, Any] | None = next(self._packets, None)

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        if self._input is not None:
            self._input.close()

    def until(self, time_s: float) -> Iterator[Any]:
        """Yield the packets that begin before a time in seconds."""
        while self._next is not None and self._next[0] < time_s:
            yield self._next[1]
            self._next = next(self._packets, None)

    def _opened(self, stream: Any, output: Any, kind: VideoFormat) -> Iterator[tuple[float, Any]]:
        context = stream.codec_context
        if context.name in kind.sound_codecs and context.sample_rate:
            return self._copied(stream, output.add_stream_from_template(stream))
        return self._encoded(stream, self._encoder(stream, output, kind))

    def _copied(self, stream: Any, copied: Any) -> Iterator[tuple[float, Any]]:
        """Yield the time and the packet of the packets of a stream."""
        base = stream.time_base
        shift, last = round(self._start / base), None
        for packet in self._demuxed(stream):
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if last is not None and packet.dts <= last:
                continue  # the times jump back
            last, packet.pts = packet.dts, max(packet.pts, packet.dts)
            packet.stream = copied
            yield float(packet.pts * base), packet

    def _encoder(self, stream: Any, output: Any, kind: VideoFormat) -> Any:
        rates, rate = RATES[kind.sound_encoder], stream.codec_context.sample_rate
        encoder = output.add_stream(kind.sound_encoder, rate=rate if rate in rates else 48000)
        encoder.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        return encoder

    def _encoded(self, stream: Any, encoder: Any) -> Iterator[tuple[float, Any]]:
        """Yield the time and the packet of the encoded sound.

        Each frame continues the frame before, because coarse times of packets overlap. A greater
        gap remains a gap.
        """
        end = None
        for packet in self._demuxed(stream):
            frames = []
            with contextlib.suppress(av.FFmpegError):  # a damaged packet
                frames = packet.decode()
            for frame in frames:
                rate = frame.sample_rate
                if frame.pts is not None:
                    at = round((float(frame.pts * frame.time_base) - self._start) * rate)
                    end = at if end is None or at > end + GAP_S * rate else end
                frame.pts, frame.time_base = end or 0, Fraction(1, rate)
                end = frame.pts + frame.samples
                for made in encoder.encode(frame):
                    yield float(made.pts * made.time_base), made
        for made in encoder.encode(None):
            yield float(made.pts * made.time_base), made

    def _demuxed(self, stream: Any) -> Iterator[Any]:
        """Yield the packets of a stream, without those that end before the picture begins."""
        try:
            for packet in self._input.demux(stream):
                if packet.size == 0 or packet.dts is None:
                    continue
                packet.pts = packet.dts if packet.pts is None else packet.pts
                if packet.pts * stream.time_base - self._start >= -EARLIEST_S:
                    yield packet
        except av.FFmpegError as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        LOGGER.warning("%s: the sound cannot be copied to its end: %s", self._name, error)


def start_of(source: Path, numbering: Numbering) -> float:
    """Return the time in a video file that is zero in the times of its frames, in seconds.

    Frames that are numbered as in ffmpeg's image dump have times without edit lists. The dump of a
    transport stream starts with its first frame.

    Args:
        source: the video file.
        numbering: frame numbering; see `open_video`.
    """
    if numbering == "presentation":
        with av.open(str(source)) as container:
            return _start(container, video_stream(container, source))
    with av.open(str(source)) as container:
        stream = video_stream(container, source)
        shown: Any = next(p for p in container.demux(stream) if p.size and not p.is_discard)
        place, time = shown.pos, shown.dts * stream.time_base
    with av.open(str(source), options={"ignore_editlist": "1"}) as opened:
        whole: Any = opened
        stream = video_stream(whole, source)
        is_own = may_jump(whole) and stream.start_time is not None
        start = float(stream.start_time * stream.time_base) if is_own else _start(whole, stream)
        same: Any = next((p for p in whole.demux(stream) if p.pos == place), None)
        return start if same is None else start - float(same.dts * stream.time_base - time)


def _start(container: Any, stream: Any) -> float:
    if container.start_time is not None:
        return float(container.start_time / 1e6)
    return float((stream.start_time or 0) * stream.time_base)
