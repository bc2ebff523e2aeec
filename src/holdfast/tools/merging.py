"""The built-in agent that asks whether a merge from outside of runs may be made."""

from __future__ import annotations

from holdfast.engine.branch import merge_child
from holdfast.engine.declare import agent
from holdfast.engine.publish import inside


@agent(name="holdfast.merge")
async def merging(source: str, base: str, theirs: str) -> bool:
    """Merge what ``source`` changed since root ``base`` into this run's world, which is that of
    the branch it is meant for: judged and recorded as every merge is. Whether nothing conflicts."""
    return (await merge_child(inside("holdfast.merge"), source, base, theirs)).merged
