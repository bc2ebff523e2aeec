"""Decisions of the past, read from a store for commands that judge or learn from them."""

from __future__ import annotations

from collections.abc import Collection

from holdfast.gate.decisions import TOLD, Decided, decisions
from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.values import limits


async def past_decisions(store: Store, *, since_ms: int = 0, agent: str = "") -> list[Decided]:
    """Every decision in the store, oldest first: those made since a time, of one agent if named."""
    told = await told_events(store, TOLD)
    return [
        one for one in decisions(told, store.get) if one.at >= since_ms and agent in ("", one.agent)
    ]


async def told_events(store: Store, kinds: Collection[str]) -> list[Event]:
    """Every event in the store of one of these kinds, oldest first."""
    last, after = await store.last_seq(), 0
    told: list[Event] = []
    while after < last:
        events = await store.tail(after, limits.READ_PAGE_EVENTS)
        if not events:
            break
        after = events[-1].seq
        told += [event for event in events if event.kind in kinds]
    return told
