"""Sizes of the relation predictor."""

from dataclasses import dataclass

SINGLE_FRAME = ("self", "original")
#: Upper limits that reject implausible sizes.
MAX_SIZE, MAX_LAYERS = 65536, 256
_NO_COUNT = ("dropout", "single_frame")


@dataclass(frozen=True)
class PredictorSettings:
    """Sizes of STTran (Cong et al., ICCV 2021). The defaults are the published sizes.

    Attributes:
        num_objects: number of object classes, O, without background. Class 0 is the person.
        attention: number of attention predicates, A.
        spatial: number of spatial predicates, S.
        contacting: number of contacting predicates, C.
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
            `heads` does not divide `width`, or another value is out of range.
    """

    num_objects: int = 36
    attention: int = 3
    spatial: int = 6
    contacting: int = 17
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
            low, high = (0, MAX_LAYERS) if name.endswith("layers") else (1, MAX_SIZE)
            if name not in _NO_COUNT and not (type(value) is int and low <= value <= high):
                raise ValueError(f"{name}: an integer from {low} to {high} expected, got {value!r}")
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

    @property
    def width(self) -> int:
        """Width of a pair in the transformer, D. The published value is 1936."""
        return 3 * self.part_width + 2 * self.class_width

    @property
    def num_predicates(self) -> int:
        """Total number of predicates, R."""
        return self.attention + self.spatial + self.contacting
