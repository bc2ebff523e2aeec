"""The built-in agent that asks whether a merge from outside of runs may be made."""

from __future__ import annotations

from typing import Any

from holdfast.engine.branch import merge_child
from holdfast.engine.declare import agent
from holdfast.engine.publish import inside


@agent(name="holdfast.merge")
async def merging(
    source: str, base: str, theirs: str, into: str, onto: str, choices: dict[str, str]
) -> bool:
    """Merge what ``source`` changed since root ``base`` into this run's world, which is that of
    branch ``into`` (root ``onto``): judged and recorded as every merge is. ``choices``: what was
    decided about conflicts, by path. Whether nothing conflicts."""
    asked = {"into": into, "onto": onto, "choices": choices}
    more = seen_by_policy(asked)
    return (await merge_child(inside("holdfast.merge"), source, base, theirs, more=more)).merged


def seen_by_policy(asked: dict[str, Any]) -> dict[str, Any]:
    """What the gate and people see of a merge from the command line. What was decided about its
    conflicts, if anything, is called ``decided``: a step's ``choices`` would be put in force."""
    seen = {name: value for name, value in asked.items() if name != "choices"}
    return {**seen, "decided": asked["choices"]} if asked["choices"] else seen
