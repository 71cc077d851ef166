"""Reader of one video file, which decodes frames in order.

PyAV is the default backend. Decoding in order is the only method that returned the correct frames
of every tested clip. At the keyframe spacing of Charades, it is as fast as seeking. Only the
requested frames are kept in memory. Damage is detected up to the last requested frame
(`err_detect=explode`, corrupt flags, timestamps). If the packets do not determine the frames, all
frames are decoded once before, and damage is detected everywhere. `scan` states when a file is
truncated.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from pipeline.decoding.backend_check import backend_problem
from pipeline.decoding.container import raise_for_memory
from pipeline.decoding.decord_backend import check_decord, decord_images
from pipeline.decoding.dump_map import dump_to_ordinal
from pipeline.decoding.frames import damage, decode, decode_what_can_be, shown_times
from pipeline.decoding.images import DecodedImages
from pipeline.decoding.opencv_backend import opencv_images
from pipeline.decoding.options import DecodeOptions, Numbering
from pipeline.decoding.pictures import Pictures
from pipeline.decoding.scan import scan
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import file_sha256

#: Largest difference of equal times, in seconds. It is less than a tick of any container.
_SAME_S = 1e-6

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
        numbering: meaning of a frame index. With `presentation`, frame i is the i-th frame that
            ffmpeg shows (`-fps_mode passthrough`), with edit lists and mirroring applied. With
            `dump`, frame i is file i + 1 of ffmpeg's constant-rate image dump with edit lists and
            mirroring ignored, as in Action Genome.
        sha256: hexadecimal SHA-256 of the file. If None, it is computed.

    Returns:
        A reader. Only the first frame has been decoded.

    Raises:
        ItemError: UNREADABLE_VIDEO, NO_FRAMES, TOO_LARGE, TRUNCATED_VIDEO or CORRUPT_VIDEO.
            UNKNOWN_FRAME_MAP if `numbering` is `dump` and packets have no timestamps, or if the
            backend would return other frames than PyAV; see `backend_problem`.
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
            been found. `is_rescaled` is True once a frame of another size has been decoded.
        timestamps_s: times of the num_frames frames, in seconds from the start of playback.
    """

    def __init__(
        self, path: Path, options: DecodeOptions, *, numbering: Numbering, sha256: str | None = None
    ) -> None:
        self._path, self._options = path, options
        self._tolerant, self._dump = options.tolerant, numbering == "dump"
        self._pictures = Pictures(is_mirrored=not self._dump)
        self._scan = scan(
            path,
            ignore_edit_lists=self._dump,
            max_pixels=options.max_pixels,
            max_frames=options.max_frames,
        )
        cut = self._scan.is_complete is False
        if cut and not self._tolerant:
            raise damage(path, self._scan.shortage, FailureReason.TRUNCATED_VIDEO)
        self._is_counted = False
        self._count()
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

    def _check_backend(self, frame: Any) -> None:
        """Raise ItemError (UNKNOWN_FRAME_MAP) if the backend shows other frames than PyAV."""
        backend = self._options.backend
        hides = backend != "pyav" and self._hides_frames()
        problem = backend_problem(backend, self._scan, frame, self._pictures.turns(frame), hides)
        if problem:
            raise ItemError(
                FailureReason.UNKNOWN_FRAME_MAP,
                f"{self._path.name}: {problem}; use decode.backend=pyav",
            )

    def _hides_frames(self) -> bool:
        if not self._dump:
            return False
        shown = scan(self._path, ignore_edit_lists=False, max_pixels=2**62, max_frames=2**62)
        return self._scan.num_visible != shown.num_visible

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
        for ordinal, frame in self._ordered([ordinal for ordinal, _ in queue]):
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
            is_whole = self._scan.is_complete
            reason = FailureReason.CORRUPT_VIDEO if is_whole else FailureReason.TRUNCATED_VIDEO
            raise damage(self._path, f"decoding ended before frame {queue[at][1]}", reason)

    def _ordered(self, ordinals: list[int]) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
        """Yield pairs (ordinal, function that returns the image), sorted by ordinal."""
        if self._options.backend == "pyav":
            for ordinal, frame in self._numbered():
                yield ordinal, partial(self._image, frame)
            return
        what = self._path, self._scan, sorted(set(ordinals))
        if self._options.backend == "opencv":
            images = opencv_images(*what)
        else:
            images = decord_images(*what, self._options.timeout_s)
        size = self.source.height, self.source.width
        for ordinal, image in images:
            if image.shape[:2] != size:
                found = f"{image.shape[1]}x{image.shape[0]}"
                expected = f"frames of {size[1]}x{size[0]} expected, got {found}"
                raise damage(self._path, f"{expected} from {self._options.backend}")
            yield ordinal, partial(np.asarray, image)

    def _image(self, frame: Any) -> np.ndarray:
        try:
            return self._pictures.convert(frame)
        except av.FFmpegError as error:
            raise_for_memory(error)
            raise damage(self._path, f"FFmpeg cannot convert the frame: {error}") from error

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Yield pairs (ordinal, frame).

        The k-th frame must have the time of the k-th shown frame, unless the shown frames were
        counted by decoding. In tolerant mode, the ordinals are determined by the times, because
        counting would shift the ordinals of all frames after a missing frame.
        """
        times, last = self._scan.pts_s, -1
        for count, frame in enumerate(self._decode()):
            if self._is_counted or not self._scan.has_pts:
                yield count, frame
                continue
            time = None if frame.pts is None else frame.pts * self._scan.time_base
            if self._tolerant:
                ordinal = None if time is None else self._ordinal_at(time, last + 1)
                self._note_damage(ordinal != count)
                if ordinal is not None:
                    last = ordinal
                    yield ordinal, frame
            elif time is not None and count < len(times) and _is_same(time, times[count]):
                yield count, frame
            else:
                what = f"at {times[count]:.6f} s" if count < len(times) else "not"
                at = "without a time" if time is None else f"at {time:.6f} s"
                raise damage(self._path, f"frame {count} expected {what}, got a frame {at}")

    def _ordinal_at(self, time: float, first: int) -> int | None:
        """Return the ordinal of the first frame from `first` on with a time, or None."""
        at = bisect_left(self._scan.pts_s, time - _SAME_S, lo=first)
        is_there = at < len(self._scan.pts_s) and _is_same(self._scan.pts_s[at], time)
        return at if is_there else None

    def _note_damage(self, is_damaged: bool) -> None:
        if is_damaged and not self.source.is_degraded:
            self.source = replace(self.source, is_degraded=True)

    def _decode(self) -> Iterator[Any]:
        size = None
        for frame in self._decoded():
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height) and not self.source.is_rescaled:
                self.source = replace(self.source, is_rescaled=True)
            yield frame

    def _decoded(self) -> Iterator[Any]:
        if not self._tolerant:
            yield from decode(self._path, self._scan, ignore_edit_lists=self._dump)
            return
        frames = decode_what_can_be(self._path, self._scan, ignore_edit_lists=self._dump)
        for frame, is_damaged in frames:
            self._note_damage(is_damaged)
            yield frame

    def _count(self) -> None:
        """Decode all frames to find the shown frames, if the packets do not determine them."""
        if self._scan.is_one_to_one:
            return
        try:
            times = shown_times(self._path, self._scan, ignore_edit_lists=self._dump)
        except ItemError:
            if not self._tolerant:
                raise
        else:
            self._scan = replace(self._scan, pts_s=times)
            self._is_counted = True

    def _frame_map(self) -> list[int]:
        if not self._dump:
            return list(range(len(self._scan.pts_s)))
        if not self._scan.has_pts:
            raise ItemError(
                FailureReason.UNKNOWN_FRAME_MAP,
                f"{self._path.name}: no reliable timestamps (AVI or ASF with B-frames?), so frames "
                "cannot be matched with annotated frame numbers; use the mp4 release",
            )
        return dump_to_ordinal(self._scan.pts_s, self._scan.dump_start_s, self._scan.rate)

    def _look(self) -> tuple[int, int, int]:
        for frame in self._decode():
            self._check_backend(frame)
            height, width = self._image(frame).shape[:2]
            return int(frame.rotation) if self._pictures.turns(frame) else 0, height, width
        raise ItemError(FailureReason.NO_FRAMES, f"{self._path.name}: no frame can be decoded")


def _is_same(time: float, other: float) -> bool:
    return abs(time - other) < _SAME_S
