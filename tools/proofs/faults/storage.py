"""Full and read-only disks, and bits that flip in a cache."""

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from pipeline.cache.folder import read_cache_info
from pipeline.cache.listing import list_clips
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import load_clip
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.command_line import EXIT_OK, EXIT_USAGE
from tools.cache import main as verify_cache
from tools.proofs.faults.lab import Lab, Tally, left_over, tree

_PAGE = 4096


def full_disk(lab: Lab, number: int) -> Tally:
    """A disk that is full after each number of pages that an extraction writes."""
    tally = Tally(
        "disk full",
        "exit 1 or 2 that says so, no torn file; with room the same command ends as unbroken",
    )
    if not _can_mount():
        tally.notes["skipped"] = "mounting needs the rights of root"
        return tally
    pages = sum(-(-len(data) // _PAGE) for data in lab.whole.values()) + 6
    full = 0
    for trial in range(number):
        with _disk(lab, (2 + trial % pages) * _PAGE) as disk:
            cache = disk / "cache"
            process = lab.extract(cache)
            code = process.wait()
            said = process.log.read_text()
            full += code != 0
            problem = lab.torn(cache)
            if code not in (0, 1, 2) or (code and "No space left" not in said):
                problem = f"exit {code}, says {said[-300:]!r}"
            subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
            again = lab.extract(cache, "--retry-failed").wait()
            if problem is None and (again or tree(cache) != lab.whole or left_over(cache)):
                problem = f"with room: exit {again}, {left_over(cache)}"
        tally.count(problem, f"{(2 + trial % pages) * _PAGE} bytes")
    tally.notes["ran full"] = full
    return tally


def read_only(lab: Lab, number: int) -> Tally:
    """A cache on a disk that cannot be written: absent, half done, complete."""
    tally = Tally("read-only folder", "exit 2, one sentence, nothing changed")
    if not _can_mount():
        tally.notes["skipped"] = "mounting needs the rights of root"
        return tally
    for case in ("absent", "half done", "complete")[:number]:
        with _disk(lab, 1 << 23) as disk:
            cache = disk / "cache"
            if case != "absent":
                lab.extract(cache, "--limit", 2 if case == "half done" else 4).wait()
            before = tree(disk) | (tree(cache) if cache.is_dir() else {})
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            process = lab.extract(cache)
            code = process.wait()
            errors = [r for r in process.log.read_text().splitlines() if r.startswith("error:")]
            after = tree(disk) | (tree(cache) if cache.is_dir() else {})
            problem = None if code == 2 and len(errors) == 1 else f"exit {code}, {errors}"
            tally.count(problem or (None if before == after else "changed"), case)
    return tally


def bit_rot(lab: Lab, number: int) -> Tally:
    """One bit flips in a file of a finished cache."""
    tally = Tally(
        "bit rot in a cache",
        "found before anything is read from it, or all that is read is equal; extract --verify "
        "makes clips and manifest whole again, and refuses a changed cache.json",
    )
    cache, harmless = lab.new(), 0
    if lab.extract(cache).wait() != 0:
        raise UsageError(f"{cache}: a whole cache expected")
    before = _read(cache)
    assert before is not None
    for _ in range(number):
        copy = Path(shutil.copytree(cache, lab.new()))
        path = lab.random.choice([copy / name for name in lab.whole])
        data = bytearray(path.read_bytes())
        at, bit = lab.random.randrange(len(data)), lab.random.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        found = _read(copy)
        harmless += found == before
        problem = _unnoticed(copy, before, found) or _unrepaired(lab, copy, found)
        tally.count(problem, f"bit {bit} of byte {at}, {path}")
        lab.forget(*(() if problem else (copy,)))
    tally.notes["harmless: all that is read is equal"] = harmless
    return tally


Content = dict[str, tuple[object, ...]]


def _read(cache: Path) -> Content | None:
    """What training and listing read: of the cache, and per clip offered; None if it is refused."""
    try:
        info = read_cache_info(cache)
        rows = read_manifest(cache)
        clips, _ = list_clips(cache, verify=True)
        content: Content = {"": (info,)}
        for clip in clips:
            load_clip(clip.path)
            row = rows[clip.video_id]
            content[clip.video_id] = (clip.header, clip.relations, row, clip.path.read_bytes())
        return content
    except (UsageError, ItemError):
        return None


def _unnoticed(cache: Path, before: Content, found: Content | None) -> str | None:
    """What is read although it is wrong, or what `tools.cache verify` does not tell."""
    for name, content in (found or {}).items():
        if content != before.get(name):
            return f"read as right: {name or 'cache.json'}"
    try:
        with redirect_stdout(io.StringIO()):
            code = verify_cache(["verify", str(cache)])
    except UsageError:
        code = EXIT_USAGE
    if (code == EXIT_OK) != (found == before):
        return f"tools.cache verify: exit {code}"
    return None


def _unrepaired(lab: Lab, cache: Path, found: Content | None) -> str | None:
    """Why extracting again with the videos at hand did not end as an unbroken run does."""
    process = lab.extract(cache, "--verify")
    code = process.wait()
    if found is None:  # what the clips were made with can no longer be known
        return None if code == EXIT_USAGE else f"cache.json refused, but extract: exit {code}"
    clips = {name: data for name, data in tree(cache).items() if name != "cache.json"}
    is_same = all(lab.whole[name] == data for name, data in clips.items())
    if code != 0 or not is_same or len(clips) + 1 != len(lab.whole):
        return f"extract --verify: exit {code}, the result differs from an unbroken run's"
    return None


def _can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


@contextmanager
def _disk(lab: Lab, size: int) -> Iterator[Path]:
    folder = lab.new()
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(words, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
