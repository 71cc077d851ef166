"""Reader of one video file, which decodes frames in order.

PyAV is the default backend. Decoding in order is the only method that returned the correct frames
of every tested clip. At the keyframe spacing of Charades, it is as fast as seeking. Only the
requested frames are kept in memory. Damage is detected up to the last requested frame
(`err_detect=explode`, corrupt flags, timestamps). A file is truncated if it has fewer packets than
its header declares.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from pipeline.decoding.decord_backend import check_decord, decord_images
from pipeline.decoding.dump_map import dump_to_ordinal
from pipeline.decoding.images import DecodedImages
from pipeline.decoding.opencv_backend import opencv_images
from pipeline.decoding.options import Backend, DecodeOptions, Numbering
from pipeline.decoding.scan import open_container, raise_for_memory, scan, video_stream
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import file_sha256

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames


def open_video(
    path: Path,
    options: DecodeOptions | None = None,
    *,
    numbering: Numbering = "presentation",
    sha256: str | None = None,
) -> "VideoReader":
    """Open a video file.

    Args:
        path: path of the video file.
        options: decoder options. Default: ``DecodeOptions()``.
        numbering: meaning of a frame index. With `presentation`, frame i is the i-th frame that a
            player shows, with edit lists applied. With `dump`, frame i is file i + 1 of ffmpeg's
            constant-rate image dump with edit lists ignored, as in Action Genome.
        sha256: hexadecimal SHA-256 of the file. If None, it is computed.

    Returns:
        A reader. Only the first frame has been decoded.

    Raises:
        ItemError: UNREADABLE_VIDEO, NO_FRAMES, TOO_LARGE, TRUNCATED_VIDEO or CORRUPT_VIDEO.
            UNKNOWN_FRAME_MAP if `numbering` is `dump` and packets have no timestamps, or if the
            backend would return other frames than PyAV. opencv and decord return other frames if
            an edit list hides frames. decord also returns other frames if the video is rotated or
            is an MPEG transport or program stream.
        UsageError: if the backend is not installed.
        ValueError: if `options.tolerant` is True for a backend other than PyAV.

    Example::

        >>> import tempfile
        >>> from pathlib import Path
        >>> import av
        >>> import numpy as np
        >>> from pipeline.decoding import open_video
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "A0001.mp4"
        >>> with av.open(str(path), "w") as container:
        ...     stream = container.add_stream("mpeg4", rate=25)
        ...     stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        ...     for i in range(10):
        ...         image = np.full((48, 64, 3), 25 * i, dtype=np.uint8)
        ...         container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        ...     container.mux(stream.encode(None))
        >>> reader = open_video(path)
        >>> reader.num_frames, reader.source.fps
        (10, 25.0)
        >>> clip = reader.read([0, 5, 9])
        >>> clip.frames.shape
        torch.Size([3, 3, 48, 64])
        >>> clip.timestamps_s
        tensor([0.0000, 0.2000, 0.3600], dtype=torch.float64)
        >>> folder.cleanup()
    """
    options = options or DecodeOptions()
    if options.backend != "pyav" and options.tolerant:
        raise ValueError(f"tolerant: backend pyav expected, got {options.backend}")
    if options.backend == "decord":
        check_decord()
    return VideoReader(path, options, numbering=numbering, sha256=sha256)


class VideoReader:
    """Reader of the frames of one video; see `open_video`.

    Attributes:
        source: properties of the video. In tolerant mode, `is_degraded` is True once damage has
            been found.
        timestamps_s: times of the num_frames frames, in seconds from the start of playback.
    """

    def __init__(
        self, path: Path, options: DecodeOptions, *, numbering: Numbering, sha256: str | None = None
    ) -> None:
        self._path, self._options = path, options
        self._tolerant, self._dump = options.tolerant, numbering == "dump"
        self._scan = scan(
            path,
            ignore_edit_lists=self._dump,
            max_pixels=options.max_pixels,
            max_frames=options.max_frames,
        )
        cut = self._scan.is_truncated
        if cut and not self._tolerant:
            raise self._damage(
                f"header declares {self._scan.num_declared} frames, found {self._scan.num_packets}",
                FailureReason.TRUNCATED_VIDEO,
            )
        self._ordinals = self._frame_map()
        if self._dump:
            self.timestamps_s = [i / self._scan.rate for i in range(len(self._ordinals))]
        else:
            self.timestamps_s = [t - self._scan.start_s for t in self._scan.pts_s]
        self.source = VideoSource(
            path=path,
            sha256=sha256 or file_sha256(path),
            fps=self._scan.rate,
            num_frames=len(self._ordinals),
            width=self._scan.width,
            height=self._scan.height,
            duration_s=self.timestamps_s[-1] + 1 / self._scan.rate,
            rotation=0,
            edit_lists="ignored" if self._dump else "applied",
            is_degraded=cut,
        )
        rotation, height, width = self._look()
        self.source = replace(self.source, rotation=rotation, height=height, width=width)
        self._check_backend(options.backend)

    def _check_backend(self, backend: Backend) -> None:
        """Raise ItemError (UNKNOWN_FRAME_MAP) if a backend would return other frames than PyAV."""
        if backend != "pyav" and self._hides_frames():
            problem = f"its edit list hides frames, which {backend} cannot decode"
        elif backend == "decord" and self.source.rotation:
            problem = f"decord ignores its rotation by {self.source.rotation} degrees"
        elif backend == "decord" and self._scan.may_jump:
            problem = "decord loses the first frames of a transport or program stream"
        else:
            return
        raise ItemError(
            FailureReason.UNKNOWN_FRAME_MAP,
            f"{self._path.name}: {problem}; use decode.backend=pyav",
        )

    def _hides_frames(self) -> bool:
        if not self._dump:
            return False
        shown = scan(self._path, ignore_edit_lists=False, max_pixels=2**62, max_frames=2**62)
        return self._scan.num_packets != len(shown.pts_s)

    def _damage(
        self, problem: str, reason: FailureReason = FailureReason.CORRUPT_VIDEO
    ) -> ItemError:
        advice = "download it again or set decode.tolerant=true"
        return ItemError(reason, f"{self._path.name}: {problem}; {advice}")

    @property
    def num_frames(self) -> int:
        """Number of frames of the video."""
        return len(self._ordinals)

    def read(self, indices: Sequence[int]) -> "VideoFrames":
        """Decode frames.

        Args:
            indices: 0-based frame indices, strictly increasing.

        Returns:
            The requested frames. In tolerant mode, frames that cannot be decoded are missing.

        Raises:
            ItemError: FRAME_OUT_OF_RANGE, CORRUPT_VIDEO or TRUNCATED_VIDEO.
            ValueError: if the indices are not strictly increasing.
        """
        parts = list(self.decode(indices, max(len(indices), 1)))
        nothing = np.zeros((0, 3, self.source.height, self.source.width), np.uint8)
        return (parts[0] if parts else DecodedImages(nothing, [], [], self.source)).as_frames()

    def iterate(self, indices: Sequence[int], batch_size: int) -> Iterator["VideoFrames"]:
        """Decode frames like `read` and yield them in batches of at most `batch_size`."""
        for part in self.decode(indices, batch_size):
            yield part.as_frames()

    def decode(self, indices: Sequence[int], batch_size: int) -> Iterator[DecodedImages]:
        """Decode frames like `iterate` and yield the batches as numpy arrays."""
        wanted = list(indices)
        if wanted != sorted(set(wanted)):
            raise ValueError(f"indices: strictly increasing indices expected, got {wanted[:10]}")
        outside = [i for i in wanted if not 0 <= i < self.num_frames]
        if outside:
            raise ItemError(
                FailureReason.FRAME_OUT_OF_RANGE,
                f"{self._path.name}: frames 0 to {self.num_frames - 1} expected, got {outside[0]}",
            )
        images = self._images(wanted)
        while batch := list(islice(images, batch_size)):
            picked = [index for index, _ in batch]
            stack = [image for _, image in batch]
            yield DecodedImages.of(stack, picked, self.timestamps_s, self.source)

    def _images(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        queue = [(self._ordinals[index], index) for index in wanted]
        at = 0
        for ordinal, frame in self._pictures([ordinal for ordinal, _ in queue]):
            if at == len(queue):
                return
            while at < len(queue) and queue[at][0] < ordinal:
                at += 1  # missing frame of a damaged file, in tolerant mode
            image = None
            while at < len(queue) and queue[at][0] == ordinal:
                image = frame() if image is None else image
                yield queue[at][1], image
                at += 1
        if at < len(queue) and not self._tolerant:
            raise self._damage(
                f"decoding ended before frame {queue[at][1]}",
                FailureReason.TRUNCATED_VIDEO,
            )

    def _pictures(self, ordinals: list[int]) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
        """Yield pairs (ordinal, function that returns the image), sorted by ordinal."""
        if self._options.backend == "pyav":
            for ordinal, frame in self._numbered():
                yield ordinal, partial(_upright, frame)
            return
        what = self._path, self._scan, sorted(set(ordinals))
        if self._options.backend == "opencv":
            images = opencv_images(*what)
        else:
            images = decord_images(*what, self._options.timeout_s)
        for ordinal, image in images:
            yield ordinal, partial(np.asarray, image)

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Yield pairs (ordinal, frame).

        The ordinals are determined by timestamps if the packets have timestamps, and by counting
        otherwise. Counting would shift the ordinals of all frames after a missing frame.
        """
        by_time = {round(time * 1e6): k for k, time in enumerate(self._scan.pts_s)}
        for count, frame in enumerate(self._decode()):
            if not self._scan.has_pts:
                yield count, frame
                continue
            time = None if frame.pts is None else frame.pts * self._scan.time_base
            ordinal = None if time is None else by_time.get(round(time * 1e6))
            if ordinal == count or (ordinal is not None and self._tolerant):
                self._note_damage(ordinal != count)
                yield ordinal, frame
            elif self._tolerant:
                self._note_damage(True)
            else:
                wanted = self._scan.pts_s[: count + 1][-1]
                raise self._damage(f"frame {count} expected at {wanted} s, got a frame at {time} s")

    def _note_damage(self, is_damaged: bool) -> None:
        if is_damaged and not self.source.is_degraded:
            self.source = replace(self.source, is_degraded=True)

    def _decode(self) -> Iterator[Any]:
        with open_container(self._path, self._dump) as container:
            stream = video_stream(container, self._path)
            if self._tolerant:
                for frame, is_damaged in _decode_what_can_be(container, stream):
                    self._note_damage(is_damaged)
                    yield frame
                return
            stream.codec_context.options = {"err_detect": "explode"}
            try:
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        raise self._damage(f"FFmpeg marks the frame at {frame.time} s as corrupt")
                    yield frame
            except (av.FFmpegError, ValueError) as error:
                raise_for_memory(error)
                raise self._damage(f"FFmpeg cannot decode the file: {error}") from error

    def _frame_map(self) -> list[int]:
        if not self._dump:
            return list(range(len(self._scan.pts_s)))
        if not self._scan.has_pts:
            raise ItemError(
                FailureReason.UNKNOWN_FRAME_MAP,
                f"{self._path.name}: no reliable timestamps (AVI with B-frames?), so frames cannot "
                "be matched with annotated frame numbers; use the mp4 release",
            )
        return dump_to_ordinal(self._scan.pts_s, self._scan.dump_start_s, self._scan.rate)

    def _look(self) -> tuple[int, int, int]:
        for frame in self._decode():
            height, width = _upright(frame).shape[:2]
            return int(frame.rotation), height, width
        raise ItemError(FailureReason.NO_FRAMES, f"{self._path.name}: no frame can be decoded")


def _decode_what_can_be(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Yield the decodable frames of a damaged file, each with a flag.

    The flag is True once damage has been found. Packets that cannot be decoded are skipped. The
    decoder is flushed at the end, even if the file is truncated.
    """
    packets = container.demux(stream)
    is_damaged = False
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise_for_memory(error)
            packet, is_damaged = None, True
        is_last = packet is None or packet.size == 0
        try:
            for frame in stream.codec_context.decode(None if is_last else packet):
                is_damaged |= frame.is_corrupt
                yield frame, is_damaged
        except av.FFmpegError as error:
            raise_for_memory(error)
            is_damaged = True
        if is_last:
            return


def _upright(frame: Any) -> np.ndarray:
    """Return an (H, W, 3) RGB image, rotated by the display matrix as in ffmpeg."""
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))
