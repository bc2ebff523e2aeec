"""SQL over a store's journal: the tables are folded from its events, then asked."""

from __future__ import annotations

from holdfast.explain.tables import TABLES, Rows, fold
from holdfast.journal.store import Store
from holdfast.runtime.maintenance import every_event
from holdfast.stores.asking import Answered, ask
from holdfast.stores.sqlite import SqliteStore
from holdfast.values import limits
from holdfast.values.ports import SystemClock

TYPES = {name: {one: kind for one, (kind, _) in columns.items()}
         for name, columns in TABLES.items()}  # fmt: skip
"""Types of the columns of each table."""


async def tables_of(store: Store, runs: frozenset[str] | None = None) -> Rows:
    """The rows of all tables; of some ``runs`` only, if they are named."""
    assert isinstance(store, SqliteStore)
    events = every_event(store, await store.last_seq())
    if runs is not None:
        events = (event for event in events if event.run in runs)
    return fold(events, store.get)


async def query(store: Store, statement: str, most: int = limits.QUERY_MAX_ROWS) -> Answered:
    """The answer to one SELECT over the tables of `holdfast.explain.tables`."""
    return ask(TYPES, await tables_of(store), statement, SystemClock(), most)
