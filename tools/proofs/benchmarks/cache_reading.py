"""Speed of reading frames from cached clips, compared with a plain read of the same bytes."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.cache.clip import CachedClip, ClipHeader, ClipSource, clip_bytes
from pipeline.cache.reader import ClipReader, parse_clip_header
from pipeline.cache.tensor_header import parse_header
from tools.proofs.benchmarks.timing import time_rounds

PLAIN = "plain read of the same bytes"
FIRST, LATER = "ClipReader.read, first read", "ClipReader.read, later reads"
_WIDTH, _CHANNELS, _CLASSES = 2048, 1024, 36


@dataclass(frozen=True)
class ReadingPlan:
    """Settings of the measurement.

    Attributes:
        num_clips: number of clips per round.
        num_frames: number of frames of a clip, T.
        num_read: number of random frames that are read from each clip.
        pairs: number of pairs per frame.
        rounds: number of measured rounds.
        seed: seed for generating the features and selecting the frames.
    """

    num_clips: int
    num_frames: int
    num_read: int
    pairs: int
    rounds: int
    seed: int = 0


def benchmark_reading(plan: ReadingPlan) -> dict[str, Any]:
    """Measure the reading speed of files in the system's page cache.

    A process parses the header of a clip when it reads the clip for the first time.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree that maps random frames and whole clips to the megabytes read, the speed of each
        variant, and the time of the plain read divided by the time of `ClipReader.read`.
    """
    rng = np.random.default_rng(plan.seed)
    reads = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.safetensors" for i in range(plan.num_clips)]
        clip = random_clip(plan)
        for path in paths:
            named = replace(clip, header=replace(clip.header, video_id=path.stem))
            path.write_bytes(clip_bytes(named))
        for num in (plan.num_read, plan.num_frames):
            rows = [sorted(rng.choice(plan.num_frames, num, replace=False).tolist()) for _ in paths]
            reads[str(num)] = _measure(plan, clip, dict(zip(paths, rows, strict=True)))
    return {"reads": reads, "clips": plan.num_clips, "frames": plan.num_frames, "seed": plan.seed}


def _measure(plan: ReadingPlan, clip: CachedClip, rows: dict[Path, list[int]]) -> dict[str, Any]:
    spans = {path: _spans(path, clip, picked) for path, picked in rows.items()}

    def plain() -> None:
        for path, parts in spans.items():
            read_plainly(path, parts)

    def first() -> None:
        parse_header.cache_clear()
        parse_clip_header.cache_clear()
        later()

    def later() -> None:
        for path, picked in rows.items():
            ClipReader(path).read(picked, half=True)

    variants: dict[str, Callable[[], Any]] = {PLAIN: plain, FIRST: first, LATER: later}
    timed = time_rounds(variants, plan.rounds, torch.device("cpu"))
    read = sum(size for parts in spans.values() for _, size in parts)
    best = {name: measured.best_s for name, measured in timed.items()}
    return {
        "megabytes": read / 1e6,
        "rows": {
            name: {"megabytes_per_s": read / s / 1e6, "ratio": best[PLAIN] / s}
            for name, s in best.items()
        },
    }


def read_plainly(path: Path, parts: list[tuple[int, int]]) -> np.ndarray:
    """Read the parts (offset, size) of a file one after another into one uint8 array."""
    data = np.empty(sum(size for _, size in parts), dtype=np.uint8)
    view, filled = memoryview(data), 0  # type: ignore[arg-type]
    with open(path, "rb", buffering=0) as file:
        for offset, size in parts:
            file.seek(offset)
            filled += file.readinto(view[filled : filled + size])
    return data


def random_clip(plan: ReadingPlan, width: int = _WIDTH, channels: int = _CHANNELS) -> CachedClip:
    """Return a clip with random boxes and features.

    Args:
        plan: sizes and seed.
        width: width of the box features.
        channels: channels of the union features.
    """
    g = torch.Generator().manual_seed(plan.seed)
    T, K = plan.num_frames, plan.pairs
    N, P = T * (K + 1), T * K
    corners = torch.rand(N, 2, generator=g) * 100
    return CachedClip(
        _header(T),
        frame_index=torch.arange(T),
        timestamps_s=torch.arange(T, dtype=torch.float64),
        box_offsets=torch.arange(T + 1) * (K + 1),
        pair_offsets=torch.arange(T + 1) * K,
        boxes=torch.cat([corners, corners + 50], 1),
        labels=torch.arange(K + 1).repeat(T) % _CLASSES,
        scores=torch.rand(N, generator=g),
        distribution=torch.rand(N, _CLASSES, generator=g),
        box_features=torch.randn(N, width, generator=g).relu(),
        pairs=torch.stack([torch.zeros(K, dtype=torch.int64), torch.arange(1, K + 1)], 1).repeat(
            T, 1
        ),
        union_features=torch.randn(P, channels, 7, 7, generator=g).relu(),
    )


def _header(num_frames: int) -> ClipHeader:
    """Return a header as large as that of an extracted clip."""
    numbers = ("depth", "width", "fpn_channels", "head_width", "anchor_scale", "short_side")
    limits = ("proposals", "max_boxes", "score_threshold", "nms_threshold")
    return ClipHeader(
        "READ",
        "0" * 64,
        ClipSource(
            num_frames, "0" * 64, 29.97, 640, 480, num_frames / 29.97, 0, "applied", False, False
        ),
        {"weights": "0" * 64, "preset": "action-genome", "mode": "exact", "compile": False}
        | dict.fromkeys((*numbers, *limits), 101),
        boxes="detected",
        feature_source="proposal",
        num_uniform=num_frames,
        split="train",
        actions=((7, 1.25, 2.33), (8, 2.57, 3.97)),
        labels="0" * 64,
    )


def _spans(path: Path, clip: CachedClip, picked: list[int]) -> list[tuple[int, int]]:
    """Return (offset, size) of the rows of the selected frames, based on the file header."""
    with open(path, "rb") as file:
        start = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start))
    of_boxes = ("boxes", "labels", "scores", "distribution", "box_features")
    found = []
    for name in (*of_boxes, "pairs", "union_features"):
        low, high = header[name]["data_offsets"]
        offsets = clip.box_offsets if name in of_boxes else clip.pair_offsets
        row = (high - low) // int(offsets[-1])
        for t in picked:
            first, last = int(offsets[t]), int(offsets[t + 1])
            found.append((8 + start + low + first * row, (last - first) * row))
    return found


def print_reading(result: dict[str, Any]) -> None:
    """Print the table."""
    for num, part in result["reads"].items():
        print(
            f"{num} of the {result['frames']} frames of each of {result['clips']} clips, "
            f"{part['megabytes']:.1f} MB in the system's page cache; fastest round\n"
        )
        for name, row in part["rows"].items():
            print(f"{name:30}{row['megabytes_per_s']:10.0f} MB/s  ratio {row['ratio']:.2f}")
        print()
