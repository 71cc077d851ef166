"""Annotated video of an explanation."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.decoding import DecodeOptions
from pipeline.decoding.container import video_stream
from pipeline.decoding.options import Numbering
from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.canvas import Canvas
from pipeline.explanation.media.encoding import VideoOutput, best_format, whole_file
from pipeline.explanation.media.pictures import Pictures
from pipeline.explanation.media.sound import Sound


def write_video(
    explanation: Explanation,
    source: Path | np.ndarray,
    path: Path,
    *,
    options: DecodeOptions | None = None,
    numbering: Numbering = "presentation",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a video with the boxes, names and actions of an explanation.

    Each frame of the source is shown at its own time, with the boxes of the human-object pairs.
    Boxes between sampled frames are interpolated. A bar below the picture shows the actions, and
    the sentence of a reason at its moment. The sound is copied. Only a few frames are in memory.

    Args:
        explanation: the explanation.
        source: the video file or frame folder that is explained, or its frames as a (T, H, W, 3)
            uint8 array of RGB images.
        path: path of the new file, with the suffix .mp4. The file appears as a whole or not at all.
        options: decoder options. Default: ``DecodeOptions()``. With `tolerant`, frames that cannot
            be decoded are left out.
        numbering: frame numbering of the explanation; see `open_video`.
        progress: function that is called with the number of written frames and the number of all
            frames, after each frame.

    Returns:
        Path of the file. Its suffix is .webm if FFmpeg lacks the encoder libx264: the file then
        contains VP9 instead of H.264.

    Raises:
        ItemError: if the video cannot be decoded, see `open_video`. CHANGED_VIDEO if its frames
            have another size than those of the explanation. NO_FRAMES if no frame can be decoded.
        OSError: if the file cannot be written, for example because the disk is full.
    """
    pictures = Pictures(explanation, source, options or DecodeOptions(), numbering)
    kind = best_format()
    path = path.with_suffix(kind.suffix)
    canvas = Canvas(explanation, pictures.times_s, pictures.end_s, pictures.size)
    base = time_base(pictures.times_s, pictures.rate, source)
    ends = [*pictures.times_s[1:], pictures.end_s]
    written = 0
    with ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        output = stack.enter_context(
            VideoOutput(temporary, kind, size=canvas.size, rate=pictures.rate, time_base=base)
        )
        sound = None
        if isinstance(source, Path) and source.is_file():
            sound = Sound(source, output.container, kind, numbering=numbering)
            stack.enter_context(sound)
        for number, picture in pictures:
            output.write(canvas.paint(number, picture), round(pictures.times_s[number] / base))
            if sound is not None:
                output.copy(sound.until(ends[number]))
            written += 1
            if progress is not None:
                progress(written, len(pictures))
        if not written:
            raise ItemError(FailureReason.NO_FRAMES, f"{path.name}: no frame can be decoded")
    return path


def time_base(times_s: Sequence[float], rate: Fraction, source: Path | np.ndarray) -> Fraction:
    """Return seconds per tick in which the times of frames are whole numbers.

    Args:
        times_s: times of the frames in seconds.
        rate: nominal frames per second.
        source: the video. The time base of its video stream is used if its frame rate is not
            constant.
    """
    if all(abs(time - i / rate) < 1e-6 for i, time in enumerate(times_s)):
        return 1 / rate
    if not isinstance(source, Path) or not source.is_file():
        return Fraction(1, 90_000)
    with av.open(str(source)) as container:
        return Fraction(video_stream(container, source).time_base)
