"""What programs declare of the meaning of values: facts of tools, narrow results of agents."""

from __future__ import annotations

import datetime as dt
import inspect
import types
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from holdfast.gate.labels import parse_label
from holdfast.gate.tools import ToolFacts
from holdfast.values.errors import Misuse


def tool_facts(
    *,
    output: str = "",
    endorses: bool = False,
    derives: bool = False,
    deciding: Sequence[str] | None = None,
    content: Sequence[str] | None = None,
    target: str = "",
    amount: str = "",
) -> ToolFacts:
    """What a tool says of its own arguments and results, for `tool`. A policy's entry wins, whole.

    ``output``: the label of what it returns ("untrusted/confidential"), "" to work it out;
    ``endorses``: that label holds whatever went in; ``derives``: it makes its output from what it
    was given. ``deciding``: arguments that decide what happens; ``content``: those that carry text
    or files out; ``target``: to whom or what; ``amount``: how much. `Misuse` for an unknown label.
    """
    try:
        label = parse_label(output) if output else None
    except ValueError as error:
        raise Misuse(f"tool_facts: output: {error}; say it as untrusted/internal") from None
    return ToolFacts(
        ("*",), output=label, endorses=endorses, derives=derives, target=target, amount=amount,
        deciding=None if deciding is None else tuple(deciding),
        content=None if content is None else tuple(content),
    )  # fmt: skip


def constants_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """The constants of the module of a function that stand above it, by name: text, numbers, and
    tuples and frozen sets of these. What can change is none."""
    # INVARIANT E97: read once, when the agent is declared; what a run does changes no constant
    module: dict[str, Any] = getattr(fn, "__globals__", {})
    return {name: value for name, value in module.items() if _is_constant(value)}


def _is_constant(value: Any, depth: int = 0) -> bool:
    if type(value) in (str, int, float):
        return True
    if type(value) not in (tuple, frozenset) or depth > 3:
        return False
    return all(_is_constant(one, depth + 1) for one in value)


def fitting(facts: ToolFacts | None, fn: Callable[..., Any], name: str) -> ToolFacts | None:
    """Facts of a tool, if the arguments that they name are its own; `Misuse`."""
    if facts is not None:
        known = inspect.signature(fn).parameters
        named = (*(facts.deciding or ()), *(facts.content or ()), facts.target, facts.amount)
        for one in named:
            if one and one.partition(".")[0] not in known:
                raise Misuse(f"tool {name}: its facts name {one!r}, which is no argument of it")
    return facts


_NARROW = (bool, int, float, Decimal, dt.date, dt.datetime, type(None), None)


def is_narrow(hint: Any) -> bool:
    """Whether a type has room for a number, a date, one of some choices, or nothing only."""
    if hint in _NARROW or get_origin(hint) is Literal:
        return True
    if isinstance(hint, type):
        return issubclass(hint, Enum)
    if get_origin(hint) in (Union, types.UnionType):
        return all(is_narrow(one) for one in get_args(hint))
    return False
