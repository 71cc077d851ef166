"""Scores of the actions of one video from some of its tokens, and from edited tokens."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.laiar import LaIAR
from model.tokens import TokenBatch

_CHUNK = 128


@dataclass(frozen=True)
class TokenEdit:
    """Other predicates for some tokens of a video.

    Attributes:
        tokens: (E,) int64 tokens, as rows of the batch.
        new: (E, R) bool, their new predicates.
        old: (E, R) bool, predicates by which the tokens are named. None replaces the embeddings.
    """

    tokens: Tensor
    new: Tensor
    old: Tensor | None


class TokenScorer:
    """Computes the scores of the actions of one video under changes of its tokens.

    An edit replaces the visual embedding v of a token in the joint space by

        v + s(new) - s(old),

    with s(new) and s(old) the language embeddings of the token's object class with the new and the
    old predicates. Without old predicates, it replaces v by s(new). With discard=mask, the
    transformer's sequence consists of [class] and the kept tokens. Transitions are computed from
    kept tokens, after the edits. With context=kept, the context is pooled over the kept tokens.

    Args:
        model: network in eval mode with a video branch.
        batch: batch of one video.

    Attributes:
        num_tokens: number of tokens of the video, M.

    Raises:
        ValueError: if the batch does not contain exactly one video.
    """

    def __init__(self, model: LaIAR, batch: TokenBatch) -> None:
        if len(batch) != 1:
            raise ValueError(f"batch: one video expected, got {len(batch)}")
        self._model, self._pairs = model, batch.pairs
        self._tokens, embeddings, self._grid = model.video_tokens(batch)
        self.num_tokens = len(batch.pairs)
        self._mask = batch.mask[0]
        self._visual = embeddings[0][self._mask]

    @torch.no_grad()
    def with_edit(self, edit: TokenEdit) -> "TokenScorer":
        """Return a scorer of the video in which an edit is made."""
        scorer = copy.copy(self)
        scorer._tokens = self._edited([edit])
        scorer._visual = self._visual.clone()
        scorer._visual[edit.tokens.to(self._mask.device)] = self._visual_of([edit])
        return scorer

    @torch.no_grad()
    def logits(
        self, keep: Bool[Tensor, "n M"], edits: Sequence[TokenEdit | None] = ()
    ) -> Float[Tensor, "n C"]:
        """Compute logits for n subsets of the tokens.

        Args:
            keep: tokens to keep, one subset per row. Unusable tokens are never kept.
            edits: edit of the tokens for each subset; empty for none.
        """
        found = []
        for start in range(0, len(keep), _CHUNK):
            part = keep[start : start + _CHUNK]
            grids = torch.zeros(len(part), *self._mask.shape, dtype=torch.bool, device=keep.device)
            grids[:, self._mask] = part
            tokens = self._tokens.expand(len(part), -1, -1, -1)
            if edits:
                tokens = self._edited(edits[start : start + _CHUNK])
            found.append(self._model.score(tokens, self._grid.repeat(len(part)), grids))
        return torch.cat(found) if found else self._tokens.new_zeros(0, 0)

    def scores(
        self, keep: Bool[Tensor, "n M"], edits: Sequence[TokenEdit | None] = ()
    ) -> Float[Tensor, "n C"]:
        """Compute scores (float64) for n subsets of the tokens, see `logits`."""
        logits = self.logits(keep, edits).double()
        return logits.sigmoid() if self._model.former.multi_label else logits.softmax(1)

    def subsets(self, rows: Sequence[Iterable[int]]) -> Bool[Tensor, "n M"]:
        """Return subsets, which are given by the rows of their tokens in the batch."""
        keep = torch.zeros(len(rows), self.num_tokens, dtype=torch.bool)
        for subset, tokens in zip(keep, rows, strict=True):
            subset[list(tokens)] = True
        return keep.to(self._mask.device)

    def leave_one_out(self, kept: Bool[Tensor, "M"]) -> Float[Tensor, "M C"]:
        """Compute the contribution of each kept token to each action.

            contribution[i, c] = logit_c(kept tokens) - logit_c(kept tokens without i)

        Args:
            kept: the kept tokens.

        Returns:
            Contributions in logits, zero for tokens that are not kept.
        """
        rows = kept.nonzero()[:, 0]
        subsets = kept.repeat(len(rows) + 1, 1)
        subsets[torch.arange(len(rows), device=kept.device), rows] = False
        logits = self.logits(subsets)
        contributions = logits.new_zeros(len(kept), logits.shape[1])
        contributions[rows] = logits[-1] - logits[:-1]
        return contributions

    def _edited(self, edits: Sequence[TokenEdit | None]) -> Tensor:
        tokens = self._tokens.repeat(len(edits), 1, 1, 1)
        made = [(view, edit) for view, edit in enumerate(edits) if edit is not None]
        if not made:
            return tokens
        visual = self._visual_of([edit for _, edit in made])
        rows = torch.cat([edit.tokens for _, edit in made]).to(self._mask.device)
        views = torch.tensor([view for view, edit in made for _ in edit.tokens])
        read, _ = self._model.read_tokens(visual, self._pairs[rows])
        t, k = self._mask.nonzero()[rows].unbind(1)
        tokens[views.to(t.device), t, k] = read.to(tokens.dtype)
        return tokens

    def _visual_of(self, edits: Sequence[TokenEdit]) -> Tensor:
        """Return the visual embeddings of the edited tokens, (E, D) for all E tokens."""
        device = self._mask.device
        rows = torch.cat([edit.tokens for edit in edits]).to(device)
        new = torch.cat([edit.new for edit in edits]).to(device)
        old = torch.cat([edit.new if edit.old is None else edit.old for edit in edits]).to(device)
        stays = torch.tensor([edit.old is not None for edit in edits for _ in edit.tokens])
        pairs = self._pairs[rows]
        rest = self._visual[rows] - self._model.embed_labels(pairs, old)
        return self._model.embed_labels(pairs, new) + stays.to(device)[:, None] * rest
