"""Generalised pooling operator (GPO; Chen et al., CVPR 2021).

The encoders of LaIAR compute their context vectors with GPO.

    pooled_d = sum_k theta_k max_k({x_id}),    theta = softmax(W BiGRU(p_1 … p_n) / temperature)

max_k is the k-th largest of the n values of feature d. p is a sinusoidal positional encoding. The
weights theta depend only on n. The GRU therefore runs once per distinct n of a batch. The result
does not depend on the order of the inputs.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def position_code(num: int, width: int) -> Float[Tensor, "num width"]:
    """Return sinusoidal positional encodings.

        p[k, 2i] = sin(k / 10000^(2i / width)),    p[k, 2i + 1] = cos(k / 10000^(2i / width))

    Args:
        num: number of positions.
        width: width of the encodings. Must be even.
    """
    position = torch.arange(num, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    code = torch.zeros(num, width)
    code[:, 0::2] = torch.sin(position * rate)
    code[:, 1::2] = torch.cos(position * rate)
    return code


class GPO(nn.Module):
    """Generalised pooling of sets of different sizes.

    Args:
        d_pe: width of the positional encoding. Must be even.
        d_hidden: hidden width of the GRU.
        temperature: temperature of the softmax over ranks.
    """

    def __init__(self, d_pe: int = 32, d_hidden: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        self.d_pe, self.temperature = d_pe, temperature
        self.gru = nn.GRU(d_pe, d_hidden, 1, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(d_hidden, 1, bias=False)

    def forward(
        self, features: Float[Tensor, "B K D"], lengths: Int64[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B L 1"]]:
        """Pool each set into one vector.

        Args:
            features: B padded sets. The first `lengths[b]` rows of set b are real. All other rows
                are ignored.
            lengths: sizes of the sets, 0 to K.

        Returns:
            A tuple of the pooled features and the weights by rank. The features of an empty set
            are zero. Weights of ranks beyond the size of a set are zero. L is the largest size,
            at least 1.
        """
        B, K, D = features.shape
        longest = max(int(lengths.max()) if B else 0, 1)
        if K == 0 or B == 0:
            return features.new_zeros(B, D), features.new_zeros(B, longest, 1)
        real = torch.arange(longest, device=features.device) < lengths[:, None]  # (B, L)
        weights = self._weights(lengths, longest).to(features.dtype)
        weights = weights.masked_fill(~real[:, :, None], 0.0)
        values = features[:, :longest].masked_fill(~real[:, :, None], float("-inf"))
        ranked = values.sort(1, descending=True).values.masked_fill(~real[:, :, None], 0.0)
        return (ranked * weights).sum(1), weights

    def _weights(self, lengths: Tensor, longest: int) -> Tensor:
        """Return (B, L, 1) float32 weights, computed once per distinct length."""
        distinct, row = lengths.clamp(min=1).unique(return_inverse=True)  # (U,), (B,)
        code = position_code(longest, self.d_pe).to(lengths.device)
        packed = pack_padded_sequence(
            code.expand(len(distinct), -1, -1),
            distinct.cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=longest)
        forward, backward = hidden.chunk(2, 2)
        scores: Tensor = self.linear((forward + backward) / 2)
        real = torch.arange(longest, device=lengths.device) < distinct[:, None]  # (U, L)
        scores = scores.masked_fill(~real[:, :, None], -10000.0)
        return (scores.float() / self.temperature).softmax(1)[row]
