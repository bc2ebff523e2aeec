"""Folding the journal into the tables of `holdfast sql`, beside only reading its events."""

from __future__ import annotations

import gc
import sqlite3
import time

from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.explain.tables import fold
from holdfast.journal.events import (
    Draft,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    Verdict,
)
from holdfast.journal.store import Batch
from holdfast.runtime.maintenance import every_event
from holdfast.runtime.querying import TYPES
from holdfast.stores.asking import fill
from holdfast.stores.sqlite import SqliteStore

_VERDICT = Verdict("allow", ("a", "b"), policy="abc", facts={"host": "y", "leaks": True})


async def measure(ground: Ground) -> list[Figure]:
    store = SqliteStore(ground.folder("tables") / "s", synchronous="NORMAL")
    _fill(store)
    last = await store.last_seq()
    read, folded = [], []
    for _ in rounds(ground.size(9, 5)):
        gc.collect()
        begun = time.thread_time()
        events = list(every_event(store, last))
        came = time.thread_time()
        conn = sqlite3.connect(":memory:", isolation_level=None)
        fill(conn, TYPES, fold(events, store.get))
        done = time.thread_time()
        conn.close()
        read.append((came - begun) * 1e3)
        folded.append((done - came) * 1e3)
    await store.close()
    ms = median(folded)
    return [
        Figure(f"tables folded from {last:,} events", ms, "ms", "<= 200 ms", ms <= 200,
               {"reading them": median(read)}, note="CPU"),
    ]  # fmt: skip


def _fill(store: SqliteStore) -> None:
    """Twenty runs of judged steps, 10,000 events."""
    for number in range(20):
        drafts = [Draft(RunStarted("agent"), 1, args=b"{}")]
        for step in range(249):
            plan = StepPlanned(str(step), Plan("pay", effect="once"), verdict=_VERDICT)
            settled = StepSettled(str(step), took=5, usage={"tokens": 5.0, "money": 0.01})
            drafts += [Draft(plan, 2, args=b'{"a":1}'), Draft(settled, 3, value=b'"x"')]
        drafts.append(Draft(RunEnded("done"), 4))
        store.append_now([Batch(f"run-{number}", tuple(drafts), expect=-1)], {})
