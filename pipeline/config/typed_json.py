"""Dataclasses that are stored as JSON and validated when they are read."""

import functools
import json
import math
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from pipeline.config.ranges import check_ranges
from pipeline.errors import UsageError

MAX_BYTES = 1 << 20
_STORED: dict[Any, Any] = {tuple: list, float: int | float}
TypedT = TypeVar("TypedT", bound="TypedJson")


@dataclass(frozen=True)
class TypedJson:
    """Base of the dataclasses that are stored as JSON.

    Tuples are stored as lists, enums as their names, and dataclasses and `dict[str, Any]` as
    objects. Other dicts are stored as lists of [key, value] to keep their order, because the keys
    of objects are sorted in files. A field such as `from_` is stored as `from`.

    Attributes:
        SCHEMA: name and version of the format, stored as `schema`, or None if the format
            has no schema.
        SPARSE: True if fields that are None are not stored.
    """

    SCHEMA: ClassVar[str | None] = None
    SPARSE: ClassVar[bool] = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        schema = {} if self.SCHEMA is None else {"schema": self.SCHEMA}
        return schema | {
            f.name.rstrip("_"): _to_json(f.type, getattr(self, f.name))
            for f in fields(self)
            if not self.SPARSE or getattr(self, f.name) is not None
        }

    @classmethod
    def from_dict(cls: type[TypedT], tree: Any) -> TypedT:
        """Create an instance from JSON.

        Fields with a default may be missing.

        Raises:
            ValueError: if the schema is not that of this class, or if a field is missing, unknown,
                of the wrong type or out of its range (`pipeline.config.ranges`).
        """
        made: TypedT = _from_json(cls, tree, "")
        try:
            check_ranges(made)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return made


def parse_json(text: str | bytes) -> Any:
    """Parse a small JSON text.

    Raises:
        ValueError: if the text is not JSON, is longer than `MAX_BYTES` or is nested too deeply.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes expected")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error


def _to_json(kind: Any, value: Any) -> Any:
    if is_dataclass(kind) and not isinstance(value, TypedJson):
        return {f.name: _to_json(f.type, getattr(value, f.name)) for f in fields(kind)}
    if isinstance(value, Enum):
        return value.name
    if get_origin(kind) is dict and get_args(kind)[1] is not Any:
        return [[key, _as_lists(item)] for key, item in value.items()]
    return _as_lists(value)


def _as_lists(value: Any) -> Any:
    if isinstance(value, TypedJson):
        return value.to_dict()
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _from_json(kind: Any, tree: Any, name: str) -> Any:
    """Convert JSON to a value of a type. The ValueError names the first invalid field."""
    if type(tree) is kind and kind in (str, int, bool):
        return tree
    origin, args = _origin_and_args(kind)
    if origin is Any:
        return tree
    if origin is UnionType:  # X | None
        return None if tree is None else _from_json(args[0], tree, name)
    if origin is dict and args[1] is not Any:
        pairs = _from_json(tuple[tuple[args], ...], tree, name)  # type: ignore[valid-type]
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"{name}: unique keys expected")
        return dict(pairs)
    if is_dataclass(origin):
        return _object_from_json(origin, tree, name)
    if issubclass(origin, Enum):
        if not isinstance(tree, str) or tree not in origin.__members__:
            raise ValueError(f"{name}: one of {', '.join(origin.__members__)} expected, got {tree}")
        return origin[tree]
    stored: Any = _STORED.get(origin, origin)
    if not isinstance(tree, stored) or (isinstance(tree, bool) and origin is not bool):
        raise ValueError(f"{name}: {origin.__name__} expected, got {type(tree).__name__}")
    if origin is float and not _is_finite(tree):
        raise ValueError(f"{name}: a finite number expected, got {str(tree)[:20]}")
    if origin is tuple:
        kinds = args[:1] * len(tree) if args[-1] is ... else args
        if len(kinds) != len(tree):
            raise ValueError(f"{name}: {len(kinds)} items expected, got {len(tree)}")
        return tuple(_from_json(k, item, name) for k, item in zip(kinds, tree, strict=True))
    return tree


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def _object_from_json(kind: Any, tree: Any, name: str) -> Any:
    prefix = f"{name}." if name else ""
    if not isinstance(tree, dict):
        raise ValueError(f"{name or 'text'}: a JSON object expected, got {type(tree).__name__}")
    schema = getattr(kind, "SCHEMA", None)
    if schema is not None and tree.get("schema") != schema:
        raise ValueError(f"{prefix}schema: {schema} expected, got {str(tree.get('schema'))[:80]}")
    # Files also contain the schema. Cards also contain the SHA-256 of the weights file.
    given = {k: v for k, v in tree.items() if not schema or k not in ("schema", "sha256")}
    hints, required = _field_types(kind)
    if unknown := given.keys() - hints.keys():
        raise ValueError(f"{prefix}{min(unknown)}: no such field")
    values = {
        hints[key][0]: _from_json(hints[key][1], value, f"{prefix}{key}")
        for key, value in given.items()
    }
    if missing := required - given.keys():
        raise ValueError(f"{prefix}{min(missing)}: missing")
    try:
        return kind(**values)
    except (TypeError, ValueError, UsageError) as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error


@functools.cache
def _origin_and_args(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(kind) or kind, get_args(kind)


@functools.cache
def _field_types(kind: Any) -> tuple[dict[str, tuple[str, Any]], set[str]]:
    """Return name and type of each field by stored name, and the fields without a default."""
    hints, stored = get_type_hints(kind), {f.name: f.name.rstrip("_") for f in fields(kind)}
    required = {stored[f.name] for f in fields(kind) if f.default is f.default_factory is MISSING}
    return {key: (name, hints[name]) for name, key in stored.items()}, required
