"""Resuming a run in a process that has never seen it: from the call to the program standing where
it stood, so with claiming the lease, reading the journal, decoding it and running the program."""

from __future__ import annotations

import time

import holdfast
from bench import programs
from bench.ground import Ground, dbos, rounds, until
from bench.programs import MARKS
from bench.report import Figure, median


async def measure(ground: Ground) -> list[Figure]:
    figures: list[Figure] = []
    for steps in (1_000, 5_000):
        name = f"replay {steps}"
        settings = ground.settings(ground.folder("replay"), linger=0.05)
        async with holdfast.Runtime(settings) as runtime:
            handle = await runtime.start(programs.looks_then_waits, name, steps)
            await _reach(f"{name} waits")
        took: list[float] = []
        for _ in rounds(ground.size(15, 5)):
            async with holdfast.Runtime(settings) as runtime:
                del MARKS[f"{name} waits"]
                start = time.monotonic()
                await runtime.resume(handle.id)
                took.append((await _reach(f"{name} waits") - start) / steps * 1e6)
        value = median(took)
        others: dict[str, float] = {}
        if ground.with_peers and steps == 1_000:
            others = {"DBOS": await _dbos(ground, ground.size(1_000, 300))}
        figures.append(
            Figure(f"replay, per recorded step of {steps:,}", value, "us", "<= 10 us", value <= 10,
                   others, note=f"best {min(took):.1f} us; the call included, "
                   f"{value * steps / 1e3:.1f} ms in all")
        )  # fmt: skip
    return figures


async def _reach(name: str) -> float:
    await until(lambda: name in MARKS)
    return MARKS[name]


async def _dbos(ground: Ground, steps: int) -> float:
    """A run is recorded, its process killed; in fresh ones, from the program's first line to its
    wait (launching and the recovery's own delay are not counted)."""
    folder = ground.folder("dbos-replay")
    side = dbos(folder)
    await side.call("wait", name="long", steps=steps)
    took: list[float] = []
    for _ in range(ground.size(3, 1)):
        side.kill()
        side = dbos(folder)
        took.append((await side.call("recovered", name="long"))["seconds"])
    side.close()
    return median(took) / steps * 1e6
