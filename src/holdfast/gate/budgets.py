"""Budgets: how much may be used, by whom, in what time. What is left stands in meters."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from holdfast.gate.pattern import read_globs, words
from holdfast.gate.proposal import KINDS
from holdfast.gate.reading import Item, Reader, entry, number, word
from holdfast.values import limits

UNITS: Final = ("money", "tokens", "calls", "seconds", "runs")
SCOPES: Final = ("organisation", "team", "agent", "run", "branch")
PERIODS: Final = ("", "hour", "day", "month")


class Budget(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``budgets``: ``limit`` of ``unit`` for each ``scope`` in each ``per`` ("": for
    ever). ``when``: names of tools, agents, roles, kinds it counts (empty: all). ``alert``: shares
    of the limit at which a finding is recorded. ``approvers``: who may let it be exceeded.
    ``runs`` counts started child runs (fan-out)."""

    id: str
    unit: str
    limit: float
    scope: str
    per: str = ""
    when: dict[str, tuple[str, ...]] = {}
    alert: tuple[float, ...] = ()
    approvers: tuple[str, ...] = ()


# INVARIANT G85: a limit in an agent's entry is a budget of scope agent, about those agents only
# whose entry it is
class AgentLimit(Budget, frozen=True, gc=False):
    """A budget that stands in an agent's entry (`holdfast.gate.agents`), as one of its ``limits``:
    of scope agent, for those whom that entry is about. ``unless``: names of earlier entries, whose
    agents it is not about."""

    unless: tuple[str, ...] = ()


_WHEN: Final[dict[str, Reader]] = {
    "tool": read_globs,
    "agent": read_globs,
    "role": read_globs,
    "kind": words(*KINDS),
}


def _alerts(item: Item, what: str) -> tuple[float, ...]:
    entries = item.items(what) if isinstance(item.value, tuple) else (item,)
    return tuple(sorted({each.number(what, 0.01, 1) for each in entries}))


_READERS: Final[dict[str, Reader]] = {
    "id": Item.name,
    "unit": word(*UNITS),
    "limit": number(0, limits.AMOUNT_MAX_ITEMS),
    "scope": word(*SCOPES),
    "per": word(*filter(None, PERIODS)),
    "when": lambda item, what: entry(item, _WHEN, f"'{what}' of a budget"),
    "alert": _alerts,
    "approvers": Item.texts,
}


def read_budget(item: Item) -> Budget:
    """One entry of ``budgets``; raises `Misuse` with its line for what is not understood."""
    return Budget(**entry(item, _READERS, "a budget", ("id", "unit", "limit", "scope")))


_LIMITS: Final[dict[str, Reader]] = {
    **{name: _READERS[name] for name in ("id", "unit", "limit", "per", "alert", "approvers")},
    "tool": read_globs,
}


def read_limit(item: Item, agent: tuple[str, ...], unless: tuple[str, ...]) -> AgentLimit:
    """One of the ``limits`` of the agents' entry named ``agent``, behind entries about ``unless``;
    raises `Misuse` with its line for what is not understood."""
    found = entry(item, _LIMITS, "a limit", ("unit", "limit"))
    if found["unit"] == "runs" and "tool" in found:
        item.refuse("a limit of runs counts started runs, and has no 'tool'")
    when = {"agent": agent, **({"tool": found.pop("tool")} if "tool" in found else {})}
    named = "-".join(filter(None, (agent[0], found["unit"], found.get("per", ""))))
    found.setdefault("id", re.sub("[^A-Za-z0-9_.-]", "_", f"limit-{named}")[:80])
    return AgentLimit(**found, scope="agent", when=when, unless=unless)
