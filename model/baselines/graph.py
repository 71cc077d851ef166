"""Spatio-temporal graph network over the tokens of a video.

It follows the idea of STIGPN (Wang et al., ACM MM 2021): messages between the pairs of a frame, and
along each pair over time. It is a new design, whose numbers are not those of STIGPN.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from model.tokens import TokenGrid
from model.transitions import next_kept, previous_kept


class SpatialMessages(nn.Module):
    """Messages between the n tokens of a frame, with a learned strength of every edge.

        s_i = 1 / (n - 1) sum_{j != i} sigmoid(q_i k_j / sqrt(D)) v_j,    s_i = 0 if n = 1

    q, k and v are linear functions of the tokens.

    Args:
        dim: width of the tokens, D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(
        self, tokens: Float[Tensor, "B T K D"], mask: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T K D"]:
        """Compute the message to each token; messages to padding have no meaning."""
        q, k, v = self.qkv(tokens).chunk(3, -1)
        others = mask[:, :, None] & ~torch.eye(mask.shape[2], dtype=torch.bool, device=mask.device)
        strength = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).sigmoid() * others  # (B, T, K, K)
        messages: Tensor = strength @ v / others.sum(3, keepdim=True).clamp(min=1)
        return messages


class GraphBlock(nn.Module):
    """Messages within frames, then along tracks, each with residual and layer normalisation.

        h = LN(x),    x_i <- x_i + MLP([h_i, s_i])
        h = LN(x),    x_i <- x_i + MLP([h_i, h_p, h_n])

    s_i is the message of `SpatialMessages`. p and n are the previous and the next token of the
    track of token i, and h_p or h_n is 0 if there is none.

    Args:
        dim: width of the tokens, D.
        hidden: hidden width of the MLPs.
        dropout: dropout probability.
    """

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()

        def mlp(width: int) -> nn.Sequential:
            drop = nn.Dropout(dropout)
            return nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), drop, nn.Linear(hidden, dim), drop
            )

        self.spatial_norm, self.track_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.messages = SpatialMessages(dim)
        self.spatial_mlp, self.track_mlp = mlp(2 * dim), mlp(3 * dim)

    def forward(
        self,
        x: Float[Tensor, "B T K D"],
        mask: Bool[Tensor, "B T K"],
        links: list[tuple[Int64[Tensor, "B S"], Bool[Tensor, "B S"]]],
    ) -> Float[Tensor, "B T K D"]:
        """Apply the block.

        Args:
            x: tokens; those at padding have no effect on the others.
            mask: True for real tokens.
            links: positions of the previous and of the next tokens of the tracks, see
                `previous_kept`.
        """
        h = self.spatial_norm(x)
        x = x + self.spatial_mlp(torch.cat([h, self.messages(h, mask)], -1))
        h = self.track_norm(x).flatten(1, 2)  # (B, S, D)
        near = [
            h.gather(1, place[..., None].expand_as(h)) * exists[..., None]
            for place, exists in links
        ]
        x = x + self.track_mlp(torch.cat([h, *near], -1)).view_as(x)
        return x


class TokenGraph(nn.Module):
    """Graph network over all tokens of a video: blocks, then pooling over the tokens.

        z = [mean_i LN(x_i), max_i LN(x_i)],    z = 0 for a video without tokens

    The hidden width of the MLPs is round((1 + 2 mlp_ratio) D / 7). A block then has as many
    parameters as a block of `TokenTransformer`, (4 + 2 mlp_ratio) D^2 without biases and norms.

    Args:
        dim: width of the tokens, D.
        heads: not used; the arguments are those of `TokenTransformer`.
        layers: number of blocks.
        mlp_ratio: see above.
        dropout: dropout probability.

    Attributes:
        width: width of the result, 2 D.
    """

    def __init__(
        self, dim: int, heads: int, *, layers: int, mlp_ratio: float, dropout: float
    ) -> None:
        super().__init__()
        self.width = 2 * dim
        hidden = round((1 + 2 * mlp_ratio) * dim / 7)
        self.blocks = nn.ModuleList(GraphBlock(dim, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Float[Tensor, "B T K D"], grid: TokenGrid) -> Float[Tensor, "B W"]:
        """Compute the vector z of each video.

        Args:
            tokens: tokens with position encoding.
            grid: grid of the tokens.
        """
        x, mask = tokens, grid.mask
        links = [find(mask, grid.tracks) for find in (previous_kept, next_kept)]
        for block in self.blocks:
            x = block(x, mask, links)
        x, real = self.norm(x).flatten(1, 2), mask.flatten(1)[..., None]
        mean = x.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp(min=1)
        low = torch.finfo(x.dtype).min
        top = F.pad(x.masked_fill(~real, low), (0, 0, 0, 1), value=low).amax(1)  # S may be 0
        return torch.cat([mean, top.masked_fill(~real.any(1), 0.0)], 1)
