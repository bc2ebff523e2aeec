"""Two runs side by side: steps aligned by key, compared by what they asked for and what came."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.engine.history import Step
from holdfast.explain.telling import Fetch, action, plain
from holdfast.explain.text import pretty

Key = tuple[int, str]
"""Segment and step key."""


class Difference(msgspec.Struct, frozen=True):
    """A step that is not the same in both. ``what``: only in A, only in B, another action, other
    arguments, another outcome; ``lines``: the difference to read."""

    segment: int
    key: str
    what: str
    action: str
    lines: list[str]


def align(
    one: Mapping[Key, Step], other: Mapping[Key, Step], fetch: Fetch
) -> tuple[int, list[Difference]]:
    """How many steps are the same in both, and the differences in the order they happened."""
    same = 0
    found: list[Difference] = []
    for place in [*one, *(place for place in other if place not in one)]:
        difference = _compare(place, one.get(place), other.get(place), fetch)
        if difference is None:
            same += 1
        else:
            found.append(difference)
    return same, found


def _compare(place: Key, a: Step | None, b: Step | None, fetch: Fetch) -> Difference | None:
    segment, key = place
    if a is None or b is None:
        step = a or b
        assert step is not None
        return Difference(segment, key, "only in B" if a is None else "only in A",
                          action(step.plan), [])  # fmt: skip
    if action(a.plan) != action(b.plan):
        lines = [f"- {action(a.plan)}", f"+ {action(b.plan)}"]
        return Difference(segment, key, "another action", action(a.plan), lines)
    if a.args != b.args:
        lines = _lines(plain(a.args, fetch), plain(b.args, fetch))
        return Difference(segment, key, "other arguments", action(a.plan), lines)
    if _end(a) != _end(b):
        lines = _lines(_ending(a, fetch), _ending(b, fetch))
        return Difference(segment, key, "another outcome", action(a.plan), lines)
    return None


def _end(step: Step) -> Any:
    settled = step.settled
    return None if settled is None else (settled.status, settled.error, step.value)


def _ending(step: Step, fetch: Fetch) -> Any:
    settled = step.settled
    if settled is None:
        return "open"
    if settled.status == "value":
        return plain(step.value, fetch)
    return {"status": settled.status, "error": msgspec.to_builtins(settled.error)}


def _lines(a: Any, b: Any) -> list[str]:
    before, after = pretty(a).split("\n"), pretty(b).split("\n")
    return [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
