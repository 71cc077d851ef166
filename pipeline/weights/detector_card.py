"""What a file of detector weights is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from detection.build import NetworkSize
from detection.presets import MAX_SHORT_SIDE, PRESETS
from pipeline.errors import UsageError
from pipeline.weights.cards import read_card_dict, read_tensors, save_carded

DETECTOR_SCHEMA = "laiar.detector/1"
_SETTING = "detection.weights"


@dataclass(frozen=True)
class DetectorCard:
    """What a file of weights is.

    Attributes:
        preset: conventions, a key of `detection.presets.PRESETS`.
        classes: names of the O object classes, person first, without background.
        depth, width, fpn_channels, head_width, anchor_scale: see `detection.build.NetworkSize`.
        short_side: pixels, or None for the preset's.
        origin: where the weights come from, in words.
        details: of the origin: source file's hash, training, scores.

    Raises:
        ValueError: for a preset that is not there, sizes that cannot be, or names that repeat.
    """

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
            raise ValueError(f"preset in {sorted(PRESETS)} expected, got {self.preset!r}")
        NetworkSize(**{f.name: getattr(self, f.name) for f in fields(NetworkSize)})
        side = self.short_side
        if side is not None and (type(side) is not int or not 32 <= side <= MAX_SHORT_SIDE):
            raise ValueError(f"short_side: 32 to {MAX_SHORT_SIDE} or none expected, got {side!r}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: at least one expected, every name once")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"schema": DETECTOR_SCHEMA} | asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_dict(cls, tree: Any) -> "DetectorCard":
        """Inverse of `to_dict`; ValueError for anything else."""
        if not isinstance(tree, dict) or tree.get("schema") != DETECTOR_SCHEMA:
            raise ValueError(f"a card of schema {DETECTOR_SCHEMA} expected")
        try:
            card = cls(
                **{f.name: tree[f.name] for f in fields(cls)}
                | {
                    "classes": tuple(map(str, tree["classes"])),
                    "preset": str(tree["preset"]),
                    "origin": str(tree["origin"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a card of schema {DETECTOR_SCHEMA} expected: {error!r}") from error
        return card


def save_detector(
    path: Path, state: Mapping[str, Tensor], card: DetectorCard, *, half: bool = False
) -> str:
    """Write weights and card; see `save_carded`."""
    return save_carded(path, state, card.to_dict(), half=half)


def read_detector_card(path: Path) -> DetectorCard | None:
    """The card in the header of a weights file; None if it has none.

    Raises:
        UsageError: if the file is no safetensors file, or its card is damaged.
    """
    tree = read_card_dict(path, _SETTING)
    try:
        return None if tree is None else DetectorCard.from_dict(tree)
    except ValueError as error:
        raise UsageError(f"{_SETTING}: {path}: {error}") from error


def read_detector_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file, float16 as float32; UsageError if it is no safetensors file."""
    return read_tensors(path, _SETTING)
