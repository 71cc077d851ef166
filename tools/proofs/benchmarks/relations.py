"""Speed of the relation predictor, compared with STTran's loops over frames and windows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from relations.pair_batch import PairBatch, join_pairs
from relations.settings import PredictorSettings
from relations.spatial_masks import spatial_masks
from relations.sttran import STTran
from tools.proofs.benchmarks.original_relations import predict_as_original
from tools.proofs.benchmarks.timing import count_gmac, matrix_rate, print_rows, time_rounds


@dataclass(frozen=True)
class RelationPlan:
    """Settings of the measurement.

    Attributes:
        num_videos: number of videos per round.
        num_frames: number of frames of a video, T.
        max_pairs: largest number of pairs per frame. The smallest number is 1.
        settings: sizes of the predictor.
        rounds: number of measured rounds.
        device: device of the predictor.
        seed: seed of the weights, pairs and features.
    """

    num_videos: int
    num_frames: int
    max_pairs: int
    settings: PredictorSettings
    rounds: int
    device: torch.device
    seed: int = 0


def benchmark_relations(plan: RelationPlan) -> dict[str, Any]:
    """Measure the predictor on random videos.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with one row per variant and the largest difference of the probabilities.
    """
    torch.manual_seed(plan.seed)
    model = STTran(plan.settings).eval().requires_grad_(False).to(plan.device)
    videos = [random_video(plan, i).to(plan.device) for i in range(plan.num_videos)]
    together = join_pairs(videos)
    variants: dict[str, Callable[[], Any]] = {
        "original formulation": lambda: [predict_as_original(model, video) for video in videos],
        "ours, video by video": lambda: [model(video) for video in videos],
        "ours, all in one batch": lambda: model(together),
    }
    with torch.inference_mode():
        gmac = {name: count_gmac(run) for name, run in variants.items()}
        timed = time_rounds(variants, plan.rounds, plan.device)
        pairs = [(predict_as_original(model, video), model(video)) for video in videos]
        errors = [(a.probabilities() - b.probabilities()).abs().max() for a, b in pairs]
    rate = matrix_rate(torch.float32, plan.device)
    rows = {
        name: {
            "ms_per_video": 1e3 * measured.best_s / plan.num_videos,
            "ratio": timed["original formulation"].best_s / measured.best_s,
            "gmac_per_video": gmac[name] / plan.num_videos,
            "matrix_share": gmac[name] / measured.best_s / rate,
            "peak_bytes": measured.peak_bytes,
        }
        for name, measured in timed.items()
    }
    return {
        "videos": plan.num_videos,
        "pairs_per_video": len(together.pairs) / plan.num_videos,
        "rows": rows,
        "largest_difference": float(max(errors)),
        "matrix_gmac_per_s": rate,
        "seed": plan.seed,
    }


def random_video(plan: RelationPlan, number: int) -> PairBatch:
    """Generate a video of random pairs and features. Every frame has at least one pair."""
    s = plan.settings
    g = torch.Generator().manual_seed(plan.seed * 1000 + number)
    counts = torch.randint(1, plan.max_pairs + 1, (plan.num_frames,), generator=g)
    P = int(counts.sum())
    corner = torch.rand(2 * P, 2, generator=g) * 300
    boxes = torch.cat([corner, corner + 10 + torch.rand(2 * P, 2, generator=g) * 150], 1)
    return PairBatch(
        features=torch.randn(2 * P, s.feature_width, generator=g).relu(),
        labels=torch.randint(0, s.num_objects, (2 * P,), generator=g),
        pairs=torch.arange(2 * P).view(P, 2),
        union_features=torch.randn(P, s.union_channels, 7, 7, generator=g).relu(),
        spatial_masks=spatial_masks(boxes[::2], boxes[1::2]),
        pairs_per_frame=counts,
        frames_per_video=torch.tensor([plan.num_frames]),
    )


def print_relations(result: dict[str, Any]) -> None:
    """Print the table."""
    pairs = f"{result['pairs_per_video']:.1f} pairs"
    print(f"{result['videos']} videos of {pairs}; fastest round\n")
    print_rows(result["rows"], "ms/video", "{ms_per_video:9.1f}", "{gmac_per_video:8.2f}")
    print(f"\nprobabilities differ by at most {result['largest_difference']:.2e}")
