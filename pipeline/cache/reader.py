"""Reader of cached clips, which loads all or some of their frames."""

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

#: Errors that are raised for damaged files and for files of other formats.
_DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError)


class ClipReader:
    """Reader of a cached clip, which can load only some of its frames.

    The constructor reads the header and the offsets. `read` loads the frames.

    Args:
        path: path of the clip file.

    Attributes:
        path: path of the clip file.
        header: header of the clip.

    Raises:
        ItemError: BAD_CACHE if the file is missing, damaged, or of another schema.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from detection.detections import Detections
        >>> from pipeline.cache.clip import CachedClip, ClipHeader, save_clip
        >>> from pipeline.cache.reader import ClipReader
        >>> from relations.graph import RelationGraph
        >>> frame = Detections(
        ...     boxes=torch.tensor([[0.0, 0, 4, 8], [3, 3, 7, 6]]),
        ...     labels=torch.tensor([0, 1]),
        ...     scores=torch.ones(2),
        ...     distribution=torch.eye(2),
        ...     features=torch.zeros(2, 16),
        ...     image_size=(48, 64),
        ... )
        >>> clip = CachedClip.of_frames(
        ...     ClipHeader("V1", "0" * 64, {}, {}, boxes="ground-truth", feature_source="box"),
        ...     frame_index=torch.tensor([0, 25, 50]),
        ...     timestamps_s=torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64),
        ...     detections=[frame] * 3,
        ...     graphs=[RelationGraph.empty(union_channels=4)] * 3,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "V1.safetensors"
        ...     sha256 = save_clip(path, clip)
        ...     reader = ClipReader(path)
        ...     part = reader.read([0, 2])
        >>> reader.num_frames
        3
        >>> part.frame_index
        tensor([ 0, 50])
        >>> part.boxes.shape
        torch.Size([4, 4])
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
        """Number of frames T in the file."""
        return len(self._small["frame_index"])

    @property
    def frame_index(self) -> Tensor:
        """(T,) int64 frame numbers in the video, 0-based."""
        return torch.from_numpy(self._small["frame_index"].copy())

    @property
    def relations(self) -> tuple[str, ...]:
        """Relation sources stored in the file."""
        names = self._file.names
        return tuple(n.removeprefix(PREDICATES) for n in names if n.startswith(PREDICATES))

    def has_relations(self, source: str) -> Tensor:
        """Return a mask of the frames that have predicates of a relation source.

        Args:
            source: relation source.

        Returns:
            (T,) bool, True for frames in which a pair has a predicate above 0.

        Raises:
            ItemError: BAD_CACHE if the file is damaged or does not contain this source.
        """
        name = f"{PREDICATES}{source}"
        with _as_bad_cache(self.path):
            said = self._file.read({name: None})[name] > 0
            offsets = torch.from_numpy(self._small["pair_offsets"].copy())
            check_offsets("pair_offsets", offsets, self.num_frames, len(said))
            return offsets_of(said.any(1).long())[offsets].diff() > 0

    def labels(self, source: str) -> tuple[Tensor, Tensor]:
        """Read the object classes and predicates of pairs, without their features.

        Only frames that have predicates of the source are read (`has_relations`).

        Args:
            source: relation source.

        Returns:
            (P,) int64 object class of each pair, and its (P, R) float32 predicates.

        Raises:
            ItemError: BAD_CACHE if the file is damaged or does not contain this source.
        """
        name, known = f"{PREDICATES}{source}", self.has_relations(source)
        with _as_bad_cache(self.path):
            found = self._file.read({"labels": None, "pairs": None, name: None})
            boxes, pairs = (
                torch.from_numpy(self._small[key].copy()) for key in ("box_offsets", "pair_offsets")
            )
            rows = found["pairs"][:, 1] + torch.repeat_interleave(boxes[:-1], pairs.diff())
            here = known.repeat_interleave(pairs.diff())
            return found["labels"][rows][here], found[name][here].float()

    def read(self, rows: Sequence[int] | None = None, *, half: bool = False) -> CachedClip:
        """Load frames.

        Args:
            rows: increasing frame rows in [0, T), or None for all frames.
            half: if True, features stay float16, as stored. If False, they are converted to
                float32.

        Returns:
            The clip of these frames.

        Raises:
            ItemError: BAD_CACHE if the file is damaged.
            ValueError: if `rows` are not increasing or are out of range.
        """
        picked = list(range(self.num_frames)) if rows is None else list(rows)
        if picked != sorted(set(picked)) or (
            picked and not 0 <= picked[0] <= picked[-1] < self.num_frames
        ):
            raise ValueError(
                f"rows: increasing rows in [0, {self.num_frames}) expected, got {picked}"
            )
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
    """Read all frames of a clip.

    Raises:
        ItemError: BAD_CACHE if the file is missing, damaged, or of another schema.
    """
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
