"""A detector on disk: `NAME.safetensors` and beside it `NAME.json`, its card.

The card without its hash is also in the header of the weights, so that the two cannot part.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.files import write_atomically, write_json

DETECTOR_SCHEMA = "laiar.detector/1"
_MOST_CARD_BYTES = 1 << 20


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

    def to_tree(self) -> dict[str, Any]:
        """As JSON."""
        return {"schema": DETECTOR_SCHEMA} | asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_tree(cls, tree: Any) -> "DetectorCard":
        """Inverse of `to_tree`; ValueError for anything else."""
        if not isinstance(tree, dict) or tree.get("schema") != DETECTOR_SCHEMA:
            raise ValueError(f"a card of schema {DETECTOR_SCHEMA} expected")
        try:
            card = cls(
                **{f.name: tree[f.name] for f in fields(cls)}
                | {"classes": tuple(map(str, tree["classes"]))}
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a card of schema {DETECTOR_SCHEMA} expected: {error!r}") from error
        return card


def save_detector(
    path: Path, state: Mapping[str, Tensor], card: DetectorCard, *, half: bool = False
) -> str:
    """Write weights and card.

    Args:
        path: ends in `.safetensors`.
        state: tensors by name; counters of batches are left out.
        card: what they are.
        half: store as float16 (loaded as float32), for files that travel.

    Returns:
        SHA-256 of the weights file.
    """
    kept = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value = value.detach().cpu().float().contiguous()
            kept[name] = value.half() if half else value
    data = save(kept, {"card": json.dumps(card.to_tree(), sort_keys=True)})
    sha256 = hashlib.sha256(data).hexdigest()
    write_atomically(path, data)
    write_json(path.with_suffix(".json"), card.to_tree() | {"sha256": sha256})
    return sha256


def read_detector_card(path: Path) -> DetectorCard | None:
    """The card in the header of a weights file; None if it has none.

    Raises:
        UsageError: if the file is no safetensors file, or its card is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("card")
        if text is None:
            return None
        if len(text) > _MOST_CARD_BYTES:
            raise ValueError(f"a card of at most {_MOST_CARD_BYTES} bytes expected")
        return DetectorCard.from_tree(json.loads(text))
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"detection.weights: {path}: {error}") from error


def read_detector_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file, float16 as float32; UsageError if it is no safetensors file."""
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"detection.weights: {path}: {error}") from error
    return {n: v.float() if v.dtype == torch.float16 else v for n, v in state.items()}
