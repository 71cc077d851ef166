"""Sizes of the relation predictor."""

from dataclasses import dataclass, field

SINGLE_FRAME = ("self", "original")
#: Upper limits that reject implausible sizes.
MAX_SIZE, MAX_LAYERS = 65536, 256
_SIZES, _LAYERS = (1, MAX_SIZE), (0, MAX_LAYERS)
_NO_COUNT = ("groups", "exclusive", "kinds", "dropout", "single_frame")
#: Name of the loss of the object classifier, beside the losses of the groups.
OBJECTS = "objects"
#: Sizes of the groups of predicates of Action Genome.
ACTION_GENOME = {"attention": 3, "spatial": 6, "contacting": 17}
#: Kind of pairs: class of the first box, or None if each box is paired with itself; classes of the
#: second box; groups of predicates of these pairs.
PairGroups = tuple[int | None, tuple[int, ...], tuple[str, ...]]


@dataclass(frozen=True)
class PredictorSettings:
    """Sizes of STTran (Cong et al., ICCV 2021). The defaults are the published sizes.

    Attributes:
        num_objects: number of object classes, O, without background. Class 0 is the person.
        groups: number of predicates of each group, in index order.
        exclusive: groups of which a pair has one predicate. The other groups are multi-label.
        kinds: groups of predicates of each kind of pairs. The predicates of all other groups are
            zero. If it is empty, all pairs have all groups.
        feature_width: width of the box features, F.
        union_channels: channels of the union features, Cu.
        part_width: width of each of the three projections (human, object and union).
        union_width: channels of the sum of union features and spatial masks. Must be even.
        class_width: width of an object class embedding.
        position_width: width of the box encoding in the object classifier.
        object_width: width of the hidden layer in the object classifier.
        encoder_layers: number of layers of the spatial encoder (pairs of one frame).
        decoder_layers: number of layers of the temporal decoder (pairs of two consecutive frames).
        heads: number of attention heads in encoder and decoder; a divisor of `width`.
        feedforward: hidden width of the feed-forward networks in encoder and decoder.
        dropout: dropout probability.
        single_frame: treatment of a video in which only the first frame has pairs. With `self`,
            this frame is its own window. With `original`, the output of the decoder is set to zero,
            as in STTran's implementation. The output layers then return their biases.

    Raises:
        ValueError: if a size is not an integer from 1 to `MAX_SIZE` (layers: 0 to `MAX_LAYERS`),
            `heads` does not divide `width`, a group or a class is unknown, or another value is out
            of range.
    """

    num_objects: int = 36
    groups: dict[str, int] = field(default_factory=ACTION_GENOME.copy)
    exclusive: tuple[str, ...] = ("attention",)
    kinds: tuple[PairGroups, ...] = ()
    feature_width: int = 2048
    union_channels: int = 1024
    part_width: int = 512
    union_width: int = 256
    class_width: int = 200
    position_width: int = 128
    object_width: int = 1024
    encoder_layers: int = 1
    decoder_layers: int = 3
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    single_frame: str = "self"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in _NO_COUNT:
                _check_count(name, value, *_LAYERS if name.endswith("layers") else _SIZES)
        self._check_groups()
        if self.union_width % 2:
            raise ValueError(f"union_width: an even number expected, got {self.union_width}")
        if self.width % self.heads:
            raise ValueError(
                f"heads: a divisor of the width {self.width} (3 part_width + 2 class_width) "
                f"expected, got {self.heads}"
            )
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: from 0 to below 1 expected, got {self.dropout!r}")
        if self.single_frame not in SINGLE_FRAME:
            raise ValueError(f"single_frame: self or original expected, got {self.single_frame!r}")

    def _check_groups(self) -> None:
        for name, size in self.groups.items():
            _check_count(f"groups: {name}", size, *_SIZES)
        if not self.groups or OBJECTS in self.groups:
            raise ValueError(
                f"groups: at least one group of predicates expected, with another name than "
                f"{OBJECTS!r}, got {', '.join(self.groups) or 'none'}"
            )
        used = {*self.exclusive}.union(*(groups for _, _, groups in self.kinds))
        if unknown := used - self.groups.keys():
            raise ValueError(
                f"exclusive and kinds: the groups {', '.join(self.groups)} expected, got "
                f"{min(unknown)!r}"
            )
        for subject, objects, _ in self.kinds:
            if not all(0 <= c < self.num_objects for c in (subject or 0, *objects)):
                raise ValueError(
                    f"kinds: object classes from 0 to {self.num_objects - 1} expected, got "
                    f"{subject} and {objects}"
                )

    @property
    def width(self) -> int:
        """Width of a pair in the transformer, D. The published value is 1936."""
        return 3 * self.part_width + 2 * self.class_width

    @property
    def num_predicates(self) -> int:
        """Total number of predicates, R."""
        return sum(self.groups.values())


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if not (type(value) is int and low <= value <= high):
        raise ValueError(f"{name}: an integer from {low} to {high} expected, got {value!r}")
