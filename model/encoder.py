"""f_v and f_s: relation features to the joint space, with context of the whole clip."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.gpo import GPO


def scatter_tokens(
    packed: Float[Tensor, "M D"], mask: Bool[Tensor, "B T K"]
) -> Float[Tensor, "B T K D"]:
    """Packed tokens to their places, zero elsewhere."""
    grid = packed.new_zeros(*mask.shape, packed.shape[1])
    return grid.masked_scatter(mask[..., None], packed)


def left_align(
    tokens: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
) -> tuple[Float[Tensor, "B L D"], Bool[Tensor, "B L"]]:
    """Move the real tokens of each row to its front, in order; L is the most that a row has."""
    longest = int(mask.sum(1).max()) if mask.numel() else 0
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    moved = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
    return moved, mask.gather(1, order)


class RelationEncoder(nn.Module):
    """Linear projection, then GPO's summary beside each token, then back to D.

    Args:
        width: of the relation features.
        dim: D.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        self.gpo = GPO()
        self.combine = nn.Linear(2 * dim, dim)

    def local(
        self, features: Float[Tensor, "M W"], mask: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T K D"]:
        """Local representations, zero where not real."""
        return scatter_tokens(self.project(features), mask)

    def with_context(
        self, local: Float[Tensor, "B T K D"], pooled: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T K D"]:
        """Embeddings in the joint space; the context is GPO over the tokens in `pooled`."""
        B, T, K, D = local.shape
        tokens, real = left_align(local.reshape(B, T * K, D), pooled.reshape(B, T * K))
        context, _ = self.gpo(tokens, real.sum(1))
        context = context[:, None, None].expand(B, T, K, D)
        return self.combine(torch.cat([local, context], -1))
