"""Full and read-only disks, and bit flips in a cache."""

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
    """Extract to disks of increasing size, from two pages to the size of a complete cache."""
    tally = Tally(
        "disk full",
        "exit 1 or 2 with the cause, no partial file; after space is freed, the command completes",
    )
    if not _can_mount():
        tally.notes["skipped"] = "mounting needs root rights"
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
                problem = f"exit {code}, output {said[-300:]!r}"
            subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
            again = lab.extract(cache, "--retry-failed").wait()
            if problem is None and (again or tree(cache) != lab.whole or left_over(cache)):
                problem = f"after space was freed: exit {again}, temporary: {left_over(cache)}"
        tally.count(problem, f"{(2 + trial % pages) * _PAGE} bytes")
    tally.notes["ran full"] = full
    return tally


def read_only(lab: Lab, number: int) -> Tally:
    """Extract to a read-only disk with no cache, a partial cache or a complete cache."""
    tally = Tally("read-only folder", "exit 2, one error message, no file changed")
    if not _can_mount():
        tally.notes["skipped"] = "mounting needs root rights"
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
            tally.count(problem or (None if before == after else "files changed"), case)
    return tally


def bit_rot(lab: Lab, number: int) -> Tally:
    """Flip one bit in a file of a complete cache."""
    tally = Tally(
        "bit rot in a cache",
        "detected before use, or no effect on the data read; extract --verify repairs the clips "
        "and the manifest, and rejects a changed cache.json",
    )
    cache, harmless = lab.new(), 0
    if lab.extract(cache).wait() != 0:
        raise UsageError(f"{cache}: a complete cache expected, but the extraction failed")
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
    """Read a cache as training and `tools.cache` do.

    Returns:
        The contents of `cache.json` under the key "", and the contents of every valid clip under
        its id. None if reading the cache raises an error.
    """
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
    """Return the wrong result of the readers or of `tools.cache verify`, or None if both are right.

    Args:
        cache: damaged cache.
        before: contents of the undamaged cache.
        found: contents of the damaged cache, see `_read`.
    """
    for name, content in (found or {}).items():
        if content != before.get(name):
            return f"damage not detected: {name or 'cache.json'}"
    try:
        with redirect_stdout(io.StringIO()):
            code = verify_cache(["verify", str(cache)])
    except UsageError:
        code = EXIT_USAGE
    if (code == EXIT_OK) != (found == before):
        return f"tools.cache verify: exit {code}"
    return None


def _unrepaired(lab: Lab, cache: Path, found: Content | None) -> str | None:
    """Return an error if `extract --verify` does not repair the cache, else None."""
    process = lab.extract(cache, "--verify")
    code = process.wait()
    if found is None:  # cache.json is damaged, so the settings of the clips are unknown
        return (
            None if code == EXIT_USAGE else f"damaged cache.json, but extract --verify: exit {code}"
        )
    clips = {name: data for name, data in tree(cache).items() if name != "cache.json"}
    is_same = all(lab.whole[name] == data for name, data in clips.items())
    if code != 0 or not is_same or len(clips) + 1 != len(lab.whole):
        return f"extract --verify: exit {code}, the result differs from an uninterrupted run"
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
