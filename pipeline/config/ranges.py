"""Ranges of settings, declared in the metadata of dataclass fields."""

import math
from collections.abc import Collection, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar

from pipeline.errors import UsageError

Value = TypeVar("Value")


def in_range(
    low: float, high: float = math.inf, *, above: bool = False, zero: bool = False
) -> dict[str, Any]:
    """Return the metadata of a field for a number, or a list of numbers, in a range.

    Args:
        low: smallest accepted number.
        high: largest accepted number. By default, every finite number from `low` on is accepted.
        above: if True, the value `low` is excluded.
        zero: if True, 0 is accepted in addition to the range.

    Returns:
        A dict with two keys: `accepts` (a function that checks one number) and `says` (a
        description of the range).
    """
    if high == math.inf:
        says = f"{'above' if above else 'at least'} {low}"
    else:
        says = f"above {low}, at most {high}" if above else f"{low} to {high}"

    def accepts(number: float) -> bool:
        is_inside = low <= number <= high and number < math.inf
        return (is_inside and not (above and number == low)) or (zero and number == 0)

    return {"accepts": accepts, "says": f"0 or {says}" if zero else says}


def ranged(
    default: Value, low: float, high: float = math.inf, *, above: bool = False, zero: bool = False
) -> Value:
    """Return a dataclass field with a default and a range.

    See `in_range` for the arguments.
    """
    return field(default=default, metadata=in_range(low, high, above=above, zero=zero))


def one_of(default: Value, choices: Collection[Any]) -> Value:
    """Return a dataclass field with a default that accepts only the values in `choices`."""
    says = f"one of {', '.join(map(str, choices))}"
    return field(default=default, metadata={"accepts": choices.__contains__, "says": says})


def check_ranges(settings: Any, prefix: str = "") -> None:
    """Check all fields of a dataclass, and of dataclasses nested in it, against their ranges.

    Args:
        settings: instance of a dataclass.
        prefix: text before field names in the message, such as `train.`.

    Raises:
        UsageError: if a value is out of its range. The message names the first such value.
    """
    check_values(type(settings), vars(settings), prefix)


def check_values(kind: Any, values: Mapping[str, Any], prefix: str = "") -> None:
    """Check values against the ranges of the dataclass fields with the same names.

    None is accepted for every field. NaN is rejected for every field, even without a range.

    Args:
        kind: dataclass that declares the ranges.
        values: mapping from name to value. Names that are not fields of `kind` are not checked.
        prefix: text before names in the message.

    Raises:
        UsageError: if a value is out of its range. The message names the first such value.
    """
    for item in fields(kind):
        value, accepts = values.get(item.name), item.metadata.get("accepts")
        if value is None or (accepts is None and isinstance(value, str)):
            continue
        name, says = f"{prefix}{item.name}", item.metadata.get("says", "a number")
        if is_dataclass(value):
            check_ranges(value, f"{name}.")
        for one in value if isinstance(value, list) else [value]:
            is_nan = isinstance(one, float) and math.isnan(one)
            if is_nan or not (one is None or accepts is None or accepts(one)):
                raise UsageError(f"{name}: {says} expected, got {one!r}")
