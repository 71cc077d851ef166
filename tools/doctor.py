"""`python -m tools.doctor`: what this machine can do, and how to add what is missing."""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from pipeline.decoding import DecodeOptions, open_video
from pipeline.decoding.options import Backend
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.files import write_json
from tools.proofs.benchmarks.timing import matrix_rate
from tools.proofs.faults.lab import encode

EXAMPLE = "python -m tools.doctor --folder cache --json doctor.json"
OK, MISSING, WEAK = "ok", "missing", "weak"
#: Codec of each test video: encoder of FFmpeg, its options, and suffix of the file.
CODECS = {
    "H.264": ("libx264", {}, "mp4"),
    "HEVC": ("libx265", {"x265-params": "log-level=none"}, "mp4"),
    "MPEG-4": ("mpeg4", {}, "avi"),
    "VP9": ("libvpx-vp9", {}, "webm"),
    "AV1": ("libsvtav1", {}, "mp4"),
}
#: Free disk in GB that the cache of Charades needs at least (docs/extraction.md).
LEAST_DISK = 60.0
PROBE_MB = 256
DECORD = "pip install decord (Linux x86-64, Windows) or decord2"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        part: part of the program that needs it.
        name: what was examined.
        status: `ok`, `missing`, or `weak` for something that works but limits the program.
        detail: version, speed or problem.
        remedy: what to do, or empty.
    """

    part: str
    name: str
    status: str
    detail: str
    remedy: str = ""


def main(argv: list[str]) -> int:
    """Examine the machine and return the exit code."""
    parser = common_parser("python -m tools.doctor", __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="folder whose disk is measured (default: .)"
    )
    parser.add_argument("--json", type=Path, help="also write the findings to this file")
    args, _ = parse_words(parser, argv)
    if not args.folder.is_dir():
        raise UsageError(f"--folder: an existing folder expected, got {args.folder}")
    findings = []
    for finding in examine(args.folder):
        findings.append(finding)
        print_finding(finding)
    counts = {status: sum(f.status == status for f in findings) for status in (OK, WEAK, MISSING)}
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if args.json:
        write_json(args.json, {"findings": [asdict(finding) for finding in findings]})
    return EXIT_FAILURES if any(is_needed(f) and f.status == MISSING for f in findings) else EXIT_OK


def is_needed(finding: Finding) -> bool:
    """Return whether nothing works without this: Python, torch, PyAV with H.264, or the disk."""
    return finding.part == "core" or (finding.part, finding.name) == ("decoding", "pyav, H.264")


def print_finding(finding: Finding) -> None:
    """Print one line, and a second one with the remedy."""
    print(f"{finding.status:8}{finding.part:12}{finding.name:22}{finding.detail}")
    if finding.remedy and finding.status != OK:
        print(f"{'':20}→ {finding.remedy}")


def examine(folder: Path) -> Iterator[Finding]:
    """Examine the machine.

    Args:
        folder: folder whose disk is measured.

    Yields:
        Findings, as soon as each is known.
    """
    yield from _core(folder)
    yield from _devices()
    yield from _decoding()
    yield from _packages()


def _core(folder: Path) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    status = OK if sys.version_info >= (3, 11) else MISSING
    yield Finding("core", "Python", status, found, "install Python 3.11 or newer")
    for package in ("torch", "torchvision", "numpy", "av"):
        yield _package("core", package, "make env")
    free = shutil.disk_usage(folder).free / 1e9
    status = OK if free >= LEAST_DISK else WEAK
    remedy = f"the cache of Charades needs about {LEAST_DISK:.0f} GB; set --cache to a larger disk"
    yield Finding("core", "free disk", status, f"{free:.0f} GB", remedy)
    try:
        write, read = disk_speed(folder, PROBE_MB)
    except OSError as error:
        problem = f"{folder}: {error.strerror}"
        yield Finding("core", "disk", MISSING, problem, "use a folder that can be written")
        return
    yield Finding("core", "disk", OK, f"writes {write:.0f} MB/s, reads {read:.0f} MB/s")


def disk_speed(folder: Path, size_mb: int) -> tuple[float, float]:
    """Measure the rates in MB/s at which a file is written and read again.

    The file is synchronised to the disk. If the system allows it, its pages are dropped before
    they are read.
    """
    block = np.random.default_rng(0).bytes(2**20)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        begin = time.perf_counter()
        for _ in range(size_mb):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start = time.perf_counter()
        while file.read(2**20):
            pass
        return size_mb / (written - begin), size_mb / (time.perf_counter() - start)


def _devices() -> Iterator[Finding]:
    rate = 2 * matrix_rate(torch.float32, torch.device("cpu"))
    threads = f"{torch.get_num_threads()} threads, {rate:.0f} GFLOP/s in float32"
    yield Finding("devices", f"CPU {platform.machine()}", OK, threads)
    if not torch.cuda.is_available():
        remedy = "extraction and paper-sized networks need hours instead of minutes on a CPU"
        yield Finding("devices", "GPU", MISSING, "torch finds no CUDA device", remedy)
        return
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        known = torch.cuda.get_device_properties(device)
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = torch.bfloat16 if has_bf16 else torch.float16
        rate = 2 * matrix_rate(dtype, device) / 1e3
        detail = f"{known.total_memory / 1e9:.0f} GB, {rate:.0f} TFLOP/s in {str(dtype)[6:]}"
        status, remedy = OK, ""
        if not has_bf16:
            status, remedy = WEAK, "no bfloat16: set train.amp=fp16"
        yield Finding("devices", known.name, status, detail, remedy)


def _decoding() -> Iterator[Finding]:
    os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder prints its settings otherwise
    images = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        for codec, (encoder, options, suffix) in CODECS.items():
            path = Path(folder) / f"{encoder}.{suffix}"
            try:
                encode(path, encoder, images, options=options)
            except Exception as error:  # FFmpeg reports missing encoders in many ways
                problem = f"no test video: {_first_line(error)}"
                yield Finding("decoding", f"pyav, {codec}", WEAK, problem)
                continue
            yield _decoded("pyav", codec, path, images)
            if codec == "H.264":
                for backend in get_args(Backend)[1:3]:
                    yield _decoded(backend, codec, path, images)
    program = shutil.which("ffmpeg")
    detail = program or "not in PATH; only tests use it"
    yield Finding("decoding", "ffmpeg", OK if program else MISSING, detail, "install ffmpeg")


def _decoded(backend: Backend, codec: str, path: Path, images: list[np.ndarray]) -> Finding:
    """Decode a frame of a test video and compare it with its image."""
    name, last = f"{backend}, {codec}", len(images) - 1
    remedy = DECORD if backend == "decord" else "make env"
    try:
        clip = open_video(path, DecodeOptions(backend=backend)).read([last])
    except (ItemError, UsageError) as error:
        return Finding("decoding", name, MISSING, _first_line(error), remedy)
    wrong = float((clip.frames[0].float() - float(images[last][0, 0, 0])).abs().max())
    if wrong > 16:
        return Finding("decoding", name, MISSING, f"pixels differ by up to {wrong:.0f}", remedy)
    return Finding("decoding", name, OK, f"{len(images)} frames, pixels within {wrong:.0f}")


def _packages() -> Iterator[Finding]:
    options: dict[str, tuple[str, str]] = {
        "detectron2": (
            "detection.backend=detectron2",
            "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'",
        ),
        "ray": ("--engine ray", "pip install 'ray>=2.40'"),
        "tensorboard": ("train.tensorboard=true", "pip install tensorboard"),
    }
    for package, (use, remedy) in options.items():
        yield _package("options", package, f"{remedy} (for {use})")


def _package(part: str, name: str, remedy: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(part, name, MISSING, "not installed", remedy)
    try:
        return Finding(part, name, OK, version(name), remedy)
    except PackageNotFoundError:
        return Finding(part, name, OK, "version unknown", remedy)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    run_command(main)
