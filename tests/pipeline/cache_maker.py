"""Caches of random clips in the format of pipeline.extract."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import (
    CacheInfo,
    ExtractionSettings,
    clip_path,
    store_clip,
    write_cache_info,
)
from pipeline.cache.manifest import MANIFEST, Manifest, ManifestRow, read_manifest
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.runtime.files import append_line, file_sha256, json_sha256
from tests.pipeline.clips import random_clip

VOCABULARY = load_vocabulary("action_genome")
NUM_CLASSES = 5
#: Settings of a network that is small enough for tests. It keeps every token.
SMALL = (
    "model.dim=16", "model.heads=2", "model.layers=1", "model.num_frames=4",
    "model.part_width=8", "model.union_width=4", "boxes=ground-truth",
    "relations=ground-truth", "device=cpu", "train.batch_size=4",
    "model.temporal_selection=false", "model.spatial_selection=false",
)  # fmt: skip


def cache_info(**changes: object) -> CacheInfo:
    """Return the description of `random_cache` with some fields changed."""
    given: dict = {
        "settings": ExtractionSettings("ground-truth"),
        "detector": {"weights": "random:0", "preset": "action-genome"},
        "objects": VOCABULARY.objects,
        "predicate_groups": VOCABULARY.predicate_groups,
        "classes": tuple((f"c{i:03d}", f"Doing thing {i}") for i in range(NUM_CLASSES)),
    }
    return CacheInfo(**(given | changes))


def labelled_clip(number: int, split: str) -> CachedClip:
    """Return a random clip with one or two labels that are determined by its number."""
    counts = [2 + (number + t) % 3 for t in range(6)]
    name = f"{split.upper()}{number:03d}"
    clip = random_clip(counts, 1000 * len(split) + number, name, predicates=26)
    actions = tuple((c, 0.0, 0.5) for c in {number % NUM_CLASSES, number // 2 % NUM_CLASSES})
    return replace(clip, header=replace(clip.header, split=split, actions=actions))


def put(cache: Path, clip: CachedClip) -> None:
    """Add a clip to a cache."""
    store_clip(cache, clip)


def forge(cache: Path, video_id: str, **arrays: Tensor) -> None:
    """Replace arrays of a clip, possibly by invalid ones, and update its manifest line."""
    path = clip_path(cache, video_id)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(save(kept | arrays, metadata))
    row = read_manifest(cache)[video_id]
    Manifest(cache).append(replace(row, sha256=file_sha256(path), bytes=path.stat().st_size))


def manifest_row(video_id: str, **changes: Any) -> ManifestRow:
    """Return a manifest line with some fields changed."""
    return replace(ManifestRow(video_id, "0" * 64, "f" * 64, 1, 3, 2, 1, "train"), **changes)


def append_tree(cache: Path, tree: dict[str, Any]) -> None:
    """Append a manifest line with a valid checksum and any fields."""
    line = json.dumps(tree | {"line": json_sha256(tree)}, sort_keys=True)
    append_line(cache / MANIFEST, line)


def random_cache(cache: Path, train: int = 10, test: int = 4, **changes: object) -> Path:
    """Create a cache folder of random labelled clips and return it."""
    cache.mkdir(parents=True)
    write_cache_info(cache, cache_info(**changes))
    for split, num in (("train", train), ("test", test)):
        for number in range(num):
            put(cache, labelled_clip(number, split))
    return cache
