"""Transition tokens: what changed since the previous kept token of the same track."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


def previous_kept(
    keep: Bool[Tensor, "B T K"], tracks: Int64[Tensor, "B T K"]
) -> tuple[Int64[Tensor, "B S"], Bool[Tensor, "B S"]]:
    """Find the previous kept token of each token's track.

    Args:
        keep: True for kept tokens.
        tracks: track of each token; read only where `keep` is True.

    Returns:
        For each of the S = T K positions, the position of the last kept token of the same track in
        an earlier frame, and whether it exists (False for tokens that are not kept). The position
        is 0 where none exists.
    """
    return _neighbours(keep, tracks, later=False)


def next_kept(
    keep: Bool[Tensor, "B T K"], tracks: Int64[Tensor, "B T K"]
) -> tuple[Int64[Tensor, "B S"], Bool[Tensor, "B S"]]:
    """Find the next kept token of each token's track: `previous_kept` with the time reversed."""
    return _neighbours(keep, tracks, later=True)


def _neighbours(keep: Tensor, tracks: Tensor, *, later: bool) -> tuple[Tensor, Tensor]:
    B, T, K = keep.shape
    kept, track = keep.flatten(1), tracks.flatten(1)
    frame = torch.arange(T, device=keep.device).repeat_interleave(K)  # (S,)
    rank = T - frame if later else frame + 1
    before = rank[None, :] < rank[:, None]  # (S, S): column before row
    linked = before & kept[:, None, :] & kept[:, :, None]
    linked &= track[:, None, :] == track[:, :, None]
    order = torch.where(linked, rank, 0)  # 0: not linked
    if order.shape[2] == 0:
        return track.new_zeros(B, 0), kept
    nearest, position = order.max(2)
    return torch.where(nearest > 0, position, 0), nearest > 0


class TransitionEncoder(nn.Module):
    """Adds to each token the change since the previous kept token of its track.

        x_i + MLP([x_i, x_i - x_p, 1])  with p the previous kept token of the track of i,
        x_i + MLP([x_i, 0, 0])          if there is none.

    The hidden layer of the MLP has a width of 8 D. The result depends on kept tokens only, and is
    computed anew for every set of kept tokens.

    Args:
        dim: width of the tokens, D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * dim + 1, 8 * dim), nn.GELU(), nn.Linear(8 * dim, dim)
        )

    def forward(
        self,
        tokens: Float[Tensor, "B T K D"],
        keep: Bool[Tensor, "B T K"],
        tracks: Int64[Tensor, "B T K"],
    ) -> Float[Tensor, "B T K D"]:
        """Encode transitions.

        Args:
            tokens: embeddings of the tokens.
            keep: True for kept tokens; other tokens are returned unchanged.
            tracks: track of each token.
        """
        B, T, K, D = tokens.shape
        flat = tokens.reshape(B, T * K, D)
        place, exists = previous_kept(keep, tracks)
        before = flat.gather(1, place[..., None].expand(-1, -1, D))
        has = exists[..., None].to(flat.dtype)
        rows, kept = torch.cat([flat, (flat - before) * has, has], -1), keep.flatten(1)
        change = torch.zeros_like(flat)
        change[kept] = self.mlp(rows[kept]).to(flat.dtype)  # discarded tokens change no rounding
        return (flat + change).view(B, T, K, D)
