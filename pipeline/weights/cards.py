"""Cards that describe weights, and weights files with a card.

`NAME.safetensors` holds the card in its header; `NAME.json` holds the card and the file's SHA-256.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import StageError, UsageError
from pipeline.runtime.files import file_sha256, write_atomically, write_json

_MAX_CARD_BYTES = 1 << 20
_STORED: dict[Any, Any] = {tuple: list, float: int | float}
CardT = TypeVar("CardT", bound="Card")


@dataclass(frozen=True)
class Card:
    """Base of the cards: a dataclass that is stored as JSON.

    A field is stored according to its type: tuples as lists, dataclasses and `dict[str, Any]` as
    objects, other dicts as lists of [key, value], because files have the keys of objects sorted.
    """

    SCHEMA: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON."""
        return {"schema": self.SCHEMA} | {
            f.name: _to_json(f.type, getattr(self, f.name)) for f in fields(self)
        }

    @classmethod
    def from_dict(cls: type[CardT], tree: Any) -> CardT:
        """Make a card from JSON; fields with a default may be absent.

        Raises:
            ValueError: if the schema is another, or a field is missing, unknown or wrong.
        """
        expected = f"a card of schema {cls.SCHEMA} expected"
        if not isinstance(tree, dict) or tree.get("schema") != cls.SCHEMA:
            raise ValueError(expected)
        try:
            return _from_json(cls, tree, "card")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{expected}: {str(error)[:200]}") from error

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
            return None if text is None else cls.from_dict(_parse_json(text))
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(f"{setting}: {path}: {error}") from error


def _to_json(kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        return asdict(value)
    if get_origin(kind) is dict and get_args(kind)[1] is not Any:
        return [[key, list(names)] for key, names in value.items()]
    return list(value) if isinstance(value, tuple) else value


def _from_json(kind: Any, tree: Any, name: str) -> Any:
    """Make a value of a type; TypeError or ValueError names the first field that is wrong."""
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return tree
    if origin is UnionType:  # X | None
        return None if tree is None else _from_json(args[0], tree, name)
    if origin is dict and args[1] is not Any:
        pairs = _from_json(tuple[tuple[args], ...], tree, name)  # type: ignore[valid-type]
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"{name}: every key once expected")
        return dict(pairs)
    stored: Any = dict if is_dataclass(origin) else _STORED.get(origin, origin)
    if not isinstance(tree, stored) or (isinstance(tree, bool) and origin is not bool):
        raise TypeError(f"{name}: {origin.__name__} expected, got {type(tree).__name__}")
    if stored is dict and origin is not dict:
        hints = get_type_hints(kind)
        given = {key: value for key, value in tree.items() if key not in ("schema", "sha256")}
        if unknown := given.keys() - hints.keys():
            raise ValueError(f"{name}.{min(unknown)}: no such field")
        return origin(**{k: _from_json(hints[k], v, f"{name}.{k}") for k, v in given.items()})
    if origin is tuple:
        kinds = args[:1] * len(tree) if args[-1] is ... else args
        if len(kinds) != len(tree):
            raise ValueError(f"{name}: {len(kinds)} items expected, got {len(tree)}")
        return tuple(_from_json(k, item, name) for k, item in zip(kinds, tree, strict=True))
    return tree


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
        return _parse_json(file.read(_MAX_CARD_BYTES + 1))


def _parse_json(text: str | bytes) -> Any:
    if len(text) > _MAX_CARD_BYTES:
        raise ValueError(f"a card of at most {_MAX_CARD_BYTES} bytes expected")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("a card with less nesting expected") from error
