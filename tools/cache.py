"""`python -m tools.cache ls|show|verify|prune|add`: list, check, clean or extend a cache."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from pipeline.cache.folder import CacheInfo, clip_path, read_cache_info, replace_clip
from pipeline.cache.listing import ClipEntry, list_clips
from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.cache.reader import ClipReader, load_clip
from pipeline.config.loading import load_config
from pipeline.config.schema import Relations
from pipeline.datasets import Span
from pipeline.errors import ItemError, UsageError
from pipeline.extraction.relation_prediction import PREDICTED, with_predicted
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.devices import pick_device
from pipeline.runtime.writers import sweep_temporary_files
from pipeline.samples.dataset import check_finite
from pipeline.weights.predictors import (
    PredictorFile,
    check_predictor_on_cache,
    find_predictor,
    load_predictor,
)

_FOR_ADD = ("relations=", "relation_predictor.", "device=")
EXAMPLE = "python -m tools.cache verify cache/oracle"


def main(argv: list[str]) -> int:
    """Run a command on a cache and return the exit code."""
    parser = common_parser("python -m tools.cache", __doc__ or "", EXAMPLE)
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("cache", type=Path, help="folder written by pipeline.extract")
    parser.add_argument("video", nargs="?", help="id of the video to show")
    parser.add_argument(
        "--dry-run", action="store_true", help="prune: only list the files to remove"
    )
    args, words = parse_words(parser, argv)
    if (args.video is None) == (args.command == "show"):
        raise UsageError(f"{args.command}: show requires a video id; no other command accepts one")
    if words and args.command != "add":
        raise UsageError(f"only add accepts settings, got {words[0]!r}")
    read_cache_info(args.cache)
    return COMMANDS[args.command](args, words)


def ls(args: Any, _words: list[str]) -> int:
    """Print one line per clip."""
    manifest, total = read_manifest(args.cache), 0
    print(f"{'id':24}{'split':>6}{'frames':>8}{'boxes':>8}{'pairs':>8}{'MB':>9}  relations")
    for video_id, row in sorted(manifest.items()):
        try:
            reader = ClipReader(clip_path(args.cache, video_id))
        except ItemError as error:
            print(f"{video_id:24}  {error}")
            continue
        size = clip_path(args.cache, video_id).stat().st_size
        total += size
        counts = f"{row.frames:8}{row.boxes:8}{row.pairs:8}"
        split = reader.header.split or "-"
        sources = ", ".join(reader.relations) or "none"
        print(f"{video_id:24}{split:>6}{counts}{size / 1e6:9.2f}  {sources}")
    print(f"{len(manifest)} clips, {total / 1e6:.2f} MB")
    return EXIT_OK


def show(args: Any, _words: list[str]) -> int:
    """Print the header of one clip and the shapes of its arrays."""
    manifest = read_manifest(args.cache)
    if args.video not in manifest:
        hint = "ls lists the ids"
        if (whole := Span.video_of(args.video)) in manifest:
            hint = f"it is the id of a part of the video {whole}, use: show {args.cache} {whole}"
        raise UsageError(
            f"show: id of a video in {args.cache} expected, got {args.video!r}; {hint}"
        )
    try:
        clip = load_clip(clip_path(args.cache, args.video))
    except ItemError as error:
        raise UsageError(str(error)) from error
    print(json.dumps(json.loads(clip.header.to_json()), indent=2, ensure_ascii=False))
    for name, value in vars(clip).items():
        if isinstance(value, Tensor):
            print(f"{name:16} {tuple(value.shape)!s:22} {value.dtype}")
    for source, value in clip.predicates.items():
        print(f"{'predicates':16} {tuple(value.shape)!s:22} {source}")
    return EXIT_OK


def verify(args: Any, _words: list[str]) -> int:
    """Compare every byte with the manifest, and check that all numbers are finite."""
    clips, bad = list_clips(args.cache, verify=True)
    for entry in tqdm(clips, desc="verify", unit="clip", disable=None):
        try:
            check_finite(load_clip(entry.path))
        except ItemError as error:
            bad[entry.video_id] = error
    for problem in bad.values():
        print(f"bad: {problem}")
    print(f"verify: {len(clips) + len(bad)} clips, {len(bad)} bad")
    return EXIT_FAILURES if bad else EXIT_OK


def prune(args: Any, _words: list[str]) -> int:
    """Remove unusable clips, stale temporary files and manifest lines without a file.

    A clip is unusable if it is damaged or unlisted, or the last extraction of its video failed.
    """
    _, bad = list_clips(args.cache, verify=True)
    manifest = read_manifest(args.cache)
    unusable = [clip_path(args.cache, video_id) for video_id in bad]
    for path in filter(Path.is_file, unusable):
        print(f"{'would remove' if args.dry_run else 'removed'} {path.name}")
    if not args.dry_run:
        for path in unusable:
            path.unlink(missing_ok=True)
        Manifest(args.cache).write({k: v for k, v in manifest.items() if k not in bad})
        for path in sweep_temporary_files(args.cache):
            print(f"removed {path.name}")
    print(f"prune: {len(unusable)} clips; run pipeline.extract to extract them again")
    return EXIT_OK


def add(args: Any, words: list[str]) -> int:
    """Add predicted relations to every clip that has no relations of this predictor.

    Neither the videos nor the detector is required.

    Raises:
        UsageError: if settings are missing or unknown, or the predictor does not fit the cache.
    """
    others = [word for word in words if not word.startswith(_FOR_ADD)]
    if others:
        raise UsageError(
            f"add: only the settings relations, relation_predictor and device expected, got "
            f"{others[0]!r}; use pipeline.extract for other settings"
        )
    config = load_config(None, words)
    if config.relations is not Relations.predicted:
        raise UsageError(
            "add: the settings relations=predicted relation_predictor.weights=FILE expected"
        )
    file = find_predictor(config.relation_predictor)
    info = read_cache_info(args.cache)
    clips, bad = list_clips(args.cache, verify=True)
    _check_first(file, info, clips)
    model = load_predictor(file, pick_device(config.device))
    manifest, done, found = read_manifest(args.cache), 0, len(clips) + len(bad)
    for entry in tqdm(clips, desc="add", unit="clip", disable=None):
        if entry.header.predictor == file.to_dict():
            continue
        try:
            clip = load_clip(entry.path)
            check_finite(clip)
            new = with_predicted(clip, model, file.to_dict())
            replace_clip(args.cache, new, manifest[entry.video_id])
            done += 1
        except ItemError as error:
            bad[entry.video_id] = error
    for problem in bad.values():
        print(f"bad: {problem}")
    print(
        f"add {PREDICTED}: found {found}, done {done}, skipped {found - done - len(bad)}, "
        f"failed {len(bad)}"
    )
    return EXIT_FAILURES if bad else EXIT_OK


def _check_first(file: PredictorFile, info: CacheInfo, clips: Sequence[ClipEntry]) -> None:
    """Check that a predictor fits a cache, using the first readable clip.

    Raises:
        UsageError: if the predictor does not fit the cache.
    """
    for entry in clips:
        with suppress(ItemError):
            check_predictor_on_cache(file, info, entry.path)
            return


COMMANDS: dict[str, Callable[[Any, list[str]], int]]
COMMANDS = {"ls": ls, "show": show, "verify": verify, "prune": prune, "add": add}

if __name__ == "__main__":
    run_command(main)
