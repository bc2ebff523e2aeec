"""10,000 waiting runs, then SIGKILL: how soon a fresh process is ready, in how much memory, and
that every run then goes on exactly where it was."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import holdfast
from bench import programs
from bench.ground import Ground, Side, answer, dbos, rss_mib, until, waiting
from bench.report import Figure

STEPS = 3


async def measure(ground: Ground) -> list[Figure]:
    runs = ground.size(10_000, 1_000)
    folder = ground.folder("parked")
    trace = folder / "performed"
    ground.settings(folder)
    side = Side("bench.measures.parked", str(folder))
    side.hear()
    parked = await side.call("park", runs=runs, trace=str(trace))
    side.kill()
    spawned = time.monotonic()
    side = Side("bench.measures.parked", str(folder), "serve")
    ready = side.hear()
    finished = await side.call("release", runs=parked["runs"])
    side.close()
    wrong = _wrong(trace, runs, STEPS + 1)
    resident = await _in_memory(ground, ground.size(1_000, 200))
    peer = await _dbos(ground, ground.size(100, 30)) if ground.with_peers else {}
    total = ready["at"] - spawned
    return [
        Figure(f"{runs:,} parked runs after kill -9: ready, from opening the store",
               ready["opened"], "s", "<= 1 s", ready["opened"] <= 1,
               note=f"{total:.2f} s from spawning Python; parking took {parked['seconds']:.1f} s"),
        Figure(f"{runs:,} parked runs: memory of the fresh process when ready", ready["rss"], "MiB",
               "<= 100 MiB", ready["rss"] <= 100),
        Figure(f"{runs:,} parked runs: highest memory until all have ended", finished["peak"],
               "MiB", "<= 100 MiB", finished["peak"] <= 100,
               note=f"all signalled in {finished['sent']:.1f} s, all ended after "
               f"{finished['seconds']:.1f} s, {finished['done']:,} done"),
        Figure(f"{runs:,} parked runs: steps lost or repeated", wrong, "", "0",
               wrong == 0 and finished["done"] == runs),
        *resident,
        *([] if not peer else [
            Figure("DBOS: parked runs all back after kill -9, from spawn", peer["back"], "s",
                   note=f"{peer['runs']} runs only; signalled and ended in {peer['ended']:.1f} s, "
                   f"{peer['wrong']} steps lost or repeated")
        ]),
    ]  # fmt: skip


def _wrong(trace: Path, runs: int, steps: int) -> int:
    """How many steps were not performed exactly once."""
    seen = Counter(trace.read_text().splitlines())
    wanted = Counter({f"{run} {i}": 1 for run in range(runs) for i in range(steps)})
    return sum((seen - wanted).values()) + sum((wanted - seen).values())


async def _in_memory(ground: Ground, runs: int) -> list[Figure]:
    """The harder case: killed while every run is still in memory, holding its lease."""
    folder = ground.folder("resident")
    trace = folder / "performed"
    ground.settings(folder)
    side = Side("bench.measures.parked", str(folder), "stay")
    side.hear()
    parked = await side.call("park", runs=runs, trace=str(trace))
    side.kill()
    side = Side("bench.measures.parked", str(folder), "serve")
    ready = side.hear()
    finished = await side.call("release", runs=parked["runs"])
    side.close()
    wrong = _wrong(trace, runs, STEPS + 1)
    return [
        Figure(f"{runs:,} runs killed while in memory: steps lost or repeated", wrong, "", "0",
               wrong == 0 and finished["done"] == runs,
               note=f"store opened in {ready['opened']:.2f} s; all signalled and ended after "
               f"{finished['seconds']:.1f} s; peak {finished['peak']:.0f} MiB"),
    ]  # fmt: skip


async def _dbos(ground: Ground, runs: int) -> dict[str, Any]:
    folder = ground.folder("dbos-parked")
    trace = folder / "performed"
    side = dbos(folder)
    await side.call("park", runs=runs, steps=STEPS, file=str(trace))
    await asyncio.sleep(0.5)
    side.kill()
    side = Side("bench.dbos_side", str(folder))
    side.hear()
    back = await side.call("parked", runs=runs)
    ended = await side.call("release", runs=runs)
    side.close()
    return {
        "runs": runs, "back": back["at"] - side.spawned, "ended": ended["seconds"],
        "wrong": _wrong(trace, runs, STEPS + 1),
    }  # fmt: skip


# ---- the child processes ---------------------------------------------------------------------


class Child:
    """A process with a runtime on the store in ``folder``."""

    def __init__(self, folder: Path, how: str) -> None:
        linger = 60.0 if how == "stay" else 0.0
        settings = holdfast.Settings(store=str(folder / ".holdfast"), linger=linger)
        self.runtime = holdfast.Runtime(settings, serve=how == "serve")

    async def ready(self) -> dict[str, Any]:
        start = time.monotonic()
        await self.runtime.__aenter__()
        at = time.monotonic()
        return {"opened": at - start, "at": at, "rss": rss_mib()}

    async def park(self, runs: int, trace: str) -> dict[str, Any]:
        start = time.monotonic()
        handles: list[holdfast.Handle] = []
        for first in range(0, runs, 500):
            some = range(first, min(first + 500, runs))
            handles += await asyncio.gather(
                *(self.runtime.start(programs.parks, number, STEPS, trace) for number in some)
            )
            await asyncio.sleep(0)
        for handle in handles:
            await until(lambda handle=handle: waiting(handle))
        if self.runtime.settings.linger == 0:
            await until(lambda: not self.runtime.host.resident_count())
        names = [handle.id for handle in handles]
        return {"runs": names, "seconds": time.monotonic() - start}

    async def release(self, runs: list[str]) -> dict[str, Any]:
        start = time.monotonic()
        for first in range(0, len(runs), 500):
            await asyncio.gather(
                *(self.runtime.signal(run, "go") for run in runs[first : first + 500])
            )
        sent = time.monotonic() - start
        done = 0
        for run in runs:
            await holdfast.Handle(self.runtime.host, run).result()
            done += 1
        seconds = time.monotonic() - start
        return {"sent": sent, "seconds": seconds, "done": done, "peak": rss_mib(peak=True)}


if __name__ == "__main__":
    child = Child(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
    answer({"ready": child.ready, "park": child.park, "release": child.release})
