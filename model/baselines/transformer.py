"""Black-box transformer over the tokens of a video."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from model.encoder import left_align
from model.tokens import TokenGrid
from model.transformer import TransformerEncoder


class TokenTransformer(nn.Module):
    """Transformer over [class] and all tokens of a video, with the blocks of LaIAR (Eqs. 4 to 6).

    Args:
        dim: width of the tokens, D.
        heads: number of attention heads.
        layers: number of blocks.
        mlp_ratio: hidden width of the MLPs, as a multiple of `dim`.
        dropout: dropout probability.

    Attributes:
        width: width of the result, D.
    """

    def __init__(
        self, dim: int, heads: int, *, layers: int, mlp_ratio: float, dropout: float
    ) -> None:
        super().__init__()
        self.width = dim
        self.class_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.encoder = TransformerEncoder(
            dim, heads, layers=layers, mlp_ratio=mlp_ratio, dropout=dropout
        )

    def forward(self, tokens: Float[Tensor, "B T K D"], grid: TokenGrid) -> Float[Tensor, "B D"]:
        """Compute the output z of [class]. Padding is removed.

        Args:
            tokens: tokens with position encoding.
            grid: grid of the tokens.
        """
        x, real = left_align(tokens.flatten(1, 2), grid.mask.flatten(1))
        x = torch.cat([self.class_token.to(x.dtype).expand(len(x), 1, -1), x], 1)
        real = F.pad(real, (1, 0), value=True)
        z: Tensor = self.encoder(x, real.to(x.dtype), real)[:, 0]
        return z
