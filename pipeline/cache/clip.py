"""Cached clips, which contain the boxes, pairs, features and provenance of one video.

Rows of boxes and pairs are sorted by frame. Frame t has the box rows
`box_offsets[t]:box_offsets[t+1]` and the pair rows `pair_offsets[t]:pair_offsets[t+1]`. A reader
can therefore load only the sampled frames. Union boxes and spatial masks are computed from the
boxes and are not stored.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from safetensors.torch import save
from torch import Tensor

from detection.detections import Detections
from pipeline.cache.clip_checks import (
    PREDICATES,
    check_offsets,
    check_pairs,
    check_shapes,
    check_values,
)
from pipeline.config.ranges import ranged
from pipeline.config.typed_json import TypedJson, parse_json
from pipeline.datasets import Span
from pipeline.errors import FailureReason, ItemError
from relations.graph import RelationGraph

SCHEMA = "laiar.clip/1"
#: Relation sources.
GROUND_TRUTH, PREDICTED = "ground-truth", "predicted"
HALF_ARRAYS = ("distribution", "box_features", "union_features")


@dataclass(frozen=True)
class ClipSource(TypedJson):
    """Properties of the video of a clip, see `pipeline.decoding.video_source.VideoSource`.

    All properties of an extracted video are known, except `is_rescaled` in earlier versions.
    """

    SPARSE: ClassVar[bool] = True

    num_frames: int
    sha256: str | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    rotation: int | None = None
    edit_lists: str | None = None
    is_degraded: bool | None = None
    is_rescaled: bool | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an upright frame, in pixels. They must be known."""
        if self.height is None or self.width is None:
            raise ValueError("source: width and height expected")
        return self.height, self.width


@dataclass(frozen=True)
class ClipHeader(TypedJson):
    """Provenance and labels of a cached clip, stored as JSON without paths and times.

    Attributes:
        video_id: file name of the video without suffix. Unsafe names are replaced by safe names.
        fingerprint: SHA-256 over everything that determines the arrays, except the relations.
        source: properties of the video.
        detector: result of `ResolvedDetector.to_dict`, which contains the settings and either the
            SHA-256 of the weights or `random:SEED`.
        boxes: `detected` or `ground-truth`.
        feature_source: `proposal` or `box`, see `detection.detections.Detections`.
        num_uniform: requested number of uniform frames (`frames.num`), or None if only annotated
            frames were extracted.
        split: split of the dataset, or None.
        subject: id of the person in the dataset, or None.
        scene: scene in the dataset, or None.
        length_s: length of the video according to the dataset in seconds, or None.
        predictor: result of `PredictorFile.to_dict` for the relation predictor, or None if the clip
            has no predicted relations.
        actions: (class index, start_s, end_s) of each annotated interval, or None if the video is
            unlabelled.
        labels: SHA-256 of the labels and relations in the annotation of the video
            (`ClipAnnotation.labels_fingerprint`), or None without annotation.
        span_frames: requested number of evenly spaced frames of each span (`frames.num`), or None
            without spans.
        spans: ranges of frames of the video that are samples of their own, or None if the video is
            one sample.
        warnings: codes such as RANDOM_WEIGHTS, DECODE_DEGRADED, and RESCALED_BOXES for annotated
            boxes that are scaled to frames of another size.

    Raises:
        ValueError: if an action has a negative class index.
    """

    SCHEMA: ClassVar[str] = SCHEMA

    video_id: str
    fingerprint: str
    source: ClipSource
    detector: dict[str, Any]
    boxes: str
    feature_source: str
    num_uniform: int | None = ranged(None, 1)
    predictor: dict[str, Any] | None = None
    split: str | None = None
    subject: str | None = None
    scene: str | None = None
    length_s: float | None = None
    actions: tuple[tuple[int, float, float], ...] | None = None
    labels: str | None = None
    warnings: tuple[str, ...] = ()
    spans: tuple[Span, ...] | None = None
    span_frames: int | None = ranged(None, 1)

    def __post_init__(self) -> None:
        if any(index < 0 for index, _, _ in self.actions or ()):
            raise ValueError("actions: class indices of at least 0 expected")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON. The fields of spans are stored only if there are spans."""
        tree = super().to_dict()
        added = () if self.spans is not None else ("spans", "span_frames")
        return {k: v for k, v in tree.items() if k not in added}

    def to_json(self) -> str:
        """Return canonical JSON with sorted keys and without white space."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ClipHeader":
        """Parse the output of `to_json`. See `TypedJson.from_dict` for errors."""
        return cls.from_dict(parse_json(text))


@dataclass(frozen=True)
class CachedClip:
    """T frames of one video with N boxes and P human-object pairs in flat arrays, sorted by frame.

    `distribution` and the features are float32, or float16 if the clip was read with `half=True`.

    Attributes:
        header: provenance and labels.
        frame_index: (T,) int64 frame numbers in the video, 0-based, increasing.
        timestamps_s: (T,) float64 times of the frames in seconds.
        box_offsets: (T + 1,) int64. The boxes of frame t are the rows
            `box_offsets[t]:box_offsets[t+1]`.
        pair_offsets: (T + 1,) int64. The pairs of frame t are the rows
            `pair_offsets[t]:pair_offsets[t+1]`.
        boxes: (N, 4) float32 xyxy, pixels of the decoded frame.
        labels: (N,) int64 object classes.
        scores: (N,) float32 scores of the detector. Annotated boxes have the score 1.
        distribution: (N, O) probabilities of the object classes.
        box_features: (N, F) features of the boxes.
        pairs: (P, 2) int64 rows *within the frame's boxes*, human first.
        union_features: (P, Cu, 7, 7) feature maps of the union boxes.
        predicates: maps each relation source (`ground-truth`, `predicted`) to (P, R) float32
            values in [0, 1].
        instances: (N,) int64 number of the object of each box, equal in all frames of the video, or
            None if unknown.

    Raises:
        ValueError: if array lengths and offsets do not match, an array has a wrong shape, a pair
            refers to a box outside its frame, a box is inverted, a label is not a column of
            `distribution`, or a predicate is not in [0, 1].

    Example:
        >>> import torch
        >>> from pipeline.cache.clip import CachedClip, ClipHeader, ClipSource
        >>> header = ClipHeader("V1", "0" * 64, ClipSource(50), {}, "detected", "proposal")
        >>> clip = CachedClip(
        ...     header=header,
        ...     frame_index=torch.tensor([0, 25]),
        ...     timestamps_s=torch.tensor([0.0, 1.0], dtype=torch.float64),
        ...     box_offsets=torch.tensor([0, 1, 3]),  # one box in frame 0, two in frame 25
        ...     pair_offsets=torch.tensor([0, 0, 1]),  # one pair in frame 25
        ...     boxes=torch.tensor([[0.0, 0, 4, 8], [1, 0, 5, 8], [3, 3, 7, 6]]),
        ...     labels=torch.tensor([0, 0, 1]),
        ...     scores=torch.ones(3),
        ...     distribution=torch.eye(2)[[0, 0, 1]],
        ...     box_features=torch.zeros(3, 16),
        ...     pairs=torch.tensor([[0, 1]]),
        ...     union_features=torch.zeros(1, 4, 7, 7),
        ... )
        >>> clip.pair_rows
        tensor([[1, 2]])
        >>> clip.select([0]).boxes
        tensor([[0., 0., 4., 8.]])
    """

    header: ClipHeader
    frame_index: Tensor
    timestamps_s: Tensor
    box_offsets: Tensor
    pair_offsets: Tensor
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    distribution: Tensor
    box_features: Tensor
    pairs: Tensor
    union_features: Tensor
    predicates: dict[str, Tensor] = field(default_factory=dict)
    instances: Tensor | None = None

    def __post_init__(self) -> None:
        T, N, P = (each.shape[0] for each in (self.frame_index, self.boxes, self.pairs))
        if self.timestamps_s.shape[0] != T:
            raise ValueError(f"timestamps_s: {T} rows expected, got {len(self.timestamps_s)}")
        check_offsets("box_offsets", self.box_offsets, T, N)
        check_offsets("pair_offsets", self.pair_offsets, T, P)
        of_boxes = {name: getattr(self, name) for name in self.box_arrays}
        of_pairs = {name: getattr(self, name) for name in PAIR_ARRAYS}
        of_pairs |= {f"{PREDICATES}{source}": v for source, v in self.predicates.items()}
        check_shapes(of_boxes, N)
        check_shapes(of_pairs, P)
        check_pairs(self.pairs, self.box_offsets, self.pair_offsets)
        check_values(of_boxes | of_pairs)

    @classmethod
    def of_frames(
        cls,
        header: ClipHeader,
        frame_index: Tensor,
        timestamps_s: Tensor,
        detections: Sequence[Detections],
        graphs: Sequence[RelationGraph],
        instances: Tensor | None = None,
    ) -> "CachedClip":
        """Build a clip from the detections and relation graphs of T >= 1 frames.

        Args:
            header: provenance and labels.
            frame_index: (T,) int64 frame numbers in the video.
            timestamps_s: (T,) float64 times of the frames in seconds.
            detections: boxes of each frame.
            graphs: pairs of each frame, all with the same relation source. The predicates are
                stored under this source. With the source `none`, no predicates are stored.
            instances: (N,) int64 number of the object of each box, or None.
        """

        def join(name: str, parts: Sequence[Detections] | Sequence[RelationGraph]) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts]).cpu()

        source = graphs[0].source
        return cls(
            header=header,
            frame_index=frame_index,
            timestamps_s=timestamps_s,
            box_offsets=offsets_of(torch.tensor([len(each) for each in detections])),
            pair_offsets=offsets_of(torch.tensor([len(each) for each in graphs])),
            boxes=join("boxes", detections),
            labels=join("labels", detections),
            scores=join("scores", detections),
            distribution=join("distribution", detections),
            box_features=join("features", detections),
            pairs=join("pairs", graphs),
            union_features=join("union_features", graphs),
            predicates={} if source == "none" else {source: join("predicates", graphs)},
            instances=instances,
        )

    @property
    def box_arrays(self) -> tuple[str, ...]:
        """Names of the arrays with a row per box."""
        return BOX_ARRAYS if self.instances is None else (*BOX_ARRAYS, INSTANCES)

    @property
    def video_id(self) -> str:
        """Id of the video."""
        return self.header.video_id

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.frame_index)

    @property
    def pair_frame(self) -> Tensor:
        """(P,) int64 frame row of each pair."""
        return torch.repeat_interleave(self.pair_offsets.diff())

    @property
    def pair_rows(self) -> Tensor:
        """(P, 2) int64 rows of each pair in the clip's flat boxes, human first."""
        return self.pairs + self.box_offsets[:-1][self.pair_frame][:, None]

    def has_relations(self, source: str) -> Tensor:
        """Return a (T,) bool mask of the frames that have predicates of a relation source.

        Raises:
            KeyError: if the clip does not contain this source.
        """
        return frames_with_predicates(self.predicates[source], self.pair_offsets)

    def select(self, rows: Sequence[int]) -> "CachedClip":
        """Return a clip with only some of the frames.

        Args:
            rows: increasing frame rows in [0, T).
        """
        boxes = _rows_of(self.box_offsets, rows)
        pairs = _rows_of(self.pair_offsets, rows)
        index = torch.tensor(rows, dtype=torch.int64)
        return replace(
            self,
            box_offsets=offsets_of(self.box_offsets.diff()[index]),
            pair_offsets=offsets_of(self.pair_offsets.diff()[index]),
            predicates={name: value[pairs] for name, value in self.predicates.items()},
            **{name: getattr(self, name)[index] for name in FRAME_ARRAYS},
            **{name: getattr(self, name)[boxes] for name in self.box_arrays},
            **{name: getattr(self, name)[pairs] for name in PAIR_ARRAYS},
        )

    def rounded(self) -> "CachedClip":
        """Return a float32 clip whose features are rounded to float16, as in the stored file."""
        return replace(self, **{name: getattr(self, name).half().float() for name in HALF_ARRAYS})


INSTANCES = "instances"
BOX_ARRAYS = ("boxes", "labels", "scores", "distribution", "box_features")
PAIR_ARRAYS = ("pairs", "union_features")
FRAME_ARRAYS = ("frame_index", "timestamps_s")


def clip_bytes(clip: CachedClip) -> bytes:
    """Return the bytes of a clip's safetensors file.

    The bytes of equal clips are equal.

    Raises:
        ItemError: INTERNAL_ERROR if a feature or a predicate is not finite in float16.
    """
    names = (*FRAME_ARRAYS, "box_offsets", "pair_offsets", *clip.box_arrays, *PAIR_ARRAYS)
    relations = {f"{PREDICATES}{source}": value for source, value in clip.predicates.items()}
    arrays = {name: getattr(clip, name) for name in names} | relations
    for name in (*HALF_ARRAYS, *relations):
        arrays[name] = arrays[name].to(torch.float16)
        if not bool(torch.isfinite(arrays[name]).all()):
            raise ItemError(
                FailureReason.INTERNAL_ERROR,
                f"{clip.video_id}: finite float16 values of {name} expected, got NaN or values out "
                "of range. Check the weights of the network",
            )
    arrays = {name: value.cpu().contiguous() for name, value in arrays.items()}
    return save(arrays, metadata={"laiar": clip.header.to_json()})


def _rows_of(offsets: Tensor, frames: Sequence[int]) -> Tensor:
    spans = [torch.arange(int(offsets[t]), int(offsets[t + 1])) for t in frames]
    return torch.cat(spans) if spans else torch.zeros(0, dtype=torch.int64)


def frames_with_predicates(predicates: Tensor, pair_offsets: Tensor) -> Tensor:
    """Return a (T,) bool mask of the frames in which a pair has a predicate above 0.

    Args:
        predicates: (P, R) predicates of the pairs.
        pair_offsets: (T + 1,) int64 first pair of each frame, and P.
    """
    said = (predicates > 0).any(1)
    return offsets_of(said.long())[pair_offsets].diff() > 0


def offsets_of(counts: Tensor) -> Tensor:
    """Return the (n + 1,) offsets of n consecutive groups from their (n,) sizes."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
