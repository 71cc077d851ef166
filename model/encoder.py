"""Encoders f_v and f_s, which map relation features to the joint space."""

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
    """Encoder of relation features, with or without a context vector pooled by GPO.

        local = LN(W_1 features),    embedding = LN(W_2 [local, GPO(local)])

    With `mlp`, a perceptron with one hidden layer of width 2 D replaces W_1. The paper has no
    layer normalisation (LN) here. Without it, the norm of the embeddings grows to several hundred
    times the norm of the position embeddings, and the network does not see the order of frames.

    Args:
        width: width of the relation features, W.
        dim: width of the joint space, D.
        mlp: if True, use a perceptron in place of W_1.
        dropout: dropout probability of its hidden layer.
        has_context: if False, the encoder computes only local representations.
    """

    def __init__(
        self, width: int, dim: int, *, mlp: bool, dropout: float, has_context: bool
    ) -> None:
        super().__init__()
        self.project: nn.Module = nn.Linear(width, dim)
        if mlp:
            hidden = 2 * dim
            self.project = nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
            )
        self.norm = nn.LayerNorm(dim)
        self.gpo = GPO() if has_context else None
        self.combine = nn.Linear(2 * dim, dim) if has_context else None
        self.combined_norm = nn.LayerNorm(dim) if has_context else None

    def forward(self, features: Float[Tensor, "M W"]) -> Float[Tensor, "M D"]:
        """Compute local representations of packed relation features."""
        local: Tensor = self.norm(self.project(features))
        return local

    def with_context(
        self, local: Float[Tensor, "B T K D"], pooled: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T K D"]:
        """Compute embeddings in the joint space from local representations and their context.

        Args:
            local: local representations.
            pooled: True for the tokens over which GPO pools the context.

        Raises:
            ValueError: if the encoder was built without context.
        """
        if self.gpo is None or self.combine is None or self.combined_norm is None:
            raise ValueError("context: an encoder with has_context=True expected")
        B, T, K, D = local.shape
        tokens, real = left_align(local.reshape(B, T * K, D), pooled.reshape(B, T * K))
        context, _ = self.gpo(tokens, real.sum(1))
        context = context[:, None, None].expand(B, T, K, D)
        joint: Tensor = self.combined_norm(self.combine(torch.cat([local, context], -1)))
        return joint
