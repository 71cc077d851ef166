"""Video files that are written as a whole or not at all."""

import contextlib
import errno
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import publish, writer_token

LOGGER = logging.getLogger(__name__)
#: Number of FFmpeg's error AVERROR_INVALIDDATA.
INVALID_DATA = 1094995529
#: Most threads of an encoder. More threads need memory without being faster at these sizes.
MAX_THREADS = 8
#: Greatest distance of keyframes in seconds, which makes seeking in a browser fast.
KEYFRAMES_S = 2
#: ITU-R BT.709, in the numbers of FFmpeg for color spaces, primaries and transfer functions.
BT709, LIMITED_RANGE = 1, 1


@dataclass(frozen=True)
class VideoFormat:
    """Container and codecs that browsers play.

    Attributes:
        suffix: suffix of the file.
        container: name of the container in FFmpeg.
        container_options: options of the container.
        codec: encoder of the picture.
        codec_options: options of the encoder.
        sound_codecs: decoders of FFmpeg for the sound that is copied without encoding.
        sound_encoder: encoder of other sound.
    """

    suffix: str
    container: str
    container_options: dict[str, str] = field(hash=False)
    codec: str
    codec_options: dict[str, str] = field(hash=False)
    sound_codecs: frozenset[str]
    sound_encoder: str


# With B-frames, the container would state a wrong length of a variable frame rate.
H264 = VideoFormat(
    ".mp4",
    "mp4",
    {"movflags": "+faststart"},
    "libx264",
    {"preset": "veryfast", "crf": "21", "bf": "0"},
    frozenset({"aac", "mp3", "mp3float", "opus", "flac"}),
    "aac",
)
VP9 = VideoFormat(
    ".webm",
    "webm",
    {},
    "libvpx-vp9",
    {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "30", "b": "0"},
    frozenset({"opus", "vorbis"}),
    "libopus",
)


def best_format() -> VideoFormat:
    """Return H.264 in MP4 if FFmpeg has the encoder libx264, otherwise VP9 in WebM."""
    try:
        av.codec.Codec(H264.codec, "w")
    except ValueError:  # UnknownCodecError
        return VP9
    return H264


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Context manager of a temporary file, which is published at the end.

    Args:
        path: final path of the file.

    Yields:
        Path of the temporary file in the same folder. It is removed if an exception is raised.

    Raises:
        OSError: if the file cannot be written.
        ItemError: INTERNAL_ERROR if FFmpeg cannot write it for another reason.
    """
    temporary = path.with_name(f".{path.name}.tmp-{writer_token()}-{secrets.token_hex(4)}")
    try:
        with _as_os_error(path):
            yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        publish(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """Convert errors of FFmpeg, such as a full disk, to OSError or ItemError."""
    try:
        yield
    except av.FFmpegError as error:
        number = getattr(error, "errno", None) or 0
        if 0 < number < 1000:  # other numbers are errors of FFmpeg
            raise OSError(number, os.strerror(number), str(path)) from error
        raise ItemError(
            FailureReason.INTERNAL_ERROR, f"{path.name}: FFmpeg cannot write the file: {error}"
        ) from error


class VideoOutput:
    """Video file that is being written; a context manager.

    Args:
        path: path of the file.
        kind: container and codecs.
        size: width and height in pixels, both even.
        rate: nominal frames per second.
        time_base: seconds per tick of the times of frames.
    """

    def __init__(
        self,
        path: Path,
        kind: VideoFormat,
        *,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
    ) -> None:
        self.container: Any = av.open(
            str(path), "w", format=kind.container, options=dict(kind.container_options)
        )
        stream: Any = self.container.add_stream(kind.codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = max(round(KEYFRAMES_S * rate), 1)
        stream.codec_context.thread_count = min(os.cpu_count() or 1, MAX_THREADS)
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_primaries = BT709
        stream.codec_context.color_trc = BT709
        stream.codec_context.color_range = LIMITED_RANGE
        stream.options = dict(kind.codec_options)
        self._stream, self._time_base = stream, time_base

    def __enter__(self) -> "VideoOutput":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._mux(self._stream.encode(None))
            self.container.close()
            return
        with contextlib.suppress(av.FFmpegError, OSError):
            self.container.close()  # the file is incomplete

    def write(self, image: Image.Image, pts: int) -> None:
        """Encode a frame.

        Args:
            image: RGB image.
            pts: time in ticks of the time base, greater than that of the frame before.
        """
        frame: Any = av.VideoFrame.from_image(image)
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.colorspace, frame.color_range = BT709, LIMITED_RANGE
        frame.pts, frame.time_base = pts, self._time_base
        self._mux(self._stream.encode(frame))

    def copy(self, packets: Iterable[Any]) -> None:
        """Write packets of another stream of the container.

        Packets that the container refuses, such as damaged ones, are left out with a warning.
        """
        for packet in packets:
            try:
                self.container.mux(packet)
            except av.FFmpegError as error:
                if error.errno not in (errno.EINVAL, INVALID_DATA):
                    raise
                LOGGER.warning("a packet of the sound is left out: %s", error)

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self.container.mux(packet)
