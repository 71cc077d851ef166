"""Cached clips with random values."""

from dataclasses import replace
from pathlib import Path

import torch

from pipeline.cache.clip import CachedClip, ClipHeader, ClipSource, clip_bytes
from pipeline.runtime.files import file_sha256, write_atomically


def save_clip(path: Path, clip: CachedClip) -> str:
    """Write a clip file and return its SHA-256."""
    write_atomically(path, clip_bytes(clip))
    return file_sha256(path)


def header(video_id: str = "CLIP1") -> ClipHeader:
    return ClipHeader(
        video_id=video_id,
        fingerprint="f" * 64,
        source=ClipSource(
            sha256="0" * 64,
            fps=25.0,
            num_frames=100,
            width=64,
            height=48,
            duration_s=4.0,
            rotation=0,
            edit_lists="applied",
            is_degraded=False,
        ),
        detector={"weights": "random:0", "preset": "action-genome"},
        boxes="ground-truth",
        feature_source="box",
        split="train",
        actions=((1, 0.5, 2.25), (3, 0.0, 1.0)),
    )


def random_clip(
    counts: list[int], seed: int = 0, video_id: str = "CLIP1", *, predicates: int = 6
) -> CachedClip:
    """Return a clip with `counts[t]` boxes in frame t. The first box of a frame is the person."""
    g = torch.Generator().manual_seed(seed)
    T, N = len(counts), sum(counts)
    pair_counts = [max(n - 1, 0) for n in counts]
    P = sum(pair_counts)
    corner = torch.rand(N, 2, generator=g) * 20
    pairs = [torch.tensor([0, j]) for n in counts for j in range(1, n)]
    return CachedClip(
        header=replace(header(), video_id=video_id),
        frame_index=torch.arange(T) * 3,
        timestamps_s=torch.arange(T, dtype=torch.float64) * 0.12,
        box_offsets=torch.tensor([0, *counts]).cumsum(0),
        pair_offsets=torch.tensor([0, *pair_counts]).cumsum(0),
        boxes=torch.cat([corner, corner + 1 + torch.rand(N, 2, generator=g) * 20], 1),
        labels=torch.cat([torch.tensor([0, *range(1, n)][:n], dtype=torch.int64) for n in counts])
        if N
        else torch.zeros(0, dtype=torch.int64),
        scores=torch.rand(N, generator=g),
        distribution=torch.rand(N, max([5, *counts]), generator=g).half().float(),
        box_features=torch.randn(N, 8, generator=g).half().float(),
        pairs=torch.stack(pairs) if P else torch.zeros(0, 2, dtype=torch.int64),
        union_features=torch.randn(P, 4, 7, 7, generator=g).half().float(),
        predicates={"ground-truth": (torch.rand(P, predicates, generator=g) > 0.5).float()},
    )
