"""Reading of cached clips: whole, or some of their frames."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.cache.clip import (
    BOX_ARRAYS,
    FRAME_ARRAYS,
    HALF_ARRAYS,
    PAIR_ARRAYS,
    SCHEMA,
    CachedClip,
    ClipHeader,
    offsets_of,
)
from pipeline.cache.clip_checks import PREDICATES, check_offsets
from pipeline.cache.tensor_rows import TensorRows
from pipeline.errors import FailureReason, ItemError

#: What reading a damaged or foreign file raises.
_DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError)


class ClipReader:
    """Reads a cached clip, or only some of its frames.

    Raises:
        ItemError: BAD_CACHE if the file is missing, damaged, or of another schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _as_bad_cache(path):
            self._file = TensorRows(path)
            try:
                self._read_small()
            except _DAMAGE:
                self._file.close()
                raise

    def _read_small(self) -> None:
        self.header = ClipHeader.from_json(self._file.metadata.get("laiar", "null"))
        names = (*FRAME_ARRAYS, "box_offsets", "pair_offsets")
        self._small = {name: self._file.whole(name) for name in names}
        for name, of in (("box_offsets", "boxes"), ("pair_offsets", "pairs")):
            check_offsets(name, self._small[name], self.num_frames, self._file.num_rows(of))

    @property
    def num_frames(self) -> int:
        """T, all frames in the file."""
        return len(self._small["frame_index"])

    @property
    def frame_index(self) -> Tensor:
        """(T,) int64 frame numbers in the video."""
        return torch.from_numpy(self._small["frame_index"].copy())

    @property
    def relations(self) -> tuple[str, ...]:
        """Relation sources stored in the file."""
        names = self._file.names
        return tuple(n.removeprefix(PREDICATES) for n in names if n.startswith(PREDICATES))

    def has_relations(self, source: str) -> Tensor:
        """(T,) bool: frames in which some pair has a predicate from this source.

        Raises:
            ItemError: BAD_CACHE if the file is damaged or has no such source.
        """
        name = f"{PREDICATES}{source}"
        with _as_bad_cache(self.path):
            said = self._file.read({name: None})[name] > 0
            offsets = torch.from_numpy(self._small["pair_offsets"].copy())
            check_offsets("pair_offsets", offsets, self.num_frames, len(said))
            return offsets_of(said.any(1).long())[offsets].diff() > 0

    def read(self, rows: Sequence[int] | None = None, *, half: bool = False) -> CachedClip:
        """Load frames.

        Args:
            rows: increasing frame rows in [0, T), or None for all.
            half: leave features float16 as they are stored.

        Returns:
            The clip of those frames, features as float32.

        Raises:
            ItemError: BAD_CACHE if the file is damaged.
        """
        picked = list(range(self.num_frames)) if rows is None else list(rows)
        if picked != sorted(set(picked)) or (
            picked and not 0 <= picked[0] <= picked[-1] < self.num_frames
        ):
            raise ValueError(f"rows: increasing, in [0, {self.num_frames}) expected, got {picked}")
        with _as_bad_cache(self.path):
            return CachedClip(self.header, **self._read_arrays(picked, half))

    def _read_arrays(self, picked: list[int], half: bool) -> dict[str, Any]:
        arrays: dict[str, Any] = {
            name: torch.from_numpy(self._small[name][picked]) for name in FRAME_ARRAYS
        }
        predicates = [f"{PREDICATES}{source}" for source in self.relations]
        wanted: dict[str, Sequence[tuple[int, int]] | None] = {}
        for offsets_name, names in (
            ("box_offsets", BOX_ARRAYS),
            ("pair_offsets", (*PAIR_ARRAYS, *predicates)),
        ):
            offsets = self._small[offsets_name].tolist()
            spans = _merge_spans([(offsets[t], offsets[t + 1]) for t in picked])
            for name in names:
                if (rows := self._file.num_rows(name)) != offsets[-1]:
                    raise ValueError(f"{name}: {offsets[-1]} rows expected, got {rows}")
            wanted |= dict.fromkeys(names, spans)
            counts = (offsets[t + 1] - offsets[t] for t in picked)
            running = np.array([0, *accumulate(counts)], np.int64)
            arrays[offsets_name] = torch.from_numpy(running)
        arrays |= self._file.read(wanted)
        for name in () if half else HALF_ARRAYS:
            arrays[name] = arrays[name].float()
        arrays["predicates"] = {
            name.removeprefix(PREDICATES): arrays.pop(name).float() for name in predicates
        }
        return arrays


def load_clip(path: Path) -> CachedClip:
    """Read a whole clip; ItemError BAD_CACHE if it is damaged."""
    return ClipReader(path).read()


def _merge_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        elif start < end:
            merged.append((start, end))
    return merged


@contextmanager
def _as_bad_cache(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        kept = str(error).strip() or type(error).__name__
        raise ItemError(
            FailureReason.BAD_CACHE,
            f"{os.fspath(path)}: a readable {SCHEMA} file expected: {kept}; extract it again",
        ) from error
