"""Search for an ffmpeg program whose image dumps have the frame numbers of Action Genome."""

import importlib
import re
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest

#: Newest usable major version. Later versions repeat other frames of variable-rate videos.
LAST_VERSION = 6
#: Frame number of each image in the dump of `_PROBE` by ffmpeg 4.2 and 5.1. That of 9.0 differs.
PROBE_DUMP = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14)
_PROBE = (
    "-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=0.8",
    "-vf", "select='if(gt(n,8),mod(n,2),1)'", "-vsync", "vfr",
    "-c:v", "mpeg4", "-q:v", "2",
    "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-",
)  # fmt: skip


@cache
def find_ffmpeg() -> tuple[str, str]:
    """Return the path of a usable program and an empty string, or an empty path and a reason."""
    problems = []
    for place, path in (("on the PATH", shutil.which("ffmpeg")), ("in imageio-ffmpeg", _wheel())):
        problem = _problem(path) if path else "not found"
        if path and not problem:
            return path, ""
        problems.append(f"{place}: {problem}")
    return "", f"an ffmpeg program up to version {LAST_VERSION} expected; " + ", ".join(problems)


def version_of(path: str) -> int:
    """Return the major version of a program, or 99 if it does not print a version."""
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"ffmpeg version \D?(\d+)", said)
    return int(found[1]) if found else 99


def run(*words: object, data: bytes | None = None) -> bytes:
    """Return the standard output of the program. Skip the test if it is missing or crashes."""
    path, problem = find_ffmpeg()
    if problem:
        pytest.skip(problem)
    done = _run(path, *words, data=data)
    if done.returncode < 0:
        pytest.skip(f"the ffmpeg program was killed by signal {-done.returncode}")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def split_images(data: bytes) -> list[np.ndarray]:
    """Split concatenated PPM files into images of shape (H, W, 3)."""
    at, images = 0, []
    while at < len(data):
        header = data[at : at + 40].split(b"\n", 3)
        width, height = map(int, header[1].split())
        at += sum(len(line) + 1 for line in header[:3])
        image = np.frombuffer(data, np.uint8, width * height * 3, at)
        images.append(image.reshape(height, width, 3))
        at += width * height * 3
    return images


def _wheel() -> str | None:
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def _problem(path: str) -> str:
    version = version_of(path)
    if version > LAST_VERSION:
        return f"version {version}"
    made = _run(path, *_PROBE).stdout
    pipe = ("-f", "image2pipe", "-c:v", "ppm", "-")
    shown = split_images(_run(path, "-i", "-", "-vsync", "passthrough", *pipe, data=made).stdout)
    dump = split_images(_run(path, "-i", "-", *pipe, data=made).stdout)
    behind = [next((k for k, s in enumerate(shown) if np.array_equal(s, d)), -1) for d in dump]
    return "" if tuple(behind) == PROBE_DUMP else f"version {version} dumps {behind}"


def _run(
    path: str, *words: object, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [path, "-y", "-loglevel", "error", *map(str, words)]
    return subprocess.run(command, input=data, capture_output=True, check=False)
