"""Healthy videos in unusual containers, and videos that are cut at their end."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from pipeline.decoding import open_video
from pipeline.errors import FailureReason, ItemError
from tools.proofs.faults.lab import Lab, Tally, encode, write_clip

_NUM = 24
#: Changes of a picture by a display matrix (a, b; c, d), by matrix.
_TURNS: dict[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]] = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image),
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}

Pictures = list[np.ndarray]


def healthy(lab: Lab, number: int) -> Tally:
    """Decode healthy videos whose packets, headers and frames differ in number."""
    tally = Tally("healthy, unusual containers", "each shows all its frames, upright")
    for name, path, wanted in list(_healthy(lab))[:number]:
        problem = None
        try:
            found = _pictures(path)
        except ItemError as error:
            problem = f"refused as {error}"
        else:
            if len(found) != len(wanted):
                problem = f"{len(wanted)} frames expected, got {len(found)}"
            elif not all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)):
                problem = "other pixels"
        tally.count(problem, name)
    return tally


def cut(lab: Lab, number: int) -> Tally:
    """Decode videos that are cut at a random byte."""
    tally = Tally("cut videos", "each fails as truncated-video or shows all frames")
    sources = [path for _, path in _complete(lab)]
    for path in sources:
        try:
            problem = None if len(_pictures(path)) == _NUM else "frames are missing"
        except ItemError as error:
            problem = f"refused as {error}"
        tally.count(problem, f"complete {path.name}")
    for trial in range(number):
        source = sources[trial % len(sources)]
        data = source.read_bytes()
        size = lab.random.randrange(len(data) // 5, len(data))
        path = lab.new().with_suffix(source.suffix)
        path.write_bytes(data[:size])
        try:
            found = len(_pictures(path))
            problem = None if found == _NUM else f"accepted with {found} frames"
        except ItemError as error:
            is_right = error.reason is FailureReason.TRUNCATED_VIDEO
            problem = None if is_right else f"refused as {error}"
        tally.count(problem, f"{source.name}, {size} of {len(data)} bytes")
    return tally


def _healthy(lab: Lab) -> Iterator[tuple[str, Path, Pictures]]:
    """Yield (name, file, frames that it shows)."""
    base = write_clip(lab.folder / "base.mp4", 0, num=_NUM)
    data, shown = base.read_bytes(), _pictures(base)
    for suffix in ("mkv", "mov", "ts", "flv"):
        yield f"copy {suffix}", _copied(base, lab.folder / f"copy.{suffix}"), shown
    delayed = encode(lab.folder / "delayed.mp4", "mpeg4", shown, options={"bf": "2"})
    yield "copy avi", _copied(delayed, lab.folder / "copy.avi"), _pictures(delayed)
    ts = (lab.folder / "copy.ts").read_bytes()
    for name, matrix in ((str(matrix), matrix) for matrix in _TURNS):
        path = lab.new().with_suffix(".mp4")
        path.write_bytes(_with_matrix(data, matrix))
        yield f"display matrix {name}", path, [_TURNS[matrix](image) for image in shown]
    for name, first, last in (("start", 16, 24), ("end", 0, 8), ("both ends", 8, 16)):
        path = lab.new().with_suffix(".mp4")
        path.write_bytes(_with_edit(data, first / 25, (last - first) / 25))
        yield f"edit list, {name}", path, shown[first:last]
    for hours in (0, 3):
        late = _copied(base, lab.folder / f"late{hours}.ts", shift_s=3600 * hours).read_bytes()
        for name, parts in (("after", ts + late), ("before", late + ts)):
            path = lab.new().with_suffix(".ts")
            path.write_bytes(parts)
            yield f"joined, clock {hours} h {name}", path, shown + shown
    path = lab.folder / "open.ts"
    path.write_bytes(ts[188 * (ts.index(b"G", 188 * 8) // 188) :])
    found = _pictures(path)
    yield "open start", path, shown[-len(found) :] if found else shown
    gaps = (0, 1, 5, 6, 9)
    images = [np.full((48, 64, 3), 40 * number, np.uint8) for number in range(len(gaps))]
    plain = encode(lab.folder / "plain.avi", "mjpeg", images, pixels="yuvj420p")
    empty = encode(lab.folder / "empty.avi", "mjpeg", images, times=gaps, pixels="yuvj420p")
    yield "empty chunks", empty, _pictures(plain)
    fast = _copied(base, lab.folder / "fast.mkv", factor=0.01)
    yield "equal times", fast, shown
    small = write_clip(lab.folder / "small.mp4", 1, num=5, size=(32, 32))
    yield "preview first", _copied(base, lab.folder / "two.mkv", before=small), shown


def _complete(lab: Lab) -> Iterator[tuple[str, Path]]:
    """Yield (name, complete file with _NUM frames) in containers that reveal a cut."""
    base = write_clip(lab.folder / "base.mp4", 0, num=_NUM)
    yield "mp4", base
    for suffix in ("mkv", "mov", "ts", "flv"):
        yield suffix, _copied(base, lab.folder / f"whole.{suffix}")
    yield "avi", encode(lab.folder / "whole.avi", "mpeg4", _pictures(base), options={"bf": "2"})
    yield "live mkv", _copied(base, lab.folder / "live.mkv", options={"live": "1"})
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    yield "live mp4", _copied(base, lab.folder / "live.mp4", options=fragments)


def _pictures(path: Path) -> Pictures:
    reader = open_video(path)
    frames: torch.Tensor = reader.read(list(range(reader.num_frames))).frames
    return list(frames.permute(0, 2, 3, 1).numpy())


def _copied(
    source: Path,
    path: Path,
    *,
    shift_s: int = 0,
    factor: float = 1.0,
    before: Path | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Copy the packets of a video into another container and return its path.

    Args:
        source: path of the video.
        path: path of the copy. The suffix selects the container.
        shift_s: number of seconds added to all times.
        factor: factor of all times.
        before: video whose stream precedes that of `source`.
        options: options of the container.
    """
    with av.open(str(path), "w", options=options or {}) as copy:
        inputs = [av.open(str(name)) for name in (before, source) if name is not None]
        streams = [copy.add_stream_from_template(f.streams.video[0]) for f in inputs]
        for file, stream in zip(inputs, streams, strict=True):
            for packet in file.demux(video=0):
                if packet.dts is not None and packet.pts is not None:
                    shift = int(shift_s / packet.time_base)
                    packet.pts = int(packet.pts * factor) + shift
                    packet.dts = int(packet.dts * factor) + shift
                    packet.stream = stream
                    copy.mux(packet)
            file.close()
    return path


def _with_matrix(mp4: bytes, numbers: tuple[int, int, int, int]) -> bytes:
    """Return an MP4 file with another display matrix in its first track."""
    a, b, c, d = (number << 16 for number in numbers)
    at = mp4.index(b"tkhd") + 44
    return mp4[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[at + 36 :]


def _with_edit(mp4: bytes, start_s: float, length_s: float) -> bytes:
    """Return an MP4 file whose only edit shows `length_s` seconds from `start_s` on."""
    ticks: list[Any] = [
        struct.unpack_from(">I", mp4, mp4.index(box) + 16)[0] for box in (b"mvhd", b"mdhd")
    ]
    at = mp4.index(b"elst") + 12
    media_time = struct.unpack_from(">i", mp4, at + 4)[0] + round(start_s * ticks[1])
    return mp4[:at] + struct.pack(">Ii", round(length_s * ticks[0]), media_time) + mp4[at + 8 :]
