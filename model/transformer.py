"""Pre-norm transformer with gated attention (Eqs. 4 to 6)."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Multi-head self-attention with a gate per key.

        a_ij = g_j exp(q_i k_j / sqrt(d)) / sum_l g_l exp(q_i k_l / sqrt(d))

    A key with gate 0 has no effect on the output, but its gate has a gradient, as in DynamicViT.
    If the score of such a key exceeds the largest score of the keys with positive gates, the
    gradient is computed as if both scores were equal. The exact gradient grows exponentially with
    the difference of the scores and makes training diverge. Gates without gradients use the fused
    attention of PyTorch, with the logarithms of the gates as its mask.

    Args:
        dim: width of the tokens, D; a multiple of `heads`.
        heads: number of attention heads.
        dropout: dropout probability of the attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim: a multiple of heads={heads} expected, got {dim}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        gate: Float[Tensor, "B S"],
        places: Int64[Tensor, "N"],
    ) -> Float[Tensor, "N D"]:
        """Apply attention.

        Args:
            x: packed tokens of all sequences.
            gate: gates of the keys in [0, 1]. At least one gate of each sequence must be above 0,
                and those of padding must be 0.
            places: places of the tokens in the flattened (B, S) sequences. All other places are
                padding.
        """
        (B, S), D = gate.shape, x.shape[1]
        packed = unpack(self.qkv(x), places, gate.shape)
        q, k, v = packed.view(B, S, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        if torch.is_grad_enabled() and gate.requires_grad:
            mixed = self._with_gradients_of_gates(q, k, v, gate)
        else:
            bias = gate.to(q.dtype).log()[:, None, None].expand(-1, -1, S, -1)
            dropout = self.dropout.p if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B * S, D)[places])
        return out

    def _with_gradients_of_gates(self, q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5  # (B, heads, S, S)
        allowed = gate[:, None, None].float()
        top = scores.masked_fill(allowed <= 0, float("-inf")).amax(3, keepdim=True).detach()
        gap = scores - top
        weights = torch.where(allowed > 0, gap, gap.clamp(max=0.0)).exp() * allowed
        weights = weights / weights.sum(3, keepdim=True)
        mixed: Tensor = self.dropout(weights).to(v.dtype) @ v
        return mixed


class Block(nn.Module):
    """Transformer block (Eqs. 4 and 5): y = MSA(LN(y)) + y, then y = MLP(LN(y)) + y."""

    def __init__(self, dim: int, heads: int, *, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = round(dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(dim)
        self.attention = GatedAttention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        gate: Float[Tensor, "B S"],
        places: Int64[Tensor, "N"],
    ) -> Float[Tensor, "N D"]:
        """Apply the block, see `GatedAttention.forward` for the arguments."""
        x = x + self.dropout(self.attention(self.norm1(x), gate, places))
        x = x + self.dropout(self.mlp(self.norm2(x)))
        return x


class TransformerEncoder(nn.Module):
    """Transformer encoder (Eqs. 4 to 6): blocks, then LN.

    The layers run on the packed tokens of all sequences. Only attention uses padded sequences.
    """

    def __init__(
        self, dim: int, heads: int, *, layers: int, mlp_ratio: float, dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, heads, mlp_ratio=mlp_ratio, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        gate: Float[Tensor, "B S"],
        real: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Encode sequences.

        Args:
            x: sequences of tokens; token 0 is [class].
            gate: gates of the tokens. [class] must have gate 1, and padding gate 0.
            real: False for padding. If None, there is no padding.

        Returns:
            LN of the last block's outputs, zero for padding. Token 0 is the video representation z
            of Eq. 6.
        """
        real = torch.ones_like(gate, dtype=torch.bool) if real is None else real
        places = real.flatten().nonzero()[:, 0]
        packed = x.flatten(0, 1)[places]
        for block in self.blocks:
            packed = block(packed, gate, places)
        return unpack(self.norm(packed), places, gate.shape)


def unpack(
    packed: Float[Tensor, "N W"], places: Int64[Tensor, "N"], shape: torch.Size
) -> Float[Tensor, "B S W"]:
    """Return sequences of a shape (B, S) with the rows at their places, and zeros elsewhere."""
    rows = packed.new_zeros(shape[0] * shape[1], packed.shape[1])
    return rows.index_copy(0, places, packed).view(*shape, -1)
