"""Damaged videos, unusual formats and decompression bombs."""

import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from pipeline.config.loading import load_config
from pipeline.datasets.video_files import VideoFile, video_id_of
from pipeline.decoding import DecodeOptions, DecodePool, DirectStream, FrameRequest
from pipeline.decoding.video_frames import VideoFrames
from pipeline.engine.stage import Outcome, Task, examine
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction.job import prepare_extraction
from pipeline.runtime.files import file_sha256
from tools.proofs.faults.lab import HANG_S, IN_PROCESS, SMALL, Lab, Tally, encode, tree, write_clip

BLOCK = 4096
_BOMB_S, _BOMB_BYTES = 5.0, 1 << 30

Frames = dict[int, torch.Tensor]


def one_bit(data: bytearray, lab: Lab) -> None:
    """Flip one bit."""
    _flip(data, lab, 0, len(data), 1)


def many_bits(data: bytearray, lab: Lab) -> None:
    """Flip 32 bits."""
    _flip(data, lab, 0, len(data), 32)


def zeroed(data: bytearray, lab: Lab) -> None:
    """Set a block of 4 KiB to zero."""
    start = lab.random.randrange(max(len(data) - BLOCK, 1))
    data[start : start + BLOCK] = bytes(len(data[start : start + BLOCK]))


def truncated(data: bytearray, lab: Lab) -> None:
    """Remove the end of the file."""
    del data[lab.random.randrange(len(data)) :]


def header(data: bytearray, lab: Lab) -> None:
    """Flip eight bits of the header (moov)."""
    at = data.find(b"moov")
    size = int.from_bytes(data[at - 4 : at], "big")
    _flip(data, lab, at, at + size - 4, 8)


def _flip(data: bytearray, lab: Lab, low: int, high: int, number: int) -> None:
    for _ in range(number):
        data[lab.random.randrange(low, high)] ^= 1 << lab.random.randrange(8)


KINDS: tuple[Callable[[bytearray, Lab], None], ...]
KINDS = (one_bit, many_bits, zeroed, truncated, header)


def damage(lab: Lab, number: int) -> Tally:
    """Decode damaged videos, as extraction does."""
    tally = Tally(
        "damaged videos, no checksums",
        "no crash, no hang; wrong frames only where the decoder reports no error (see the notes)",
    )
    outcomes: dict[str, Counter[str]] = {}
    with DecodePool(1, int(4e9)) as pool:
        for kind, source, path in _damaged(lab, number):
            start = time.monotonic()
            request = _request(path)
            try:
                with closing(pool.start(request)) as stream:
                    found = _frames(stream)
                outcome = _same(found, _frames(DirectStream(_request(source))))
            except ItemError as error:
                outcome = error.reason.value
            outcomes.setdefault(kind, Counter())[outcome] += 1
            problem = None
            if outcome in ("decoder-died", "decode-timeout", "internal-error"):
                problem = outcome
            elif time.monotonic() - start > HANG_S:
                problem = "hung"
            tally.count(problem, f"{kind}, {path}")
            if problem is None:
                path.unlink()
    tally.notes |= {kind: dict(outcomes[kind]) for kind in sorted(outcomes)}
    return tally


def damage_with_checksums(lab: Lab, number: int) -> Tally:
    """Examine damaged videos whose SHA-256 is known (`--checksums`)."""
    tally = Tally("damaged videos, --checksums", "each video fails as corrupt-video")
    config = load_config(None, [*SMALL, IN_PROCESS])
    steps = prepare_extraction(config, lab.videos, []).steps(lab.new())
    for kind, source, path in _damaged(lab, number):
        task = Task(VideoFile(path, "V"), expected_sha256=file_sha256(source))
        found = examine(steps, task)
        error = found.error if isinstance(found, Outcome) else None
        is_caught = error is not None and error.reason is FailureReason.CORRUPT_VIDEO
        tally.count(None if is_caught else "accepted", f"{kind}, {path}")
        path.unlink()
    return tally


def _damaged(lab: Lab, number: int) -> Iterator[tuple[str, Path, Path]]:
    """Yield (kind of damage, original file, damaged copy). Every copy differs from its original."""
    sizes = ((64, 48), (160, 120), (320, 240))
    sources = [
        write_clip(lab.folder / f"source{i}.mp4", i, num=40, size=s) for i, s in enumerate(sizes)
    ]
    for trial in range(number):
        kind, source = KINDS[trial % len(KINDS)], sources[trial // len(KINDS) % len(sources)]
        whole = source.read_bytes()
        data = bytearray(whole)
        while data == whole:
            kind(data, lab)
        path = lab.new().with_suffix(".mp4")
        path.write_bytes(data)
        yield kind.__name__, source, path


def _request(path: Path) -> FrameRequest:
    options = DecodeOptions(timeout_s=HANG_S)
    return FrameRequest(path, file_sha256(path), options, num_uniform=40, batch_size=8)


def _frames(stream: Iterable[VideoFrames]) -> Frames:
    parts = [zip(part.frame_index.tolist(), part.frames, strict=True) for part in stream]
    return dict(chain.from_iterable(parts))


def _same(found: Frames, whole: Frames) -> str:
    if found.keys() != whole.keys():
        return "silently other frames"
    if all(torch.equal(found[i], whole[i]) for i in whole):
        return "same frames"
    return "silently other pixels"


def formats(lab: Lab, number: int) -> Tally:
    """Extract a folder of unusual files in many formats."""
    tally = Tally("unusual files", "each file is extracted or fails with the expected reason")
    cases = list(_odd_files(lab))[:number]
    folder, cache = lab.new(), lab.new()
    folder.mkdir()
    for path, _ in cases:
        shutil.move(path, folder / path.name)
    code = lab.extract(cache, "decode.workers=1", videos=folder).wait()
    failures = (cache / "failures.jsonl").read_text() if code else ""
    for path, reason in cases:
        video_id = video_id_of(path)
        is_done = (cache / f"{video_id}.safetensors").is_file()
        line = next((row for row in failures.splitlines() if f'"{video_id}"' in row), "")
        is_right = is_done and not line if reason is None else f'"{reason}"' in line
        tally.count(
            None if is_right else f"reason {reason} expected, got {line or is_done}", path.name
        )
    return tally


def _odd_files(lab: Lab) -> Iterator[tuple[Path, str | None]]:
    os.environ.setdefault("SVT_LOG", "0")  # silences the AV1 encoder
    whole = (lab.videos / "V0.mp4").read_bytes()
    for name, data, reason in (
        ("nothing.mp4", b"", "unreadable-video"),
        ("text.mp4", b"no video at all\n" * 40, "unreadable-video"),
        ("cut.mp4", whole[: len(whole) // 2], "truncated-video"),
        ("headless.mp4", whole[:40], "truncated-video"),
        ("suffix.avi", whole, None),
        ("odd name; rm -rf.mp4", whole, None),
    ):
        path = lab.folder / name
        path.write_bytes(data)
        yield path, reason
    yield write_clip(lab.folder / "one.mp4", 1, num=1), None
    yield write_clip(lab.folder / "large.mp4", 1, num=3, size=(1920, 1080)), None
    yield _picture(lab.folder / "picture.mp4"), None
    yield _sound(lab.folder / "sound.mp4"), "no-frames"
    for name, codec, size in (
        ("vp9.webm", "libvpx-vp9", (64, 48)),
        ("odd.mkv", "libvpx-vp9", (427, 241)),
        ("drawn.gif", "gif", (64, 48)),
        ("stream.ts", "mpeg2video", (64, 48)),
        ("hevc.mp4", "libx265", (64, 48)),
        ("av1.mp4", "libsvtav1", (64, 64)),
    ):
        yield _coded(lab.folder / name, codec, size), None
    yield _coded(lab.folder / "deep.mp4", "libx264", (64, 48), pixels="yuv420p10le"), None
    yield _coded(lab.folder / "uneven.mp4", "libx264", (64, 48), times=(0, 1, 5, 6, 20)), None


def _coded(path: Path, codec: str, size: tuple[int, int], **more: Any) -> Path:
    """Encode nine grey frames of increasing brightness, or one frame for each of the `times`."""
    num = len(more.get("times", range(9)))
    images = [np.full((size[1], size[0], 3), 20 * number, np.uint8) for number in range(num)]
    if codec == "gif":
        more["pixels"] = "rgb8"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    return encode(path, codec, images, options=options, **more)


def _picture(path: Path) -> Path:
    """Write a JPEG file with the name of a video. FFmpeg reads it as a video of one frame."""
    image = path.with_suffix(".jpg")
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
    frame.save(str(image))
    return image.rename(path)


def _sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return path


def bombs(lab: Lab, number: int) -> Tally:
    """Extract small files that require large amounts of memory or time."""
    tally = Tally("bombs", f"each fails as too large or damaged within {_BOMB_S:g} s and 1 GB")
    slowest = 0.0
    for path in list(_bombs(lab))[:number]:
        cache, folder = lab.new(), lab.new()
        folder.mkdir()
        shutil.move(path, folder / path.name)
        shutil.copy(lab.videos / "V0.mp4", folder)
        process = lab.extract(cache, videos=folder)
        code = process.wait()
        took = time.monotonic() - process.start
        slowest = max(slowest, took)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        problem = None
        if code != 1 or (cache / f"{path.stem}.safetensors").exists():
            problem = f"exit {code}"
        elif tree(cache).get("V0.safetensors") != lab.whole["V0.safetensors"]:
            problem = "the other video was not extracted"
        elif took > _BOMB_S or peak > _BOMB_BYTES:
            problem = f"took {took:.1f} s, {peak / 1e6:.0f} MB"
        tally.count(problem, path.name)
    tally.notes = {"slowest, s": round(slowest, 2), "largest process so far, MB": peak // 10**6}
    return tally


def _bombs(lab: Lab) -> Iterator[Path]:
    yield write_clip(lab.folder / "wide.mp4", 0, num=1, size=(8192, 4096))
    # One black frame of 144 million pixels in about 150 kB.
    black = np.zeros((12_000, 12_000), np.uint8)
    yield encode(lab.folder / "black.mov", "png", [black], pixels="gray")
    yield _patched(lab, "frames.mp4", b"stts", 8, (0x3FFFFFFF).to_bytes(4, "big"))
    yield _patched(lab, "samples.mp4", b"stsz", 8, b"\0\0\0\1" + (0x3FFFFFFF).to_bytes(4, "big"))
    yield _long(lab.folder / "long.mp4", 300_000)


def _patched(lab: Lab, name: str, box: bytes, offset: int, value: bytes) -> Path:
    """Write a video and overwrite bytes at an offset from the type of an MP4 box."""
    path = write_clip(lab.folder / name, 3, size=(64, 48))
    data = bytearray(path.read_bytes())
    at = data.find(box) + 4 + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def _long(path: Path, num: int) -> Path:
    """Write a video that repeats one black keyframe."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        data = bytes(next(iter([*stream.encode(black), *stream.encode(None)])))
        for number in range(num):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return path
