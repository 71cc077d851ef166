"""Small relation predictors and random pairs for tests."""

from collections.abc import Sequence

import torch

from relations.pair_batch import PairBatch
from relations.settings import PredictorSettings
from relations.spatial_masks import spatial_masks
from relations.sttran import STTran

SMALL = PredictorSettings(
    num_objects=5,
    groups={"attention": 3, "spatial": 4, "contacting": 5},
    feature_width=8,
    union_channels=4,
    part_width=8,
    union_width=4,
    class_width=4,
    position_width=4,
    object_width=8,
    decoder_layers=2,
    heads=4,
    feedforward=16,
)


def small_predictor(settings: PredictorSettings = SMALL, seed: int = 0) -> STTran:
    """Return a predictor in eval mode whose batch normalisation has random statistics."""
    torch.manual_seed(seed)
    model = STTran(settings)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.running_mean) * 0.1  # type: ignore[arg-type]
            module.running_var = torch.rand_like(module.running_var) + 0.5  # type: ignore[arg-type]
    return model.eval()


def random_pairs(counts: Sequence[Sequence[int]], seed: int = 0) -> PairBatch:
    """Return the pairs of random videos, with `counts[b][t]` pairs in frame t of video b."""
    g = torch.Generator().manual_seed(seed)
    flat = [n for video in counts for n in video]
    P = sum(flat)
    corner = torch.rand(2 * P, 2, generator=g) * 20
    boxes = torch.cat([corner, corner + 1 + torch.rand(2 * P, 2, generator=g) * 20], 1)
    return PairBatch(
        features=torch.randn(2 * P, 8, generator=g),
        labels=torch.randint(0, 5, (2 * P,), generator=g),
        pairs=torch.arange(2 * P).view(P, 2),
        union_features=torch.randn(P, 4, 7, 7, generator=g),
        spatial_masks=spatial_masks(boxes[::2], boxes[1::2]),
        pairs_per_frame=torch.tensor(flat, dtype=torch.int64),
        frames_per_video=torch.tensor([len(video) for video in counts], dtype=torch.int64),
    )
