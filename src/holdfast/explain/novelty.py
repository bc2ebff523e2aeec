"""What an agent meets for the first time: a tool, a source it reads, a target it writes to.

How likely it is that the next thing is a new one is the share of things that were seen just once
(Good, The population frequencies of species, Biometrika 40, 1953): an agent that always writes to
the same three addresses is unlikely to write to a fourth, one that answers strangers is not.
"""

from __future__ import annotations

import msgspec

from holdfast.values import limits

_BEFORE = 0.03
"""Things seen once that are assumed before any: of those who never met a new one, few will."""
NEVER = -1_000_000
"""How often a thing counts as seen that a person called bad."""


class Known(msgspec.Struct, gc=False):
    """Things met, and how often; ``n``: how many times any was. Below 1 a thing still counts as
    new: it raised an alarm, and so often more it must be met before it is known."""

    things: dict[str, int]
    n: int = 0
    once: int = 0


def no_things() -> Known:
    """Nothing met yet."""
    return Known({})


def newness(known: Known, thing: str) -> float:
    """The rank of meeting ``thing``: 1 if it is known."""
    if known.things.get(thing, 0) > 0:
        return 1.0
    return min(1.0, (known.once + _BEFORE) / (known.n + 1))


def learn(known: Known, thing: str, times: int = 1) -> None:
    """Meet ``thing``; the one met longest ago is forgotten if there are too many."""
    before = known.things.pop(thing, 0)
    now = before + times
    known.things[thing] = now
    known.n += 1
    known.once += (now == 1) - (before == 1)
    if len(known.things) > limits.ANOMALY_THINGS_ITEMS:
        oldest = next(iter(known.things))
        known.once -= known.things.pop(oldest) == 1


def judge(known: Known, thing: str, count: int) -> None:
    """Say how often a thing counts as seen."""
    before = known.things.pop(thing, 0)
    known.things[thing] = count
    known.once += (count == 1) - (before == 1)
