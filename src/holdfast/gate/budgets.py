"""Budgets: how much may be used, by whom, in what time. What is left stands in meters."""

from __future__ import annotations

from typing import Final

import msgspec

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
