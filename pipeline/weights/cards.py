"""Cards, which describe weights files.

`NAME.safetensors` contains the weights and, in its header, the card. `NAME.json` contains the card
and the SHA-256 of `NAME.safetensors`.
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
#: Schema of a card without its version -> kind of the weights, for error messages.
_KINDS = {"laiar.detector": "a detector", "laiar.predictor": "a relation predictor"}


@dataclass(frozen=True)
class Card(TypedJson):
    """Base class of the cards."""

    @classmethod
    def read_header(cls: type[CardT], path: Path, setting: str) -> CardT | None:
        """Read the card from the header of a weights file.

        Args:
            path: path of the weights file.
            setting: name of the setting that contains the path, used in error messages.

        Returns:
            The card, or None if the header has no card.

        Raises:
            UsageError: if the file is not a safetensors file, or its card is invalid.
        """
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get("card")
            if text is None:
                return None
            tree = parse_json(text)
            _check_kind(tree, cls.SCHEMA)
            return cls.from_dict(tree)
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(f"{setting}: {path}: {error}") from error


def _check_kind(tree: Any, schema: str | None) -> None:
    found = tree.get("schema") if isinstance(tree, dict) else None
    names = [_KINDS.get(str(name).partition("/")[0]) for name in (schema, found)]
    if None not in names and names[0] != names[1]:
        raise ValueError(f"weights of {names[0]} expected, got weights of {names[1]}")


def save_carded(path: Path, state: Mapping[str, Tensor], card: Card, *, half: bool = False) -> str:
    """Write a weights file and its card.

    Args:
        path: path of the weights file, with the suffix `.safetensors`.
        state: tensors by name. They are stored as float32. `num_batches_tracked` is not stored.
        card: card that describes the weights.
        half: if True, tensors are stored as float16. `read_tensors` converts them to float32.

    Returns:
        SHA-256 of the weights file.

    Raises:
        StageError: if a value is not finite in the stored type. Nothing is written in this case.
        OSError: if a file cannot be written.
    """
    kept = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value = value.detach().cpu().float().clone(memory_format=torch.contiguous_format)
            kept[name] = value.half() if half else value
            if not bool(torch.isfinite(kept[name]).all()):
                raise StageError(
                    f"{path}: finite numbers of {'float16' if half else 'float32'} expected, got "
                    f"NaN or infinity in {name}. If training diverged, lower the learning "
                    "rate. If the weights exceed the range of float16, store them without half"
                )
    tree = card.to_dict()
    data = save(kept, {"card": json.dumps(tree, sort_keys=True)})
    sha256 = hashlib.sha256(data).hexdigest()
    write_atomically(path, data)
    write_json(path.with_suffix(".json"), tree | {"sha256": sha256})
    return sha256


def checked_sha256(path: Path, setting: str) -> str:
    """Return the SHA-256 of a weights file after comparing it with the SHA-256 in `NAME.json`.

    If `NAME.json` is missing or cannot be read, the comparison is skipped.

    Args:
        path: path of the weights file, `NAME.safetensors`.
        setting: name of the setting that contains the path, used in error messages.

    Raises:
        UsageError: if the SHA-256 in `NAME.json` differs from the SHA-256 of the weights file.
    """
    found, card = file_sha256(path), path.with_suffix(".json")
    try:
        wanted = read_json(card)["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        return found
    if wanted != found:
        raise UsageError(
            f"{setting}: {path}: weights with the SHA-256 in {card.name} expected "
            f"({str(wanted)[:12]}...), got other weights ({found[:12]}...). Convert or train them "
            "again"
        )
    return found


def read_tensors(path: Path, setting: str) -> dict[str, Tensor]:
    """Read the tensors of a weights file, by name.

    float16 tensors are converted to float32.

    Args:
        path: path of the weights file.
        setting: name of the setting that contains the path, used in error messages.

    Raises:
        UsageError: if the file is not a safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{setting}: {path}: {error}") from error
    return {n: v.float() if v.dtype == torch.float16 else v for n, v in state.items()}


def read_json(path: Path) -> Any:
    """Read a small JSON file, such as a card.

    Raises:
        ValueError: if the file is not valid JSON or is longer than `MAX_BYTES`.
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        return parse_json(file.read(MAX_BYTES + 1))
