"""DT-Former: positions, token selection, transformer over [class] and what is kept."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.encoder import RelationEncoder, left_align
from model.selector import TokenSelector, frame_means
from model.settings import LaIARSettings
from model.transformer import TransformerEncoder


@dataclass(frozen=True)
class Selection:
    """Both maps and their product; gates carry gradient, `keep` is the product as bool."""

    temporal: Tensor
    spatial: Tensor
    gate: Tensor
    probability: Tensor

    @property
    def keep(self) -> Tensor:
        """(B, T, K) bool."""
        return self.gate.detach() > 0.5


class DTFormer(nn.Module):
    """Section 3.1.2; one serves both branches."""

    def __init__(self, settings: LaIARSettings) -> None:
        super().__init__()
        self.settings = settings
        dim = settings.dim
        slots = settings.max_pairs if settings.positions == "time-slot" else 1
        self.position = nn.Parameter(torch.randn(settings.num_frames, slots, dim) * 0.02)
        self.class_token = nn.Parameter(torch.randn(dim) * 0.02)
        keep, temperature = settings.initial_keep, settings.gumbel_temperature
        self.temporal = TokenSelector(dim, initial_keep=keep, temperature=temperature)
        self.spatial = TokenSelector(dim, initial_keep=keep, temperature=temperature)
        self.encoder = TransformerEncoder(
            dim,
            settings.heads,
            layers=settings.layers,
            mlp_ratio=settings.mlp_ratio,
            dropout=settings.dropout,
        )

    def add_position(self, tokens: Float[Tensor, "B T K D"]) -> Float[Tensor, "B T K D"]:
        """x^(0) = x + e; ValueError for more frames or slots than there are positions."""
        _, T, K, _ = tokens.shape
        frames, slots, _ = self.position.shape
        if frames < T or (slots > 1 and slots < K):
            raise ValueError(f"at most {frames} frames of {slots} slots expected, got {T} of {K}")
        return tokens + self.position[:T, : K if slots > 1 else 1]

    def select(self, tokens: Float[Tensor, "B T K D"], mask: Bool[Tensor, "B T K"]) -> Selection:
        """Eq. 3 on frames and on tokens; both see x^(0), the selection is their product."""
        real = mask.float()
        temporal = p_temporal = real.new_ones(real.shape[:2])
        spatial = p_spatial = torch.ones_like(real)
        if self.settings.temporal_selection:
            temporal, p_temporal = self.temporal(frame_means(tokens, mask), self.class_token)
        if self.settings.spatial_selection:
            spatial, p_spatial = self.spatial(tokens, self.class_token)
        return Selection(
            temporal,
            spatial,
            temporal[..., None] * spatial * real,
            p_temporal[..., None] * p_spatial * real,
        )

    def forward(
        self,
        local: Float[Tensor, "B T K D"],
        mask: Bool[Tensor, "B T K"],
        encoder: RelationEncoder,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B T K D"], Selection]:
        """Select tokens and encode the video.

        Args:
            local: local representations of the tokens.
            mask: True where a token is real.
            encoder: encoder of this branch; computes the context.
            keep: tokens to keep, or None to let the selectors decide.
            gather: with discard=mask, remove discarded tokens from the transformer's sequence
                instead of setting their gates to zero. The result is the same up to rounding;
                gates of removed tokens get no gradient. No effect with discard=zero.

        Returns:
            z of Eq. 6; embeddings of all real tokens in the joint space, zero where not real; the
            selection.

        Raises:
            ValueError: for more frames or slots than there are positions.
        """
        before = self.settings.context == "all"
        embedded = encoder.with_context(local, mask) if before else local
        selection = self.select(self.add_position(embedded), mask)
        if keep is not None:
            held = (keep & mask).to(local.dtype)
            selection = Selection(selection.temporal, selection.spatial, held, held)
        if not before:
            embedded = encoder.with_context(local, selection.keep)
        embedded = embedded.masked_fill(~mask[..., None], 0.0)
        z = self._encode(self.add_position(embedded), mask, selection, gather=gather)
        return z, embedded, selection

    def _encode(self, x: Tensor, mask: Tensor, selection: Selection, *, gather: bool) -> Tensor:
        gate = selection.gate.to(x.dtype)
        masked = self.settings.discard == "mask"
        keys = (gate if masked else mask.to(x.dtype)).flatten(1)  # (B, T K)
        x = (x * gate[..., None]).flatten(1, 2)  # (B, T K, D)
        if gather and masked:
            x, kept = left_align(x, selection.keep.flatten(1))  # (B, L, D), (B, L)
            keys = kept.to(x.dtype)
        first = self.class_token.to(x.dtype).expand(len(x), 1, -1)
        keys = torch.cat([keys.new_ones(len(x), 1), keys], 1)
        return self.encoder(torch.cat([first, x], 1), keys)
