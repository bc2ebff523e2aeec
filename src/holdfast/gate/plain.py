"""Arguments as plain values, before a condition looks at them: no code of theirs runs later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final

import msgspec

from holdfast.values import limits


class Unclear(Exception):
    """A value cannot be looked at. The text says why, without showing it."""


_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "boolean"), (str, "string"), (int, "number"), (float, "number"), (list, "list"),
    (dict, "mapping"), (bytes, "byte string"),
)  # fmt: skip
_WHOLE_MAX: Final = 2**63 - 1


def kind_of(value: Any) -> str:
    """What sort of thing a plain value is, in a policy's words."""
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


def plain(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON would hold it: enums, paths, decimals, models, tuples, classes of text.

    What is None in a mapping is left out: null counts as not given. Raises `Unclear` for what has
    no such form, or none that could be compared safely.
    """
    kind = type(value)
    if kind is str:
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise Unclear("is no valid text")
        return value
    if kind is bool or value is None or kind is bytes:
        return value
    if kind is int:
        if not -_WHOLE_MAX <= value <= _WHOLE_MAX:
            raise Unclear("is too large a number")
        return value
    if kind is float:
        if math.isnan(value):
            raise Unclear("is not a number (NaN)")
        return value
    if depth > limits.DEPTH_MAX:
        raise Unclear("is nested too deeply")
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each, depth + 1) for each in value]
    return plain(_simpler(value), depth + 1)


def _plain_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in value.items():
        if not isinstance(name, str):
            raise Unclear("has a key that is no text")
        if each is not None:
            found[str.__str__(name)] = plain(each, depth + 1)
    return found


def _simpler(value: Any) -> Any:
    """One step towards a plain value."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float | Decimal):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    dump = getattr(value, "model_dump", None)  # pydantic models, without importing pydantic
    if callable(dump):
        return dump()
    return msgspec.to_builtins(value, builtin_types=(Decimal, bytes))
