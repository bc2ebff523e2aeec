"""What runs used (tokens, money, calls), as their steps tell it; remembered by run, as a cache."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from holdfast.gate.counting import SCALE, shown
from holdfast.journal.events import Event, body_of
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.values import limits

Used = dict[str, float]
"""How much of each unit."""

_known: WeakKeyDictionary[Store, dict[str, tuple[int, Used]]] = WeakKeyDictionary()


async def used_by(store: Store, row: RunRow) -> Used:
    """What the steps of a run used themselves; what a fork shares with its past is not its own."""
    runs = _known.setdefault(store, {})
    seen, used = runs.get(row.run, (row.fork_pos if row.fork_of else -1, {}))
    head = (await store.head(row.run)).pos
    if head > seen:
        used = dict(used)
        for start in range(seen + 1, head + 1, limits.READ_PAGE_EVENTS):
            stop = min(head + 1, start + limits.READ_PAGE_EVENTS)
            _sum(used, await store.read(row.run, start, stop))
        if len(runs) >= limits.CONSOLE_USED_RUNS:
            runs.clear()
        runs[row.run] = head, used
    return used


def _sum(used: Used, events: Iterable[Event]) -> None:
    for event in events:
        if event.kind == "step.settled" and b'"usage":' in event.body:
            for unit, much in body_of(event).usage.items():
                used[unit] = used.get(unit, 0) + much


def used_text(used: Used) -> str:
    """For people, money first: "0.0123 money · 1,234 tokens"; "" if nothing was told."""
    order = sorted(used, key=lambda unit: (unit != "money", unit))
    return " · ".join(f"{_shown(unit, used[unit])} {unit}" for unit in order if used[unit])


def _shown(unit: str, much: float) -> str:
    scale = SCALE.get(unit)
    return f"{much:,.6g}" if scale is None else shown(unit, round(much * scale))
