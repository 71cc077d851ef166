"""Small baselines with random weights."""

from dataclasses import replace

import torch

from model.baselines.baseline import Baseline
from model.build import build_baseline
from model.settings import LaIARSettings

SETTINGS = LaIARSettings(
    num_frames=4, max_pairs=6, dim=16, layers=2, heads=2, part_width=8, union_width=4
)


def small(network: str, **changes: object) -> Baseline:
    """Return a small baseline in eval mode."""
    torch.manual_seed(0)
    return build_baseline(
        num_classes=3,
        num_objects=5,
        box_features=12,
        union_channels=6,
        settings=replace(SETTINGS, network=network, **changes),  # type: ignore[arg-type]
    ).eval()
