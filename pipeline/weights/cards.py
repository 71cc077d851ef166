"""Cards that describe weights, and weights files with a card.

`NAME.safetensors` holds the card in its header; `NAME.json` holds the card and the file's SHA-256.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.config.typed_json import MAX_BYTES, TypedJson, parse_json
from pipeline.errors import StageError, UsageError
from pipeline.runtime.files import file_sha256, write_atomically, write_json

CardT = TypeVar("CardT", bound="Card")


@dataclass(frozen=True)
class Card(TypedJson):
    """Base of the cards."""

    @classmethod
    def read_header(cls: type[CardT], path: Path, setting: str) -> CardT | None:
        """Read the card in the header of a weights file; None if there is none.

        Args:
            path: weights file.
            setting: names the file in error messages.

        Raises:
            UsageError: if the file is not a safetensors file, or its card is damaged.
        """
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get("card")
            return None if text is None else cls.from_dict(parse_json(text))
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(f"{setting}: {path}: {error}") from error


def save_carded(path: Path, state: Mapping[str, Tensor], card: Card, *, half: bool = False) -> str:
    """Write a weights file and its card.

    Args:
        path: ends in `.safetensors`.
        state: tensors by name; `num_batches_tracked` is left out.
        card: describes the weights.
        half: store as float16, which takes half the space; `read_tensors` gives float32.

    Returns:
        SHA-256 of the weights file.

    Raises:
        StageError: if a number is not finite in the stored type; nothing is written then.
    """
    kept = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value = value.detach().cpu().float().clone(memory_format=torch.contiguous_format)
            kept[name] = value.half() if half else value
            if not bool(torch.isfinite(kept[name]).all()):
                raise StageError(
                    f"{path}: finite numbers of {'float16' if half else 'float32'} expected, those "
                    f"of {name} are not; if a training diverged, lower its learning rate, and "
                    "store weights beyond float16 without half"
                )
    tree = card.to_dict()
    data = save(kept, {"card": json.dumps(tree, sort_keys=True)})
    sha256 = hashlib.sha256(data).hexdigest()
    write_atomically(path, data)
    write_json(path.with_suffix(".json"), tree | {"sha256": sha256})
    return sha256


def checked_sha256(path: Path, setting: str) -> str:
    """SHA-256 of a weights file.

    Raises:
        UsageError: if `NAME.json` beside it holds another: the weights have changed since.
    """
    found, card = file_sha256(path), path.with_suffix(".json")
    try:
        wanted = read_json(card)["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        return found
    if wanted != found:
        raise UsageError(
            f"{setting}: {path}: the bytes that {card.name} beside it was written for expected "
            f"(SHA-256 {str(wanted)[:12]}...), these are others ({found[:12]}...); convert or "
            "train it again"
        )
    return found


def read_tensors(path: Path, setting: str) -> dict[str, Tensor]:
    """Tensors of a weights file, float16 as float32; UsageError if it is not a safetensors file."""
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{setting}: {path}: {error}") from error
    return {n: v.float() if v.dtype == torch.float16 else v for n, v in state.items()}


def read_json(path: Path) -> Any:
    """Read a JSON file of the size of a card; ValueError if it is damaged, or OSError."""
    with open(path, "rb") as file:
        return parse_json(file.read(MAX_BYTES + 1))
