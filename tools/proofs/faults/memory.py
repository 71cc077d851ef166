"""Decode processes that run out of memory or are killed."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from tools.proofs.faults.lab import Lab, Process, Tally, tree, write_clip


def too_little(lab: Lab, number: int) -> Tally:
    """Extract a video that needs more memory than a decode process may allocate."""
    tally = Tally(
        "decoder out of memory", "this video fails as out-of-memory; the other videos are extracted"
    )
    folder = lab.new()
    shutil.copytree(lab.videos, folder)
    write_clip(folder / "U.mp4", 0, num=4, size=(3840, 2160))
    for _ in range(number):
        cache = lab.new()
        process = lab.extract(cache, "decode.workers=1", "decode.memory_gb=0.1", videos=folder)
        code = process.wait()
        failures = (cache / "failures.jsonl").read_text() if code == 1 else ""
        problem = None
        if code != 1 or failures.count("\n") != 1 or '"out-of-memory"' not in failures:
            problem = f"exit {code}, {failures}"
        tally.count(problem or _others(lab, cache), f"{cache}")
    return tally


def deaths(lab: Lab, number: int) -> Tally:
    """Kill a decode process while it decodes."""
    tally = Tally(
        "decoder killed",
        "at most one video fails, with the reason decoder-died; a retry extracts it",
    )
    hits = 0
    for _ in range(number):
        cache = lab.new()
        process = lab.extract(cache, "decode.workers=1")
        child = _child_of(process)
        time.sleep(lab.random.uniform(0, 0.3))
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = process.wait()
        path = cache / "failures.jsonl"
        failures = path.read_text() if path.is_file() else ""
        hits += bool(failures)
        problem = None
        if failures.count("\n") > 1 or (failures and '"decoder-died"' not in failures):
            problem = failures
        elif code != bool(failures):
            problem = f"exit {code}"
        elif lab.extract(cache, "--retry-failed").wait() or tree(cache) != lab.whole:
            problem = "the retry failed or its result differs from an uninterrupted run"
        tally.count(problem, f"{cache}")
    tally.notes["hit a video"] = hits
    return tally


def _child_of(process: Process) -> int | None:
    """Return the id of the decode process of an extraction, or None if it does not start."""
    while process.poll() is None:
        for path in Path(f"/proc/{process.pid}/task").glob("*/children"):
            with suppress(OSError):
                found = path.read_text().split()
                if found:
                    return int(found[0])
        time.sleep(0.01)
    return None


def _others(lab: Lab, cache: Path) -> str | None:
    for name, data in lab.whole.items():
        if name.endswith(".safetensors") and tree(cache).get(name) != data:
            return f"{name} is missing or differs"
    return None
