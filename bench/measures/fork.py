"""Forking a finished run near its end: the call, and the first new step, at two lengths."""

from __future__ import annotations

import asyncio
import time

import holdfast
from bench import programs
from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.engine.fork import fork
from holdfast.journal.events import Draft, Plan, RunEnded, RunStarted, StepSettled, Verdict
from holdfast.journal.store import Batch
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import encode

BACK = 20


async def measure(ground: Ground) -> list[Figure]:
    peer = await _dbos(ground, ground.size(1_000, 200)) if ground.with_peers else ({}, {})
    long = "100,000 steps"
    return [
        *await _one(ground, "1,000 steps", 1_000, 1_000, peer),
        *await _one(ground, f"{long} in segments of 1,000", 100_000, 1_000),
        *await _one(ground, f"{long} in one segment (not advised)", 100_000, 100_000),
    ]


async def _one(
    ground: Ground,
    title: str,
    steps: int,
    each: int,
    peer: tuple[dict[str, float], dict[str, float]] = ({}, {}),
) -> list[Figure]:
    calls: list[float] = []
    firsts: list[float] = []
    settings = ground.settings(ground.folder("fork"))
    events = await asyncio.to_thread(_fill, settings, steps, each)
    async with holdfast.Runtime(settings) as runtime:
        for number in rounds(3 if each > 1_000 else ground.size(15, 5)):
            programs.LOOKED.clear()
            start = time.monotonic()
            name = await fork(
                runtime.store, "source", str(each - BACK), name=f"fork-{number}",
                now_ms=int(time.time() * 1000),
            )  # fmt: skip
            calls.append((time.monotonic() - start) * 1e3)
            handle = await runtime.resume(name)
            assert await handle.result() == steps
            firsts.append((programs.LOOKED[1] - start) * 1e3)
    call, first = median(calls), median(firsts)
    return [
        Figure(f"fork at {title}: the call", call, "ms", "<= 1 ms", call <= 1, peer[0],
               note=f"{events:,} events"),
        Figure(f"fork at {title}: first new step done", first, "ms", "<= 10 ms", first <= 10,
               peer[1], note="the call included"),
    ]  # fmt: skip


def _fill(settings: holdfast.Settings, steps: int, each: int) -> int:
    """A run of `programs.segments` that has ended, written straight to the store as the engine
    writes it (taking 100,000 steps takes a minute)."""
    store = SqliteStore(settings.directory, synchronous="NORMAL")
    verdict = Verdict("allow", ("otherwise",), policy="0123456789ab")
    count = 0
    for segment in range(steps // each):
        args = {"steps": steps, "each": each, "done": segment * each}
        body = RunStarted("segments", ref="bench.programs:segments", segment=segment + 1)
        drafts = [Draft(body, 1, args=encode(args))]
        for i in range(each):
            settled = StepSettled(str(i + 1), plan=Plan("look"), verdict=verdict, took=12)
            number = segment * each + i
            drafts.append(Draft(settled, 1, args=encode({"i": number}), value=encode(number)))
        if (segment + 1) * each == steps:
            drafts.append(Draft(RunEnded("done", steps=each), 1, value=encode(steps)))
        expect, lease = (-1, store.name) if segment == 0 else (None, "")
        batch = Batch("source", tuple(drafts), expect=expect, lease=lease, epoch=int(segment > 0))
        count += len(store.append_now([batch], {}))
    asyncio.run(store.close())
    return count


async def _dbos(ground: Ground, steps: int) -> tuple[dict[str, float], dict[str, float]]:
    side = ground.peer
    assert side is not None
    await side.call("long", name="fork", steps=steps, cut=steps - BACK)
    found = [await side.call("fork", name="fork", step=steps - BACK + 1) for _ in range(3)]
    return (
        {"DBOS": median([one["call"] for one in found]) * 1e3},
        {"DBOS": median([one["first"] for one in found]) * 1e3},
    )
