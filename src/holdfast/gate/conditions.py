"""Conditions on arguments: compiled when a policy is loaded, evaluated when an action is judged.

A condition is true, false or *unclear* (the argument is missing, of another type, too long). A
rule's conditions are joined by a three-valued AND: one false is enough to say that the rule does
not match; otherwise one unclear makes the whole unclear, and the judge denies.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final

import msgspec

from holdfast.gate.pattern import BadPattern, TooLong, compile_pattern
from holdfast.gate.reading import Item, clip, suggest

Test = Callable[[Any], bool]
"""Looks at a value; raises `Unclear` if it cannot say."""


class Unclear(Exception):
    """A condition cannot be evaluated. The text says why, without showing the value."""


class _Missing:
    """Type of `_MISSING`."""


_MISSING: Final = _Missing()

_TYPES: Final[dict[type, str]] = {
    str: "string",
    int: "number",
    float: "number",
    Decimal: "number",
    bool: "boolean",
    dict: "mapping",
    list: "list",
    tuple: "list",
    set: "list",
    frozenset: "list",
    bytes: "byte string",
    type(None): "null",
    _Missing: "missing",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one argument must be. ``path`` is as written; ``wants`` are (operator, operand)."""

    path: str
    wants: tuple[tuple[str, Any], ...]
    parts: tuple[str, ...]
    tests: tuple[Test, ...]


def hold(conditions: tuple[Condition, ...], args: Mapping[str, Any]) -> bool | str:
    """Whether all ``conditions`` hold for ``args``; a string says why that cannot be told."""
    unclear = ""
    for condition in conditions:
        try:
            value = _look_up(args, condition.parts)
        except Exception as error:  # noqa: BLE001 - an argument's own code may raise anything
            unclear = unclear or f"{condition.path} {_why(error)}"
            continue
        for test in condition.tests:
            try:
                if not test(value):
                    return False
            except Exception as error:  # noqa: BLE001 - as above
                unclear = unclear or f"{condition.path} {_why(error)}"
    return unclear or True


def _why(error: Exception) -> str:
    if isinstance(error, Unclear | TooLong):
        return str(error)
    return f"cannot be looked at ({type(error).__name__})"  # its text could show the value


def _look_up(args: Any, parts: tuple[str, ...]) -> Any:
    if len(parts) == 1 and type(args) is dict:  # the common case
        value = args.get(parts[0], _MISSING)
        return value if type(value) in _TYPES else _plain(value)
    value = args
    for part in parts:
        if type(value) is dict or isinstance(value, Mapping):
            value = value.get(part, _MISSING)
        elif isinstance(value, list | tuple):
            if not (part.isascii() and part.isdigit() and len(part) <= 9):
                raise Unclear(f"is inside a list, where {part!r} is not a position")
            value = value[int(part)] if int(part) < len(value) else _MISSING
        elif value is None or value is _MISSING:
            return _MISSING
        else:
            raise Unclear(f"is inside a {_type_of(value)}")
        if type(value) not in _TYPES:
            value = _plain(value)
    return value


def _plain(value: Any) -> Any:
    """``value`` as JSON would hold it (numbers stay exact): enums, paths and models too."""
    if type(value) in _TYPES or value is None:
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float | Decimal | Mapping | list | tuple):
        return value
    if isinstance(value, PurePath):
        return str(value)
    dump = getattr(value, "model_dump", None)  # pydantic models, without importing pydantic
    if callable(dump):
        return dump()
    return msgspec.to_builtins(value, builtin_types=(Decimal, bytes))


def _type_of(value: Any) -> str:
    found = _TYPES.get(type(value))
    if found is None:
        found = next((name for kind, name in _TYPES.items() if isinstance(value, kind)), "mapping")
    return found


def _is_nan(value: Any) -> bool:
    return type(value) is not int and math.isnan(value)


def _need(value: Any, want: str) -> None:
    """Raise `Unclear` unless ``value`` is a ``want``: nothing is ever converted to compare it."""
    found = _TYPES.get(type(value)) or _type_of(value)
    if found != want:
        if found in ("missing", "null"):
            raise Unclear("is missing")
        raise Unclear(f"is a {found}, not a {want}")
    if want == "number" and _is_nan(value):
        raise Unclear("is not a number (NaN)")


# Operators: each factory checks its operand at load and returns the test ------------------------


_FAST: Final[dict[str, type]] = {"string": str, "number": int, "boolean": bool}
"""Types for which `_need` has nothing to say: testing for them first keeps the judge fast."""


def _scalar(item: Item, name: str) -> tuple[str, str | int | float]:
    """Type and value of an operand that is a string, number or boolean."""
    value = item.value
    if not isinstance(value, str | int | float):
        hint = "; for an argument that is not given write {absent: true}" if value is None else ""
        item.refuse(f"{name} takes a string, number or boolean, not {item.describe()}{hint}")
    return _type_of(value), value


def _number(item: Item, name: str) -> int | float:
    value = item.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        item.refuse(f"{name} takes a number, not {item.describe()}")
    return value


def _order(item: Item, name: str) -> Test:
    operand = _number(item, name)
    exact = Decimal(str(operand))  # 0.1 in a policy means one tenth when the argument is a Decimal
    compare: Callable[[Any, Any], bool] = getattr(operator, name)

    def test(value: Any) -> bool:
        if type(value) is not int:
            _need(value, "number")
        return compare(value, exact if isinstance(value, Decimal) else operand)

    return test


def _equal(item: Item, name: str) -> Test:
    want, operand = _scalar(item, name)
    exact = Decimal(str(operand)) if want == "number" else None
    fast = _FAST[want]

    def test(value: Any) -> bool:
        if type(value) is not fast:
            _need(value, want)
        return bool(value == (exact if isinstance(value, Decimal) else operand))

    return test


def _not(make: Callable[[Item, str], Test]) -> Callable[[Item, str], Test]:
    def factory(item: Item, name: str) -> Test:
        inner = make(item, name)
        return lambda value: not inner(value)

    return factory


def _among(item: Item, name: str) -> Test:
    items = item.items(name)
    if not items:
        item.refuse(f"{name} is an empty list")
    wants = {_scalar(entry, f"{name} (each entry)")[0] for entry in items}
    if len(wants) > 1:
        item.refuse(f"{name} mixes types: {', '.join(sorted(wants))}")
    want = wants.pop()
    operands = frozenset(_scalar(entry, name)[1] for entry in items)
    exact = frozenset(Decimal(str(each)) for each in operands) if want == "number" else operands
    fast = _FAST[want]

    def test(value: Any) -> bool:
        if type(value) is not fast:
            _need(value, want)
        return value in (exact if isinstance(value, Decimal) else operands)

    return test


def _matches(item: Item, name: str) -> Test:
    text = item.text(name)
    try:
        pattern = compile_pattern(text)
    except BadPattern as error:
        item.refuse(f"{name} {clip(text)}: {error}")

    def test(value: Any) -> bool:
        if type(value) is not str:
            _need(value, "string")
        return pattern.matches(value)

    return test


def _starts_with(item: Item, name: str) -> Test:
    text = item.text(name)

    def test(value: Any) -> bool:
        if type(value) is not str:
            _need(value, "string")
        return value.startswith(text)

    return test


def _ends_with(item: Item, name: str) -> Test:
    text = item.text(name)

    def test(value: Any) -> bool:
        if type(value) is not str:
            _need(value, "string")
        return value.endswith(text)

    return test


def _contains(item: Item, name: str) -> Test:
    want, operand = _scalar(item, name)
    if operand == "":
        item.refuse(f"{name} is empty")
    equal = _equal(item, name)

    def test(value: Any) -> bool:
        if isinstance(value, str) and isinstance(operand, str):
            return operand in value
        _need(value, "list")
        entries = [_plain(entry) for entry in value]
        of_type = [entry for entry in entries if _type_of(entry) == want]
        if any(equal(entry) for entry in of_type if want != "number" or not _is_nan(entry)):
            return True
        for entry in entries:  # not found; but an entry of another type could be meant to be it
            _need(entry, want)
        return False

    return test


def _absent(item: Item, name: str) -> Test:
    if not isinstance(item.value, bool):
        item.refuse(f"{name} takes true or false, not {item.describe()}")
    expect = item.value is (name == "absent")
    return lambda value: (value is None or value is _MISSING) is expect


OPERATORS: Final[dict[str, Callable[[Item, str], Test]]] = {
    "eq": _equal,
    "ne": _not(_equal),
    "lt": _order,
    "le": _order,
    "gt": _order,
    "ge": _order,
    "in": _among,
    "not_in": _not(_among),
    "matches": _matches,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "contains": _contains,
    "present": _absent,
    "absent": _absent,
}
"""Every operator of the policy language and what compiles it."""

_MEANT: Final = {
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "==": "eq",
    "!=": "ne",
    "lte": "le",
    "gte": "ge",
    "max": "le",
    "min": "ge",
    "equals": "eq",
    "regex": "matches",
    "pattern": "matches",
    "prefix": "starts_with",
    "suffix": "ends_with",
    "exists": "present",
    "missing": "absent",
    "has": "contains",
    "one_of": "in",
}
"""What other languages call an operator, for the suggestion in an error."""


def compile_condition(path: str, item: Item) -> Condition:
    """The condition ``path: item`` of a rule's ``args``; raises `Misuse` with its line."""
    parts = tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path))
    if not all(parts) or not path.isprintable():
        item.refuse_key(f"argument {clip(path)} must be names joined by dots, as in 'items.0.sku'")
    if isinstance(item.value, tuple):
        item.refuse(f"{path} must be one value or operators, not a list; write {{in: [...]}}")
    if not isinstance(item.value, Mapping):
        value = _scalar(item, path)[1]
        return Condition(path, (("eq", value),), parts, (_equal(item, path),))
    wants: list[tuple[str, Any]] = []
    tests: list[Test] = []
    for name, operand in item.mapping(f"the condition on {path}").items():
        make = OPERATORS.get(name)
        if make is None:
            operand.refuse_key(
                f"unknown operator {clip(name)} for {path}: {suggest(name, OPERATORS, _MEANT)}"
            )
        tests.append(make(operand, name))
        wants.append((name, _written(operand)))
    return Condition(path, tuple(wants), parts, tuple(tests))


def _written(item: Item) -> Any:
    """The operand as plain data, for the policy's canonical form."""
    return [entry.value for entry in item.value] if isinstance(item.value, tuple) else item.value
