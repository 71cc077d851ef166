"""Sizes of the relation predictor."""

from dataclasses import dataclass

SINGLE_FRAME = ("self", "original")
#: Larger networks are mistakes.
MAX_SIZE, MAX_LAYERS = 65536, 256
_NO_COUNT = ("dropout", "single_frame")


@dataclass(frozen=True)
class PredictorSettings:
    """Sizes of STTran (Cong et al., ICCV 2021); the defaults are the published ones.

    Attributes:
        num_objects: O, person first, without background.
        attention, spatial, contacting: predicates of each group; R is their sum.
        feature_width: F of a box; union_channels: Cu of a pair.
        part_width: of the human, the object and the union, each.
        union_width: channels in which union features and spatial masks are added.
        class_width: of an embedding of an object class.
        position_width: of the object classifier's encoding of a box; object_width: of its hidden
            layer.
        encoder_layers: of the spatial encoder, over the pairs of a frame.
        decoder_layers: of the temporal decoder, over the pairs of two frames in a row.
        heads, feedforward, dropout: of both.
        single_frame: `self`: the only frame of a video is its own window. `original`: as the
            original, which leaves zeros there, so that its heads answer with their bias.

    Raises:
        ValueError: for a size that is no whole number from 1 to `MAX_SIZE` (layers: 0 to
            `MAX_LAYERS`), heads that do not divide the width, or another value out of range.
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
                raise ValueError(f"{name}: {low} to {high} expected, got {value!r}")
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
        """D of a pair in the transformer; 1936 as published."""
        return 3 * self.part_width + 2 * self.class_width

    @property
    def num_predicates(self) -> int:
        """R."""
        return self.attention + self.spatial + self.contacting
