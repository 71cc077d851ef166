"""A file of weights with a card: `NAME.safetensors`, and beside it `NAME.json`.

The card without its hash is also in the header of the weights, so that the two cannot part.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import StageError, UsageError
from pipeline.runtime.files import file_sha256, write_atomically, write_json

_MOST_CARD_BYTES = 1 << 20


def save_carded(
    path: Path, state: Mapping[str, Tensor], card: dict[str, Any], *, half: bool = False
) -> str:
    """Write weights and card.

    Args:
        path: ends in `.safetensors`.
        state: tensors by name; counters of batches are left out.
        card: what they are, as JSON.
        half: store as float16 (loaded as float32), for files that travel.

    Returns:
        SHA-256 of the weights file.

    Raises:
        StageError: if a number is not finite, as it is stored; nothing is written then.
    """
    kept = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value = value.detach().cpu().float().clone(memory_format=torch.contiguous_format)
            kept[name] = value.half() if half else value
            _check_storable(path, name, kept[name])
    data = save(kept, {"card": json.dumps(card, sort_keys=True)})
    sha256 = hashlib.sha256(data).hexdigest()
    write_atomically(path, data)
    write_json(path.with_suffix(".json"), card | {"sha256": sha256})
    return sha256


def _check_storable(path: Path, name: str, value: Tensor) -> None:
    if not bool(torch.isfinite(value).all()):
        kind = str(value.dtype).removeprefix("torch.")
        raise StageError(
            f"{path}: finite numbers of {kind} expected, those of {name} are not; if a training "
            "diverged, lower its learning rate, and store weights beyond float16 without half"
        )


def checked_sha256(path: Path, setting: str) -> str:
    """SHA-256 of a weights file.

    Raises:
        UsageError: if the card beside it names another: the weights have changed since.
    """
    found, card = file_sha256(path), path.with_suffix(".json")
    try:
        tree = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    except (OSError, ValueError, RecursionError):
        tree = {}
    wanted = tree.get("sha256") if isinstance(tree, dict) else None
    if wanted is not None and wanted != found:
        raise UsageError(
            f"{setting}: {path}: the bytes that {card.name} beside it was written for expected "
            f"(SHA-256 {str(wanted)[:12]}...), these are others ({found[:12]}...); convert or "
            "train it again"
        )
    return found


def read_card_dict(path: Path, setting: str) -> Any:
    """The card in the header of a weights file, as JSON; None if it has none.

    Raises:
        UsageError: if the file is no safetensors file, or its card is no JSON. `setting` names the
            file in the message, as the next.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("card")
        if text is None:
            return None
        if len(text) > _MOST_CARD_BYTES:
            raise ValueError(f"a card of at most {_MOST_CARD_BYTES} bytes expected")
        return json.loads(text)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise UsageError(f"{setting}: {path}: {error}") from error


def read_tensors(path: Path, setting: str) -> dict[str, Tensor]:
    """Tensors of a weights file, float16 as float32; UsageError if it is no safetensors file."""
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{setting}: {path}: {error}") from error
    return {n: v.float() if v.dtype == torch.float16 else v for n, v in state.items()}
