"""The shortest useful run: started, one step taken, ended, its result in hand."""

from __future__ import annotations

import time

from bench import programs
from bench.ground import Ground, rounds
from bench.report import Figure, median


async def measure(ground: Ground) -> list[Figure]:
    took: list[float] = []
    peer: list[float] = []
    async with ground.runtime("onestep") as runtime:
        await (await runtime.start(programs.reads, 1)).result()
        for _ in rounds(ground.size(7, 3)):
            for _ in range(ground.size(200, 50)):
                start = time.perf_counter()
                await (await runtime.start(programs.reads, 1)).result()
                took.append((time.perf_counter() - start) * 1e3)
            if ground.peer:
                found = await ground.peer.call("single", count=ground.size(40, 20))
                peer += [one * 1e3 for one in found["seconds"]]
    value, late = median(took), sorted(took)[int(len(took) * 0.99)]
    others = {"DBOS": median(peer)} if peer else {}
    return [
        Figure("one-step run, start to result", value, "ms", "<= 1 ms", value <= 1, others,
               note=f"p99 {late:.2f} ms"),
    ]  # fmt: skip
