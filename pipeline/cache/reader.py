"""Reader of cached clips, which loads all or some of their frames."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.cache.clip import (
    BOX_ARRAYS,
    FRAME_ARRAYS,
    HALF_ARRAYS,
    INSTANCES,
    PAIR_ARRAYS,
    SCHEMA,
    CachedClip,
    ClipHeader,
    frames_with_predicates,
)
from pipeline.cache.clip_checks import PREDICATES, check_offsets
from pipeline.cache.tensor_header import KEPT_HEADERS
from pipeline.cache.tensor_rows import Spans, TensorRows
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
        relations: relation sources stored in the file.

    Raises:
        ItemError: BAD_CACHE if the file is missing, damaged, or of another schema.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from detection.detections import Detections
        >>> from pipeline.cache.clip import CachedClip, ClipHeader, ClipSource, clip_bytes
        >>> from pipeline.cache.reader import ClipReader
        >>> from relations.graph import RelationGraph
        >>> boxes = torch.tensor([[0.0, 0, 4, 8], [3, 3, 7, 6]])
        >>> labels, scores = torch.tensor([0, 1]), torch.ones(2)
        >>> frame = Detections(boxes, labels, scores, torch.eye(2), torch.zeros(2, 16), (48, 64))
        >>> clip = CachedClip.of_frames(
        ...     ClipHeader("V1", "0" * 64, ClipSource(75), {}, "ground-truth", "box"),
        ...     frame_index=torch.tensor([0, 25, 50]),
        ...     timestamps_s=torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64),
        ...     detections=[frame] * 3,
        ...     graphs=[RelationGraph.empty(union_channels=4)] * 3,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "V1.safetensors"
        ...     _ = path.write_bytes(clip_bytes(clip))
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
        file = self._file
        self.header = parse_clip_header(file.metadata.get("laiar", "null"))
        self._predicates = tuple(name for name in file.arrays if name.startswith(PREDICATES))
        self.relations = tuple(name.removeprefix(PREDICATES) for name in self._predicates)
        self._groups = {
            "box_offsets": (*BOX_ARRAYS, INSTANCES) if INSTANCES in file.arrays else BOX_ARRAYS,
            "pair_offsets": (*PAIR_ARRAYS, *self._predicates),
        }
        self._small = {name: file.read(name) for name in (*FRAME_ARRAYS, *self._groups)}
        for offsets, names in self._groups.items():
            rows = file.arrays[names[0]].num_rows
            check_offsets(offsets, self._small[offsets], self.num_frames, rows)
            for name in names:
                if (found := file.arrays[name].num_rows) != rows:
                    raise ValueError(f"{name}: {rows} rows expected, got {found}")

    @property
    def num_frames(self) -> int:
        """Number of frames T in the file."""
        return len(self._small["frame_index"])

    @property
    def frame_index(self) -> Tensor:
        """(T,) int64 frame numbers in the video, 0-based."""
        return torch.from_numpy(self._small["frame_index"].copy())

    def has_relations(self, source: str) -> Tensor:
        """Return a mask of the frames that have predicates of a relation source.

        Args:
            source: relation source.

        Returns:
            (T,) bool, True for frames in which a pair has a predicate above 0.

        Raises:
            ItemError: BAD_CACHE if the file is damaged or does not contain this source.
        """
        with _as_bad_cache(self.path):
            predicates = torch.from_numpy(self._file.read(f"{PREDICATES}{source}"))
            offsets = torch.from_numpy(self._small["pair_offsets"])
            return frames_with_predicates(predicates, offsets)

    def labels(self, source: str) -> tuple[Tensor, Tensor]:
        """Read the classes and predicates of pairs, without their features.

        Only frames that have predicates of the source are read (`has_relations`).

        Args:
            source: relation source.

        Returns:
            (P, 2) int64 object classes of the human and the object of each pair, and its (P, R)
            float32 predicates.

        Raises:
            ItemError: BAD_CACHE if the file is damaged or does not contain this source.
        """
        known = self.has_relations(source)
        with _as_bad_cache(self.path):
            names = ("labels", "pairs", f"{PREDICATES}{source}")
            labels, pairs, predicates = (torch.from_numpy(self._file.read(n)) for n in names)
            offsets = torch.from_numpy(self._small["box_offsets"])
            counts = torch.from_numpy(self._small["pair_offsets"]).diff()
            rows = pairs + torch.repeat_interleave(offsets[:-1], counts)[:, None]
            here = known.repeat_interleave(counts)
            return labels[rows][here], predicates[here].float()

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
        if picked != sorted({*picked} & {*range(self.num_frames)}):
            raise ValueError(
                f"rows: increasing rows in [0, {self.num_frames}) expected, got {picked}"
            )
        with _as_bad_cache(self.path):
            return self._read(picked, half)

    def _read(self, picked: list[int], half: bool) -> CachedClip:
        arrays = {name: torch.from_numpy(self._small[name][picked]) for name in FRAME_ARRAYS}
        features: list[tuple[np.ndarray, str, Spans]] = []
        for offsets_name, names in self._groups.items():
            offsets = self._small[offsets_name].tolist()
            ranges = [(offsets[t], offsets[t + 1]) for t in picked]
            counts = accumulate((end - start for start, end in ranges), initial=0)
            arrays[offsets_name] = torch.from_numpy(np.array([*counts], np.int64))
            spans = _merge_spans(ranges)
            for name in names:
                values = self._file.empty(name, spans)
                arrays[name] = torch.from_numpy(values)
                if name in HALF_ARRAYS:
                    features.append((values, name, spans))
                else:
                    self._file.fill(values, name, spans)
        predicates = zip(self.relations, self._predicates, strict=True)
        said = {source: arrays.pop(name).float() for source, name in predicates}
        clip = CachedClip(self.header, **arrays, predicates=said)
        # Megabytes of features displace the code and the data of the checks from the caches of the
        # processor. The features are therefore read after the checks, which do not need them.
        for values, name, parts in features:
            self._file.fill(values, name, parts)
        if half:
            return clip
        return replace(clip, **{name: getattr(clip, name).float() for name in HALF_ARRAYS})


def load_clip(path: Path) -> CachedClip:
    """Read all frames of a clip.

    Raises:
        ItemError: BAD_CACHE if the file is missing, damaged, or of another schema.
    """
    return ClipReader(path).read()


def _merge_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        elif start < end:
            merged.append((start, end))
    return merged


@lru_cache(KEPT_HEADERS)
def parse_clip_header(text: str) -> ClipHeader:
    """Parse the header of a clip, see `ClipHeader.from_json`. Equal headers share one object."""
    return ClipHeader.from_json(text)


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
