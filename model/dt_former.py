"""DT-Former, which consists of position embeddings, token selectors and a transformer encoder."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.encoder import RelationEncoder, left_align
from model.noise import VideoNoise
from model.selector import TokenSelector, frame_means
from model.settings import LaIARSettings
from model.subset_selector import (
    SubsetSelector,
    keep_probability,
    preserving_subset,
    selection_loss,
)
from model.tokens import ActionOutput, TokenGrid
from model.transformer import TransformerEncoder
from model.transitions import TransitionEncoder

#: Readout of action logits from z, the tokens and their gates, see `Readout.forward`.
Head = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Standard deviation of position embeddings. That of the normalised tokens is about 1.
POSITION_SCALE = 0.5
#: Angular frequencies of the code of time, in radians per second: lowest and highest.
_RATES = (0.2, 8.0)


@dataclass(frozen=True)
class Selection:
    """Token selection of one branch.

    If the caller provides a mask of tokens to keep, `spatial`, `gate` and `probability` equal it.

    Attributes:
        temporal: (B, T) gates of the temporal selector, 0 or 1.
        spatial: (B, T, K) gates of the spatial selector, 0 or 1.
        gate: (B, T, K) product of both gates, zero for padding.
        probability: (B, T, K) product of both keep probabilities, zero for padding.
    """

    temporal: Tensor
    spatial: Tensor
    gate: Tensor
    probability: Tensor

    @staticmethod
    def given(keep: Bool[Tensor, "B T K"], dtype: torch.dtype) -> "Selection":
        """Return the selection of given tokens, with gates of a dtype."""
        gate = keep.to(dtype)
        return Selection(keep.any(2).to(dtype), gate, gate, gate)

    @property
    def keep(self) -> Tensor:
        """Kept tokens, (B, T, K) bool."""
        return self.gate.detach() > 0.5


@dataclass(frozen=True)
class Encoded:
    """Result of a DT-Former for B videos.

    Attributes:
        z: (B, D) video representation of Eq. 6.
        tokens: (B, L, 2 D) outputs of the transformer for the tokens of its sequence, and its
            inputs without position embeddings, both normalised. Without votes, (B, L, D) outputs.
        gate: (B, L) gates of these tokens.
        embeddings: (B, T, K, D) embeddings of all real tokens in the joint space, zero for padding.
            With context=all, they include the context, as in the paper. Otherwise, they are the
            local representations.
        selection: the selection.
    """

    z: Tensor
    tokens: Tensor
    gate: Tensor
    embeddings: Tensor
    selection: Selection

    def output(self, head: Head, grid: TokenGrid) -> ActionOutput:
        """Return the output of the branch, with the logits of a readout."""
        selection = self.selection
        return ActionOutput(
            logits=head(self.z, self.tokens, self.gate),
            keep_temporal=selection.temporal.detach() > 0.5,
            usable=grid.mask,
            keep_spatial=(selection.spatial.detach() > 0.5) & grid.mask,
            keep=selection.keep,
            keep_gate=selection.gate,
            keep_probability=selection.probability,
            embeddings=self.embeddings,
        )


class DTFormer(nn.Module):
    """Token selection and transformer encoder of a branch (Section 3.1.2).

    Both branches can share one DT-Former.

    Args:
        settings: resolved settings, see `LaIARSettings.resolved`.
        multi_label: True if a video can have several actions.
    """

    def __init__(self, settings: LaIARSettings, *, multi_label: bool = True) -> None:
        super().__init__()
        self.settings, self.multi_label = settings, multi_label
        dim = settings.dim
        slots = settings.max_pairs if settings.positions == "time-slot" else 1
        self.position: nn.Parameter | None = None
        if settings.positions != "seconds":
            drawn = torch.randn(settings.num_frames, slots, dim)
            self.position = nn.Parameter(drawn * POSITION_SCALE)
        self.transitions = TransitionEncoder(dim) if settings.transitions else None
        self.input_norm = nn.LayerNorm(dim) if settings.votes else None
        self.class_token = nn.Parameter(torch.randn(dim) * 0.02)
        keep, temperature = settings.initial_keep, settings.gumbel_temperature
        self.subset = self.temporal = self.spatial = None
        if settings.selector == "subset":
            self.subset = SubsetSelector(dim, by_frame=not settings.spatial_selection)
        else:
            self.temporal = TokenSelector(dim, initial_keep=keep, temperature=temperature)
            self.spatial = TokenSelector(dim, initial_keep=keep, temperature=temperature)
        self.encoder = TransformerEncoder(
            dim,
            settings.heads,
            layers=settings.layers,
            mlp_ratio=settings.mlp_ratio,
            dropout=settings.dropout,
        )

    def add_position(
        self, tokens: Float[Tensor, "B T K D"], grid: TokenGrid
    ) -> Float[Tensor, "B T K D"]:
        """Add position embeddings: x^(0) = x + e.

        Raises:
            ValueError: if there are more frames or slots than learned position embeddings.
        """
        if self.position is None:
            return tokens + POSITION_SCALE * time_code(grid.times_s, tokens.shape[-1]).to(tokens)
        _, T, K, _ = tokens.shape
        frames, slots, _ = self.position.shape
        if frames < T or (slots > 1 and slots < K):
            raise ValueError(
                f"tokens: at most {frames} frames x {slots} slots expected (a single slot "
                f"applies to all pairs), got {T} frames x {K} slots"
            )
        return tokens + self.position[:T, : K if slots > 1 else 1]

    def select(
        self,
        tokens: Float[Tensor, "B T K D"],
        grid: TokenGrid,
        score: Callable[[Tensor, Tensor], Tensor] | None = None,
        noise: VideoNoise | None = None,
    ) -> Selection:
        """Select frames and tokens.

        With selector=subset, see `preserving_subset`. With selector=gumbel (Eq. 3), the inputs of
        the temporal selector are the mean tokens of the frames, and those of the spatial selector
        are the tokens. The selection is the product of both gates. A disabled selector keeps all
        frames or all tokens.

        Args:
            tokens: tokens without position embeddings and transitions.
            grid: grid of the tokens.
            score: see `preserving_subset`. If None, selector=subset keeps the tokens with z > 0.
            noise: noise of the videos in training mode, see `TokenSelector`.
        """
        mask, s = grid.mask, self.settings
        real = mask.float()
        temporal = p_temporal = real.new_ones(real.shape[:2])
        spatial = p_spatial = torch.ones_like(real)
        if self.subset is not None and s.selects:
            z = self.subset(tokens, grid)
            if score is None:
                keep = mask & (z > 0)
            else:
                keep = preserving_subset(
                    z, mask, score, tolerance=s.tolerance, multi_label=self.multi_label
                )
            spatial, p_spatial = keep.float(), keep_probability(z)
            temporal = keep.any(2).float()
        elif self.subset is None:
            tokens = self.add_position(tokens, grid)
            if self.temporal is not None and s.temporal_selection:
                means = frame_means(tokens, mask)
                temporal, p_temporal = self.temporal(means, self.class_token, noise)
            if self.spatial is not None and s.spatial_selection:
                spatial, p_spatial = self.spatial(tokens, self.class_token, noise)
        return Selection(
            temporal,
            spatial,
            temporal[..., None] * spatial * real,
            p_temporal[..., None] * p_spatial * real,
        )

    def selection_loss(
        self,
        tokens: Float[Tensor, "B T K D"],
        grid: TokenGrid,
        encoder: RelationEncoder,
        head: Head,
        *,
        price: float,
        noise: VideoNoise | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Compute the loss of the selector, which trains nothing else (`selection_loss`).

        Predictions are made in eval mode, without dropout.

        Args:
            tokens: local representations of the tokens.
            grid: places, times and tracks of the tokens.
            encoder: encoder of this branch, see `forward`.
            head: readout of the action logits.
            price: price of a token in nats.
            noise: noise of the videos. If None, it is drawn.

        Returns:
            A tuple of the loss and the mean number of drawn tokens per video.
        """
        assert self.subset is not None
        tokens = tokens.detach()

        def score(keep: Tensor) -> Tensor:
            n = len(keep)
            views, places = tokens.repeat(n, 1, 1, 1), grid.repeat(n)
            encoded = self(views, places, encoder, keep=keep.flatten(0, 1), gather=True)
            logits: Tensor = head(encoded.z, encoded.tokens, encoded.gate).unflatten(0, (n, -1))
            return logits

        training = self.training
        self.eval()
        try:
            return selection_loss(
                self.subset,
                self.subset(tokens, grid),
                grid.mask,
                score,
                price=price,
                multi_label=self.multi_label,
                noise=noise,
            )
        finally:
            self.train(training)

    def forward(
        self,
        local: Float[Tensor, "B T K D"],
        grid: TokenGrid,
        encoder: RelationEncoder,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
        head: Head | None = None,
        noise: VideoNoise | None = None,
    ) -> Encoded:
        """Select tokens and encode the video.

        Args:
            local: local representations of the tokens.
            grid: places, times and tracks of the tokens.
            encoder: encoder of this branch, which computes the context. It is not used with
                context=none.
            keep: tokens to keep. If None, the selectors determine them.
            gather: if True and discard=mask, discarded tokens are removed from the transformer's
                sequence, as padding always is. If False, their gates are set to zero. The result is
                the same up to rounding errors, but the gates of removed tokens get no gradient.
                This option has no effect with discard=zero.
            head: readout of the action logits, with which selector=subset checks in eval mode that
                the selection preserves the prediction. If None, this is not checked.
            noise: noise of the videos in training mode. If None, it is drawn.

        Raises:
            ValueError: if there are more frames or slots than position embeddings.
        """
        mask, before = grid.mask, self.settings.context == "all"
        embedded = encoder.with_context(local, mask) if before else local
        score = None
        if head is not None and keep is None and not self.training:

            @torch.no_grad()
            def score(videos: Tensor, keep: Tensor) -> Tensor:
                some = grid.videos(videos)
                encoded = self(local[videos], some, encoder, keep=keep, gather=True)
                return head(encoded.z, encoded.tokens, encoded.gate)

        if keep is None:
            selection = self.select(embedded, grid, score, noise)
        else:
            selection = Selection.given(keep & mask, local.dtype)
        kept, x = selection.keep, embedded
        if self.transitions is not None:
            x = self.transitions(x, kept, grid.tracks)
        if self.settings.context == "kept":
            x = encoder.with_context(x, kept)
        inputs, embedded = (value.masked_fill(~mask[..., None], 0.0) for value in (x, embedded))
        x = self.add_position(inputs, grid)
        gate = selection.gate.to(x.dtype)
        x, inputs = (x * gate[..., None]).flatten(1, 2), inputs.flatten(1, 2)  # (B, T K, D)
        gate = gate.flatten(1)  # (B, T K)
        masked, real = self.settings.discard == "mask", None
        first = self.class_token.to(x.dtype).expand(len(x), 1, -1)
        if masked:  # remove padding, and with `gather` also discarded tokens
            rows = (kept if gather else mask).flatten(1)
            values = (left_align(v, rows) for v in (x, inputs, gate[..., None]))
            (x, left), (inputs, _), (gates, _) = values
            gate = gates[..., 0] * left  # (B, L)
            real = F.pad(left, (1, 0), value=True)
        keys = gate if masked else mask.flatten(1).to(x.dtype)
        keys = torch.cat([keys.new_ones(len(x), 1), keys], 1)
        outputs = self.encoder(torch.cat([first, x], 1), keys, real)
        tokens = outputs[:, 1:]
        if self.input_norm is not None:
            tokens = torch.cat([tokens, self.input_norm(inputs).to(tokens.dtype)], -1)
        return Encoded(outputs[:, 0], tokens, gate, embedded, selection)


def time_code(times_s: Float[Tensor, "*N"], dim: int) -> Float[Tensor, "*N dim"]:
    """Compute sines and cosines of times at `dim` / 2 frequencies, spaced geometrically.

    Args:
        times_s: times in seconds.
        dim: width of the code; the last column is 0 if it is odd.
    """
    low, high = (math.log(rate) for rate in _RATES)
    rates = torch.linspace(low, high, dim // 2, device=times_s.device).exp()
    angle = times_s[..., None].float() * rates
    return F.pad(torch.cat([angle.sin(), angle.cos()], -1), (0, dim % 2))
