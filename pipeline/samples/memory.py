"""Clips that stay in memory from one epoch to the next, with their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip
from pipeline.samples.clip_tokens import FEATURES, ClipTokens, clip_tokens, frame_tokens


@dataclass(frozen=True)
class ClipInMemory:
    """All frames of a clip, without union features, and their tokens with float16 features."""

    clip: CachedClip
    made: ClipTokens

    @staticmethod
    def of_clip(clip: CachedClip, max_pairs: int, relations: str | None) -> "ClipInMemory":
        """Build the tokens of all frames of a clip. See `clip_tokens` for the arguments."""
        made = clip_tokens(clip, max_pairs, relations)
        halved = {name: getattr(made.batch, name).half() for name in FEATURES}
        small = replace(clip, union_features=clip.union_features[:, :0].clone())  # without a view
        return ClipInMemory(small, replace(made, batch=replace(made.batch, **halved)))

    @property
    def num_bytes(self) -> int:
        """Size of the tokens and of the boxes' features."""
        arrays: list[Tensor] = [*self.made.batch.packed.values(), self.clip.box_features]
        return sum(value.nbytes for value in arrays)

    def tokens(self, frames: Sequence[int]) -> TokenBatch:
        """Return the tokens of some frames, as `clip_tokens` does for a clip of these frames."""
        return frame_tokens(self.made, self.clip, frames)


class ClipMemory:
    """Clips in memory, up to a number of bytes.

    The first clips are kept. All others are read anew whenever they are used, because each epoch
    uses every clip once, so that replacing clips would find none of them again.

    Args:
        limit: largest number of bytes; 0 for no clips.
    """

    def __init__(self, limit: int) -> None:
        self._clips: dict[Path, ClipInMemory] = {}
        self._left, self.is_full = limit, limit == 0

    def get(self, path: Path) -> ClipInMemory | None:
        """Return a clip, or None if it is not in memory."""
        return self._clips.get(path)

    def add(self, path: Path, clip: ClipInMemory) -> None:
        """Keep a clip, if there is space for it."""
        self._left -= clip.num_bytes
        self.is_full = self._left < 0
        if not self.is_full:
            self._clips[path] = clip
