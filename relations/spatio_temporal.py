"""Transformer of STTran, which consists of a spatial encoder and a temporal decoder.

The spatial encoder attends over the pairs of one frame. The temporal decoder attends over the pairs
of two consecutive frames.

Cong et al., "Spatial-Temporal Transformer for Dynamic Scene Graph Generation", ICCV 2021, Sec. 3.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from relations.settings import PredictorSettings
from relations.windows import Windows, frame_windows, pairs_of_first_frames, two_frame_windows


class TemporalLayer(nn.Module):
    """Layer of the temporal decoder, with attention over a window and a feed-forward network.

        x' = norm(x + attend(x + e, x + e, x)),    x'' = x' + W2 relu(W1 x')

    The frame encodings e are added only to queries and keys, in every layer. There is no layer norm
    after the feed-forward network.

    Args:
        width: number of features of a pair, D.
        heads: number of attention heads.
        feedforward: hidden width of the feed-forward network.
        dropout: dropout probability.
    """

    def __init__(self, width: int, *, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.multihead2 = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "W L D"], encoding: Float[Tensor, "W L D"], padding: Tensor
    ) -> Float[Tensor, "W L D"]:
        """Apply the layer.

        Args:
            x: features of the pairs of each window.
            encoding: frame encodings e.
            padding: (W, L) bool, True for padding.
        """
        key = x + encoding
        seen = self.multihead2(key, key, x, key_padding_mask=padding, need_weights=False)[0]
        x = self.norm3(x + self.dropout(seen))
        hidden = self.dropout(self.linear1(x).relu())
        x = x + self.dropout(self.linear2(hidden))
        return x


class Layers(nn.Module):
    """List of layers with the attribute name of the published checkpoints."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class SpatioTemporalTransformer(nn.Module):
    """Spatial encoder followed by a temporal decoder.

    Args:
        settings: sizes of the relation predictor.
    """

    def __init__(self, settings: PredictorSettings) -> None:
        super().__init__()
        s = settings
        self.single_frame = s.single_frame
        self.local_attention = Layers(
            [
                nn.TransformerEncoderLayer(
                    s.width, s.heads, s.feedforward, s.dropout, batch_first=True
                )
                for _ in range(s.encoder_layers)
            ]
        )
        self.global_attention = Layers(
            [
                TemporalLayer(s.width, heads=s.heads, feedforward=s.feedforward, dropout=s.dropout)
                for _ in range(s.decoder_layers)
            ]
        )
        self.position_embedding = nn.Embedding(2, s.width)
        nn.init.uniform_(self.position_embedding.weight)

    def forward(
        self, x: Float[Tensor, "P D"], pairs_per_frame: Tensor, frames_per_video: Tensor
    ) -> tuple[Float[Tensor, "P D"], Float[Tensor, "P D"]]:
        """Encode pairs.

        Args:
            x: features of the pairs, sorted by frame.
            pairs_per_frame: (T,) int64 number of pairs of each frame.
            frames_per_video: (B,) int64 number of frames of each video.

        Returns:
            A tuple of the temporal decoder's and the spatial encoder's output for each pair.
        """
        if not len(x):
            return x, x
        frames = frame_windows(pairs_per_frame)
        spatial, padding = x[frames.rows], ~frames.mask
        for layer in self.local_attention.layers:
            spatial = layer(spatial, src_key_padding_mask=padding)
        spatial = _back(spatial, frames)
        windows = two_frame_windows(pairs_per_frame, frames_per_video)
        temporal, padding = spatial[windows.rows], ~windows.mask
        encoding = self.position_embedding(windows.is_latter.long())
        for layer in self.global_attention.layers:
            temporal = layer(temporal, encoding, padding)
        result = _back(temporal, windows)
        if self.single_frame == "original":
            alone = pairs_of_first_frames(pairs_per_frame, frames_per_video)
            result = torch.where(alone[:, None], 0.0, result)
        return result, spatial


def _back(values: Tensor, windows: Windows) -> Tensor:
    return values[windows.window, windows.slot]
