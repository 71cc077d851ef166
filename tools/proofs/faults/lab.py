"""Small videos, extraction as a process, and the result of an uninterrupted run."""

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from pipeline.errors import StageError
from pipeline.extract import main as extract
from pipeline.runtime.command_line import run_command

#: Settings with a small detector of random weights.
SMALL = (
    "detection.weights=random",
    "detection.depth=26",
    "detection.width=4",
    "detection.short_side=48",
    "detection.proposals=10",
    "frames.num=3",
    "device=cpu",
)
#: Decode in the extraction process, because starting a decode process takes two seconds.
IN_PROCESS = "decode.workers=0"
HANG_S = 60.0

Tree = dict[str, bytes]


@dataclass
class Tally:
    """Result of one family of faults.

    Attributes:
        name: name of the family.
        means: criterion that a trial must meet to pass.
        tried, held: numbers of all trials and of passed trials.
        problems: description of each failed trial, with the information needed to repeat it.
        notes: further counts and times.
    """

    name: str
    means: str
    tried: int = 0
    held: int = 0
    problems: list[str] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    def count(self, problem: str | None, how: str) -> None:
        """Count one trial.

        Args:
            problem: description of the failure, or None if the trial passed.
            how: information needed to repeat the trial.
        """
        self.tried += 1
        if problem is None:
            self.held += 1
        else:
            self.problems.append(f"{how}: {problem}")


class Process:
    """`pipeline.extract` in a forked process with its own session.

    Args:
        words: command-line arguments.
        log: file that receives the output of the process.
    """

    def __init__(self, words: Sequence[object], log: Path) -> None:
        self.log = log
        self._code: int | None = None
        self.start = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become_extract([str(word) for word in words], log)

    def wait(self, timeout_s: float = HANG_S) -> int:
        """Wait for the process and return its exit code.

        The exit code is the negative signal number if a signal ended the process.

        Raises:
            StageError: if the process does not end within `timeout_s`. The process is then killed.
        """
        deadline = time.monotonic() + timeout_s
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                raise StageError(f"extraction did not end within {timeout_s:g} s; see {self.log}")
            time.sleep(0.002)
        assert self._code is not None
        return self._code

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process only, as the out-of-memory killer of the system does."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _become_extract(words: list[str], log: Path) -> None:
    code = 70
    try:
        os.setsid()  # Ctrl-C in the terminal then reaches only the tool
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)
        run_command(extract, words)
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        os._exit(code)


@dataclass
class Lab:
    """Working folder of one family of faults.

    Attributes:
        folder: folder of all files.
        random: random generator for all choices.
        videos: folder of four short videos.
        whole: cache files that an uninterrupted run writes.
        seconds: duration of the uninterrupted run in seconds.
    """

    folder: Path
    random: random.Random
    videos: Path
    whole: Tree = field(default_factory=dict)
    seconds: float = 0.0
    _numbers: int = 0

    @classmethod
    def make(cls, folder: Path, seed: int) -> "Lab":
        """Write the videos and extract them once.

        Raises:
            StageError: if the extraction fails.
        """
        lab = cls(folder, random.Random(seed), folder / "videos")
        lab.videos.mkdir()
        for number in range(4):
            write_clip(lab.videos / f"V{number}.mp4", number, num=12 + number)
        cache = lab.new()
        process = lab.extract(cache)
        if process.wait() != 0:
            raise StageError(f"the first extraction failed: {process.log.read_text()[-2000:]}")
        lab.seconds, lab.whole = time.monotonic() - process.start, tree(cache)
        return lab

    def new(self) -> Path:
        """Return a path below the folder that does not exist yet."""
        self._numbers += 1
        return self.folder / f"{self._numbers:05}"

    def extract(self, cache: Path, *words: object, videos: Path | None = None) -> Process:
        """Start an extraction.

        Args:
            cache: folder of the cache.
            words: further command-line arguments.
            videos: folder of the videos. Default: `self.videos`.

        Returns:
            The running process.
        """
        given = ("--videos", videos or self.videos, "--cache", cache, *SMALL)
        decode = () if any("decode.workers" in str(w) for w in words) else (IN_PROCESS,)
        return Process([*given, *decode, *words], self.new().with_suffix(".log"))

    def torn(self, cache: Path) -> str | None:
        """Return the first clip or `cache.json` that differs from `self.whole`, as a message."""
        for name, data in tree(cache).items() if cache.is_dir() else ():
            if name != "manifest.jsonl" and data != self.whole.get(name):
                return f"{name} differs from an uninterrupted run"
        return None

    def forget(self, *folders: Path) -> None:
        """Remove the folders of a passed trial."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def tree(cache: Path) -> Tree:
    """Read the clips, the manifest and `cache.json`, which must not depend on interruptions."""
    names = ("*.safetensors", "manifest.jsonl", "cache.json")
    return {path.name: path.read_bytes() for name in names for path in cache.glob(name)}


def left_over(cache: Path) -> list[str]:
    """Return the names of the temporary files in a cache."""
    return [path.name for path in cache.iterdir() if "tmp" in path.name]


def write_clip(path: Path, seed: int, *, num: int = 12, size: tuple[int, int] = (64, 48)) -> Path:
    """Write an H.264 video of moving noise at 25 fps and return its path.

    The video has a keyframe every eight frames and contains B-frames. The header (moov) is at the
    start of the file.

    Args:
        path: path of the video.
        seed: seed of the noise.
        num: number of frames.
        size: (width, height) in pixels.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), dtype=np.uint8))[:height, :width]
    images = [np.ascontiguousarray(np.roll(picture, 3 * n, axis=1)) for n in range(num)]
    options = {"crf": "20", "g": "8", "threads": "1"}
    return encode(path, "libx264", images, options=options, flags="+faststart")


def encode(
    path: Path,
    codec: str,
    images: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    flags: str | None = None,
) -> Path:
    """Write RGB or grey images as a video and return its path.

    Args:
        path: path of the video. The suffix selects the container.
        codec: encoder of FFmpeg.
        images: (H, W, 3) or (H, W) uint8.
        times: presentation time of each image in units of 1/25 s. Default: 0, 1, 2, …
        pixels: pixel format.
        options: options of the encoder.
        flags: `movflags` of a MOV or MP4 file.
    """
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = pixels, options or {}
        for image, moment in zip(images, times or range(len(images)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, "gray" if image.ndim == 2 else "rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
