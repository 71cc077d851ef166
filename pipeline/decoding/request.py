"""Request for frames of a video, and the resulting stream of frames."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pipeline.decoding.frame_folder import FrameFolder
from pipeline.decoding.images import DecodedImages
from pipeline.decoding.options import DecodeOptions, Numbering
from pipeline.decoding.reader import VideoReader, open_video
from pipeline.decoding.sampling import (
    ClipSampling,
    choose_frames,
    segment_rows,
    window_segments,
)
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import file_state

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames


@runtime_checkable
class FrameCount(Protocol):
    """Video whose frames can be selected.

    Attributes:
        num_frames: number of frames.
        source: properties of the video.
    """

    @property
    def num_frames(self) -> int: ...  # noqa: D102

    @property
    def source(self) -> VideoSource: ...  # noqa: D102


@dataclass(frozen=True)
class FrameRequest:
    """Request to decode frames of one video.

    All fields can be converted to JSON, so that a request can be sent to another process.

    Attributes:
        path: path of the video.
        sha256: hexadecimal SHA-256 of the video (`video_sha256`).
        options: decoder options.
        numbering: frame numbering; see `open_video`.
        annotated: 0-based indices of the annotated frames, increasing. These frames are always
            decoded.
        num_uniform: number of uniform frames, which are the centre frames of equal segments of the
            video. If None, only the annotated frames are decoded.
        num_sampled: number of these frames that are decoded, the centres of equal segments of them.
            If `num_uniform` is not None, annotated frames are then not decoded. None decodes all.
        window_s: a longer video is decoded in windows of at most `num_sampled` frames, see
            `window_segments`. None sets no limit.
        ends: whether the first and the last of these frames are always decoded, see `segment_rows`.
        batch_size: number of frames per batch.
        length_s: length of the video in its dataset, in seconds; see `FrameFolder`.
        clips: clips whose frames are decoded, instead of all other frames, or None.
    """

    path: Path
    sha256: str
    options: DecodeOptions = field(default_factory=DecodeOptions)
    numbering: Numbering = "presentation"
    annotated: tuple[int, ...] = ()
    num_uniform: int | None = 32
    num_sampled: int | None = None
    ends: bool = False
    window_s: float | None = None
    batch_size: int = 1
    length_s: float | None = None
    clips: ClipSampling | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self) | {"path": str(self.path), "annotated": list(self.annotated)}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "FrameRequest":
        """Create a request from the output of `to_dict`."""
        parts = {
            "path": Path(tree["path"]),
            "options": DecodeOptions(**tree["options"]),
            "annotated": tuple(tree["annotated"]),
            "clips": ClipSampling(**tree["clips"]) if tree["clips"] else None,
        }
        return cls(**tree | parts)

    def open(self) -> VideoReader | FrameFolder:
        """Open the video or frame folder.

        See `open_video` and `FrameFolder` for the errors.
        """
        if self.options.backend == "frames":
            return FrameFolder(self.path, self.options, sha256=self.sha256, length_s=self.length_s)
        return open_video(self.path, self.options, numbering=self.numbering, sha256=self.sha256)

    def pick(self, reader: "FrameCount") -> list[int]:
        """Return the 0-based indices of the frames to decode, increasing.

        Raises:
            ItemError: FRAME_OUT_OF_RANGE if an annotated frame, or the last frame of a sample that
                is divided into clips, lies beyond the end of the video.
                In a degraded video, such frames are skipped.
        """
        last = () if self.clips is None or self.clips.last is None else (self.clips.last,)
        beyond = [index for index in (*self.annotated, *last) if index >= reader.num_frames]
        if beyond and not reader.source.is_degraded:
            raise ItemError(
                FailureReason.FRAME_OUT_OF_RANGE,
                f"{self.path.name}: frames 1 to {reader.num_frames} expected, got an annotation "
                f"of frame {beyond[0] + 1}; use the release of the video that was annotated",
            )
        if self.clips is not None:
            found = self.clips.clips(reader.num_frames, reader.source.fps)
            return sorted({index for clip in found for index in clip})
        annotated = [index for index in self.annotated if index < reader.num_frames]
        if self.num_uniform is not None and self.num_sampled is None:
            return choose_frames(reader.num_frames, self.num_uniform, annotated)
        if self.num_uniform is None:
            rows = annotated
        else:
            rows = segment_rows(reader.num_frames, self.num_segments(reader.source))
            if self.has_windows(reader.source):
                return rows
        num = len(rows) if self.num_sampled is None else self.num_sampled
        return [rows[i] for i in segment_rows(len(rows), num, ends=self.ends)]

    def has_windows(self, source: VideoSource) -> bool:
        """Return whether a video is decoded in windows."""
        limits = self.num_uniform, self.num_sampled, self.window_s
        return None not in limits and source.duration_s > float(self.window_s or 0)

    def num_segments(self, source: VideoSource) -> int:
        """Return the number of segments of a video, whose centres are the uniform frames."""
        assert self.num_uniform is not None
        if not self.has_windows(source):
            return self.num_uniform
        assert self.window_s is not None
        return window_segments(source.duration_s, self.window_s, self.window_size(source))

    def window_size(self, source: VideoSource) -> int:
        """Return the largest number of decoded frames of a window.

        It is less than `num_sampled` if the video has fewer frames in `window_s`.
        """
        assert self.num_sampled is not None
        if not self.has_windows(source) or self.window_s is None:
            return self.num_sampled
        there = int(self.window_s / source.duration_s * source.num_frames)
        return min(self.num_sampled, max(there, 1))


@runtime_checkable
class FrameStream(Protocol):
    """Stream of the decoded frames of one video, which can be iterated once.

    Attributes:
        source: properties of the video, or None if they are not yet known. The values are final
            after the last batch.
    """

    @property
    def source(self) -> VideoSource | None: ...  # noqa: D102

    def __iter__(self) -> Iterator["VideoFrames"]:
        """Yield batches of frames in order.

        Raises:
            ItemError: if decoding fails.
        """
        ...


class DirectStream:
    """`FrameStream` that decodes in the calling thread during the iteration."""

    def __init__(self, request: FrameRequest) -> None:
        self.request = request
        self.source: VideoSource | None = None

    def __iter__(self) -> Iterator["VideoFrames"]:
        for part in self.decode():
            yield part.as_frames()

    def decode(self) -> Iterator[DecodedImages]:
        """Yield batches of frames as numpy arrays.

        Raises:
            ItemError: NO_FRAMES if none of the requested frames can be decoded. CHANGED_VIDEO if
                the file changed during decoding. See also `FrameRequest.open`, `FrameRequest.pick`
                and the reader.
        """
        request = self.request
        name, before = request.path.name, file_state(request.path)
        reader = request.open()
        picked = request.pick(reader)
        for part in reader.decode(picked, request.batch_size):
            self.source = reader.source
            yield part
        if self.source is None:
            raise ItemError(
                FailureReason.NO_FRAMES,
                f"{name}: {len(picked)} frames expected, but none could be decoded",
            )
        self.source = reader.source
        if file_state(request.path) != before:
            raise ItemError(
                FailureReason.CHANGED_VIDEO,
                f"{name}: the file changed while it was read; run the same command again when it "
                "is complete",
            )
