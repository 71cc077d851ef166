"""Pickles that execute code, and ids that are paths outside the folder."""

import csv
import io
import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.charades.table import COLUMNS
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from tools.proofs.faults.lab import Lab, Tally

_IDS = (
    "../outside", "/tmp/outside", "a/b", "..", ".", "", "CON", "x" * 5000, "nul\0byte",
    "line\nfeed", "-rf", "a;b", "$(touch outside)", "\u202egpj", "a\\b", "=cmd", "<script>",
    "%2e%2e%2fx", "tab\there", "é",
)  # fmt: skip
_MOST_BYTES = 1 << 30


class _Runs:
    """Object that runs a shell command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def pickles(lab: Lab, number: int) -> Tally:
    """Read annotation pickles that try to execute code or to exhaust the memory."""
    tally = Tally("malicious pickles", "rejected with the file name, no code executed, below 1 GB")
    canary = lab.folder / "canary"
    vocabulary = load_vocabulary("action_genome")
    files = ("object_bbox_and_relationship.pkl", "person_bbox.pkl")
    trials = [(target, *made) for target in files for made in _pickles(canary)]
    for target, name, data in islice(cycle(trials), number):
        folder = lab.new()
        folder.mkdir()
        for file in files:
            (folder / file).write_bytes(data if file == target else pickle.dumps({}))
        before = _peak()
        problem: str | None = "accepted"
        try:
            read_annotations([folder], vocabulary)
        except UsageError as error:
            problem = None if target in str(error) else f"message without the file name: {error}"
        if canary.exists():
            problem = "code executed"
            canary.unlink()
        if _peak() - before > _MOST_BYTES:
            problem = problem or "used more than 1 GB"
        tally.count(problem, f"{name} as {target}")
        lab.forget(folder)
    return tally


def _peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _pickles(canary: Path) -> Iterator[tuple[str, bytes]]:
    runs = _Runs(f"touch {canary}")
    for protocol in (0, 1, 2, 3, 4, 5):
        yield f"os.system, protocol {protocol}", pickle.dumps(runs, protocol)
        nested = {"A.mp4/000001.png": [{"class": ("x", runs)}]}
        yield f"nested, protocol {protocol}", pickle.dumps(nested, protocol)
    array = np.array([runs], dtype=object)
    yield "object array", pickle.dumps({"A.mp4/000001.png": array})
    evaluated = f"__import__('os').system('touch {canary}')"
    yield "builtins.eval", f"cbuiltins\neval\n(V{evaluated}\ntR.".encode()
    yield "numpy loads", b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR."
    yield "memo bomb", b"\x80\x04" + b"(l" + b"0(l" * 10 + b"p" + b"9" * 12 + b"\n."
    yield "length bomb", b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x."
    yield "text", b"no pickle"


def ids(lab: Lab, number: int) -> Tally:
    """Extract videos whose ids or file names are paths outside the folder or unusual strings."""
    tally = Tally(
        "hostile ids and names", "no file outside the cache; the id is made safe or rejected"
    )
    for name in islice(cycle(_IDS), number):
        root = lab.new()
        videos, cache = root / "videos", root / "cache"
        videos.mkdir(parents=True)
        shutil.copy(lab.videos / "V0.mp4", videos / "V0.mp4")
        file = name.replace("/", "_").replace("\0", "")[:200]
        if file.strip("."):
            shutil.copy(lab.videos / "V1.mp4", videos / f"{file}.mp4")
        (root / "Charades_v1_train.csv").write_bytes(_csv(name).encode())
        (root / "Charades_v1_test.csv").write_bytes(_csv("V0").encode())
        (root / "Charades_v1_classes.txt").write_text("c000 Holding something\n")
        code = lab.extract(cache, "--annotations", root, videos=videos).wait()
        allowed = {"videos", "cache", *(f"Charades_v1_{x}" for x in ("train.csv", "test.csv"))}
        unexpected = {p.name for p in root.iterdir()} - allowed - {"Charades_v1_classes.txt"}
        problem = f"unexpected files {unexpected}" if unexpected else None
        if (lab.folder / "outside").exists() or Path("/tmp/outside").exists():
            problem = "a file was written outside the cache"
        if code not in (0, 1, 2):
            problem = f"exit {code}"
        elif code != 2 and not (cache / "V0.safetensors").is_file():
            problem = "the other video was not extracted"
        deep = [p for p in cache.rglob("*") if p.parent != cache] if cache.is_dir() else []
        tally.count(problem or (f"{deep}" if deep else None), repr(name[:40]))
        lab.forget(*(() if problem else (root,)))
    return tally


def _csv(video_id: str) -> str:
    """Return a CSV file of Charades with one video."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="x")
    writer.writeheader()
    writer.writerow({"id": video_id, "actions": "c000 0.0 0.4", "length": "0.5"})
    return out.getvalue()
