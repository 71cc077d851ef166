"""Encoders f_v and f_s, which map relation features to the joint space with pooled context."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.gpo import GPO


def scatter_tokens(
    packed: Float[Tensor, "M D"], mask: Bool[Tensor, "B T K"]
) -> Float[Tensor, "B T K D"]:
    """Scatter packed tokens to the True positions of `mask`.

    All other positions are zero.
    """
    grid = packed.new_zeros(*mask.shape, packed.shape[1])
    return grid.masked_scatter(mask[..., None], packed)


def left_align(
    tokens: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
) -> tuple[Float[Tensor, "B L D"], Bool[Tensor, "B L"]]:
    """Move the real tokens of each row to its front and keep their order.

    Args:
        tokens: padded rows of tokens.
        mask: True for real tokens.

    Returns:
        A tuple of the left-aligned tokens and their mask. L is the largest number of real tokens
        in a row.
    """
    longest = int(mask.sum(1).max()) if mask.numel() else 0
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    moved = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
    return moved, mask.gather(1, order)


class RelationEncoder(nn.Module):
    """Encoder of relation features with a context vector pooled by GPO.

        local = W_1 features,    embedding = W_2 [local, GPO(local)]

    With `bounded`, local = LN(W_1 features). Without it, the norm of the embeddings grows to
    several hundred times the norm of the position embeddings.

    Args:
        width: width of the relation features, W.
        dim: width of the joint space, D.
        bounded: if True, normalise local representations.
    """

    def __init__(self, width: int, dim: int, *, bounded: bool = False) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        self.norm = nn.LayerNorm(dim) if bounded else nn.Identity()
        self.gpo = GPO()
        self.combine = nn.Linear(2 * dim, dim)

    def local(
        self, features: Float[Tensor, "M W"], mask: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T K D"]:
        """Project packed relation features to local representations, zero for padding."""
        return scatter_tokens(self.norm(self.project(features)), mask)

    def with_context(
        self, local: Float[Tensor, "B T K D"], pooled: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T K D"]:
        """Compute embeddings in the joint space from local representations and their context.

        Args:
            local: local representations.
            pooled: True for the tokens over which GPO pools the context.
        """
        B, T, K, D = local.shape
        tokens, real = left_align(local.reshape(B, T * K, D), pooled.reshape(B, T * K))
        context, _ = self.gpo(tokens, real.sum(1))
        context = context[:, None, None].expand(B, T, K, D)
        return self.combine(torch.cat([local, context], -1))
