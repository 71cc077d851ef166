"""Which frames of a video an extraction wants, and the stream they come in."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pipeline.decoding.frame_folder import FrameFolder
from pipeline.decoding.images import DecodedImages
from pipeline.decoding.options import DecodeOptions, Numbering
from pipeline.decoding.reader import VideoReader, open_video
from pipeline.decoding.sampling import choose_frames
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import file_state

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames


@dataclass(frozen=True)
class FrameRequest:
    """What to decode of one video; plain values, so that it can go to another process.

    Attributes:
        path: the video.
        sha256: of its bytes, hex.
        options: of the decoder.
        numbering: see `open_video`.
        annotated: 0-based frames that are always decoded, rising.
        num_uniform: the centres of that many segments of the video are decoded too; None for
            `annotated` alone.
        batch_size: frames at a time.
        length_s: length of the video in its dataset, seconds; see `FrameFolder`.
    """

    path: Path
    sha256: str
    options: DecodeOptions = field(default_factory=DecodeOptions)
    numbering: Numbering = "presentation"
    annotated: tuple[int, ...] = ()
    num_uniform: int | None = 32
    batch_size: int = 1
    length_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"path": str(self.path), "annotated": list(self.annotated)}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "FrameRequest":
        """Inverse of `to_dict`."""
        parts = {
            "path": Path(tree["path"]),
            "options": DecodeOptions(**tree["options"]),
            "annotated": tuple(tree["annotated"]),
        }
        return cls(**tree | parts)

    def open(self) -> VideoReader | FrameFolder:
        """Open what the frames are read from; see `open_video` and `FrameFolder` for errors."""
        if self.options.backend == "frames":
            return FrameFolder(self.path, self.options, sha256=self.sha256, length_s=self.length_s)
        return open_video(self.path, self.options, numbering=self.numbering, sha256=self.sha256)

    def pick(self, reader: VideoReader | FrameFolder) -> list[int]:
        """Frames to decode, rising.

        Raises:
            ItemError: FRAME_OUT_OF_RANGE if an annotated frame lies beyond a whole video.
        """
        beyond = [index for index in self.annotated if index >= reader.num_frames]
        if beyond and not reader.source.is_degraded:
            raise ItemError(
                FailureReason.FRAME_OUT_OF_RANGE,
                f"{self.path.name}: frames 1 to {reader.num_frames} expected, frame "
                f"{beyond[0] + 1} is annotated; is this the release the annotations were made on?",
            )
        annotated = [index for index in self.annotated if index < reader.num_frames]
        if self.num_uniform is None:
            return annotated
        return choose_frames(reader.num_frames, self.num_uniform, annotated)


@runtime_checkable
class FrameStream(Protocol):
    """Decoded frames of one video, to be gone through once.

    Attributes:
        source: the video as it was found; known from the first frames on, final (`is_degraded`) at
            the end.
    """

    source: VideoSource | None

    def __iter__(self) -> Iterator["VideoFrames"]:
        """Batches of frames, in order; ItemError where decoding fails."""
        ...


class DirectStream:
    """Decodes in the calling thread, while it is gone through."""

    def __init__(self, request: FrameRequest) -> None:
        self.request = request
        self.source: VideoSource | None = None

    def __iter__(self) -> Iterator["VideoFrames"]:
        for part in self.decode():
            yield part.as_frames()

    def decode(self) -> Iterator[DecodedImages]:
        """The frames before they are tensors."""
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
                f"{name}: {len(picked)} frames expected, none of them could be decoded",
            )
        self.source = reader.source
        if file_state(request.path) != before:
            raise ItemError(
                FailureReason.CHANGED_VIDEO,
                f"{name}: a file that stays as it is expected, it was written to while it was "
                "read; run the same command again when it is complete",
            )
