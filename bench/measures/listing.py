"""Listing the newest page of 200,000 runs."""

from __future__ import annotations

import asyncio
import time

import holdfast
from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.journal.events import Draft, RunEnded, RunStarted
from holdfast.journal.store import Batch, RunQuery
from holdfast.stores.sqlite import SqliteStore


async def measure(ground: Ground) -> list[Figure]:
    runs = ground.size(200_000, 20_000)
    settings = ground.settings(ground.folder("listing"), synchronous="NORMAL")
    start = time.perf_counter()
    await asyncio.to_thread(_fill, settings, runs)
    filled = time.perf_counter() - start
    queries = {
        "newest page": RunQuery(),
        "newest page of one status": RunQuery(status="failed"),
        "newest page of one agent": RunQuery(agent="agent-3"),
        "a page in the middle": RunQuery(before=runs // 2),
    }
    took: dict[str, list[float]] = {name: [] for name in queries}
    for _ in rounds(ground.size(9, 5)):
        for name, query in queries.items():
            async with holdfast.Runtime(settings) as runtime:
                begun = time.perf_counter()
                found = await runtime.store.runs(query)
                took[name].append((time.perf_counter() - begun) * 1e3)
                assert len(found) == 50
    return [
        Figure(f"{runs:,} runs listed, {name}", median(ms), "ms", "<= 50 ms", median(ms) <= 50,
               note=f"filled in {filled:.0f} s" if name == "newest page" else "")
        for name, ms in took.items()
    ]  # fmt: skip


def _fill(settings: holdfast.Settings, runs: int) -> None:
    """Runs that were started and have ended, written straight to the store."""
    store = SqliteStore(settings.directory, synchronous="NORMAL")
    args = b'{"ticket":1234,"text":"please look at this one"}'
    for first in range(0, runs, 1000):
        batches: list[Batch] = []
        for number in range(first, first + 1000):
            name, agent = f"run-{number}", f"agent-{number % 10}"
            status = "failed" if number % 50 == 0 else "done"
            started = Draft(RunStarted(agent, ref=f"app.agents:{agent}"), number, args=args)
            batches.append(Batch(name, (started,), expect=-1, lease=store.name))
            ended = Draft(RunEnded(status, steps=7), number, value=b'"done"')
            batches.append(Batch(name, (ended,), epoch=1))
        store.append_now(batches, {})
    asyncio.run(store.close())
