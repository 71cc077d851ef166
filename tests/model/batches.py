"""Batches of random tokens."""

import torch
from torch import Tensor

from model.tokens import TokenBatch

GROUPS = {"attention": 2, "spatial": 3, "contacting": 4}


def random_batch(
    mask: Tensor, seed: int = 0, F: int = 12, Cu: int = 6, num_objects: int = 5
) -> TokenBatch:
    g = torch.Generator().manual_seed(seed)
    M = int(mask.sum())
    return TokenBatch(
        mask=mask,
        human_features=torch.randn(M, F, generator=g),
        object_features=torch.randn(M, F, generator=g),
        union_features=torch.randn(M, Cu, 7, 7, generator=g),
        spatial_masks=torch.rand(M, 2, 27, 27, generator=g) - 0.5,
        human_labels=torch.arange(M) % 7 // 6,
        object_labels=torch.randint(1, num_objects, (M,), generator=g),
        times_s=mask.nonzero()[:, 1] * 0.4,
        tracks=mask.nonzero()[:, 2],
        predicates=(torch.rand(M, sum(GROUPS.values()), generator=g) > 0.6).float(),
    )
