"""Extraction processes that are killed or interrupted at random moments."""

import json
import signal
import time
from pathlib import Path

from pipeline.cache.manifest import read_manifest
from tools.proofs.faults.lab import Lab, Process, Tally, left_over, tree


def kills(lab: Lab, number: int) -> Tally:
    """Kill extractions with SIGKILL at random moments until the cache is complete."""
    tally = Tally(
        "SIGKILL", "no partial file; the cache is byte-identical to an uninterrupted run's cache"
    )
    finished = 0
    while tally.tried < number:
        cache, known = lab.new(), 0
        while True:
            process = lab.extract(cache, *_decode(lab))
            _wait_somewhere(lab, process, cache)
            if process.poll() is not None:
                break
            process.send(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL:
                break  # the process ended before the signal
            tally.count(lab.torn(cache), f"killed, {cache}")
            known = len(read_manifest(cache))
            if tally.tried >= number:
                process = lab.extract(cache)
                break
        problem = _incomplete(lab, cache, process.wait(), known)
        finished += 1
        if problem:
            tally.held -= 1
            tally.problems.append(f"{cache}: {problem}")
        else:
            lab.forget(cache)
    tally.notes["completed afterwards"] = finished
    return tally


def interrupts(lab: Lab, number: int) -> Tally:
    """Send SIGINT or SIGTERM during extraction."""
    tally = Tally(
        "SIGINT, SIGTERM",
        "exit 130 or 143 within 10 s, recorded in run.json; the next run completes the cache",
    )
    slowest = 0.0
    for trial in range(number):
        cache = lab.new()
        process = lab.extract(cache, *_decode(lab))
        while not (cache / "cache.json").is_file() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(lab.random.uniform(0, lab.seconds / 2))
        which = (signal.SIGINT, signal.SIGTERM)[trial % 2]
        sent = time.monotonic()
        process.send(which)
        code = process.wait()
        slowest = max(slowest, time.monotonic() - sent)
        problem = None
        if code != 0:
            problem = _not_said(cache, code, which) or lab.torn(cache)
        if problem is None and time.monotonic() - sent > 10:
            problem = f"took {time.monotonic() - sent:.1f} s"
        known = len(read_manifest(cache))
        problem = problem or _incomplete(lab, cache, lab.extract(cache).wait(), known)
        tally.count(problem, f"{which.name}, {cache}")
        lab.forget(*(() if problem else (cache,)))
    tally.notes["slowest, s"] = round(slowest, 2)
    return tally


def _decode(lab: Lab) -> tuple[str, ...]:
    """Return settings that start a decode process in one of ten trials."""
    return ("decode.workers=1",) if lab.random.random() < 0.1 else ()


def _wait_somewhere(lab: Lab, process: Process, cache: Path) -> None:
    """Wait until a random time or, in half of the trials, until a file appears or disappears."""
    until = process.start + lab.random.uniform(0, 1.1 * lab.seconds)
    watches = lab.random.random() < 0.5
    before = _names(cache)
    while process.poll() is None and time.monotonic() < until + 5 * watches:
        if watches and _names(cache) != before and lab.random.random() < 0.5:
            return
        before = _names(cache)
        time.sleep(0.0005)


def _names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*")) if cache.is_dir() else []


def _incomplete(lab: Lab, cache: Path, code: int, known: int) -> str | None:
    """Return an error if the last run did not complete the cache or repeated work, else None."""
    counts = json.loads((cache / "run.json").read_text())["counts"]
    if code != 0 or tree(cache) != lab.whole:
        return f"exit {code}, the result differs from an uninterrupted run"
    if counts["skipped"] < known:
        return f"{known} videos were finished, but {counts['skipped']} were skipped"
    return f"temporary files: {left_over(cache)}" if left_over(cache) else None


def _not_said(cache: Path, code: int, which: signal.Signals) -> str | None:
    expected = 130 if which == signal.SIGINT else 143
    if code != expected:
        return f"exit {code}"
    if not (cache / "run.json").is_file():
        return None  # the signal arrived before the run started
    status = json.loads((cache / "run.json").read_text())["status"]
    if status != "interrupted" or left_over(cache):
        return f"status {status} in run.json, temporary files: {left_over(cache)}"
    return None
