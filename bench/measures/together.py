"""100 runs at once: group commit and the cost of a step when the disk is shared."""

from __future__ import annotations

import asyncio

import holdfast
from bench import programs
from bench.ground import Ground, Spent, rounds
from bench.report import Figure, median

RUNS = 100


async def measure(ground: Ground) -> list[Figure]:
    found: dict[int, list[Spent]] = {10: [], 100: []}
    peer: list[float] = []
    peer_cpu: list[float] = []
    async with ground.runtime("together") as runtime:
        await _round(runtime, 2)
        for number in rounds(ground.size(7, 3)):
            for steps, spent in found.items():
                spent.append(await _round(runtime, steps))
            if ground.peer and number < ground.size(5, 1):
                took = await ground.peer.call("together", runs=RUNS, steps=10)
                peer.append(RUNS * 10 / took["seconds"])
                peer_cpu.append(took["cpu"] / (RUNS * 10) * 1e6)
    figures: list[Figure] = []
    for steps, spent in found.items():
        total = RUNS * steps
        rate = median([total / one.seconds for one in spent])
        cpu = median([one.cpu / total * 1e6 for one in spent])
        others = {"DBOS": median(peer)} if peer and steps == 10 else {}
        cpus = {"DBOS": median(peer_cpu)} if peer and steps == 10 else {}
        figures += [
            Figure(f"{RUNS} runs of {steps} steps at once", rate, "steps/s", ">= 15,000/s",
                   rate >= 15_000, others, True, "starts and ends included"),
            Figure(f"CPU per step, {RUNS} runs of {steps} steps at once", cpu, "us", "<= 80 us",
                   cpu <= 80, cpus),
        ]  # fmt: skip
    return figures


async def _round(runtime: holdfast.Runtime, steps: int) -> Spent:
    async def one() -> int:
        return await (await runtime.start(programs.reads, steps)).result()

    with Spent() as spent:
        results = await asyncio.gather(*(one() for _ in range(RUNS)))
    assert results == [sum(range(steps))] * RUNS
    return spent
