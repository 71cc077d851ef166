"""Card of the weights of a detector."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from detection.build import NetworkSize
from detection.presets import MAX_SHORT_SIDE, PRESETS
from pipeline.weights.cards import Card


@dataclass(frozen=True)
class DetectorCard(Card):
    """Card of the weights of a detector.

    Attributes:
        preset: conventions of the network, a key of `detection.presets.PRESETS`.
        classes: names of the O object classes, person first, without background.
        depth, width, fpn_channels, head_width, anchor_scale: see `detection.build.NetworkSize`.
        short_side: length in pixels to which the short side of a frame is scaled. If None, the
            value of the preset is used.
        origin: sentence that describes how the weights were created.
        details: details of the origin, such as the SHA-256 of the source file, the training
            settings and scores.

    Raises:
        ValueError: if the preset does not exist, a size is out of range, there is no class, or a
            class is listed twice.
    """

    SCHEMA: ClassVar[str] = "laiar.detector/1"

    preset: str
    classes: tuple[str, ...]
    depth: int
    width: int
    fpn_channels: int
    head_width: int
    anchor_scale: float
    short_side: int | None
    origin: str
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset: one of {sorted(PRESETS)} expected, got {self.preset!r}")
        NetworkSize(**{f.name: getattr(self, f.name) for f in fields(NetworkSize)})
        side = self.short_side
        if side is not None and (type(side) is not int or not 32 <= side <= MAX_SHORT_SIDE):
            raise ValueError(f"short_side: 32 to {MAX_SHORT_SIDE} or null expected, got {side!r}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: at least one name expected, without duplicates")
