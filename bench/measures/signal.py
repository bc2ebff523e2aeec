"""From sending a signal to the program's next line: in one process and from another."""

from __future__ import annotations

import asyncio
import time

import holdfast
from bench import programs
from bench.ground import Ground, Side, answer, rounds, until, waiting
from bench.programs import MARKS
from bench.report import Figure, median

LINGER = 0.02
SENDERS = {
    "the same process": "",
    "another process": "send",
    "another process that just opened the store": "send_once",
}


async def measure(ground: Ground) -> list[Figure]:
    settings = ground.settings(ground.folder("signal"), linger=LINGER)
    lasting = ground.settings(ground.folder("signal"), linger=60.0)
    took: dict[str, list[float]] = {}
    peer: list[float] = []
    async with holdfast.Runtime(settings) as parking, holdfast.Runtime(lasting) as staying:
        side = Side("bench.measures.signal", settings.store, lasting.store)
        side.hear()
        for number in rounds(ground.size(25, 8)):
            for place, runtime in (("in memory", staying), ("parked", parking)):
                for sender in SENDERS:
                    name = f"{number} {place} {sender}"
                    handle = await runtime.start(programs.looks_then_waits, name, 3)
                    await until(lambda handle=handle: waiting(handle))
                    await asyncio.sleep(3 * LINGER)
                    if not SENDERS[sender]:
                        start = time.monotonic()
                        await runtime.signal(handle.id, "go", 1)
                    else:
                        sent = await side.call(
                            SENDERS[sender], store=runtime.settings.store, run=handle.id
                        )
                        start = sent["at"]
                    assert await handle.result() == 1
                    ms = (MARKS[f"{name} goes on"] - start) * 1e3
                    took.setdefault(f"{place}, from {sender}", []).append(ms)
            if ground.peer and number < ground.size(8, 3):
                await ground.peer.call("wait", name=f"signal-{number}", steps=3)
                sent = await ground.peer.call("signal", name=f"signal-{number}", after=0.3)
                peer.append(sent["seconds"] * 1e3)
        side.close()
    others = {"DBOS": median(peer)} if peer else {}
    return [
        Figure(f"signal to run continues, {how}", median(found), "ms", "<= 5 ms",
               median(found) <= 5, others if "the same" in how else {},
               note=f"max {max(found):.1f} ms")
        for how, found in took.items()
    ]  # fmt: skip


_open: dict[str, holdfast.Runtime] = {}


async def send(store: str, run: str) -> dict[str, float]:
    """Send from a process that has had the store open for a while, as a server would."""
    if store not in _open:
        _open[store] = await holdfast.Runtime(holdfast.Settings(store=store)).__aenter__()
    start = time.monotonic()
    await _open[store].signal(run, "go", 1)
    return {"at": start}


async def send_once(store: str, run: str) -> dict[str, float]:
    """Send from a process that has just opened the store, as a command would."""
    async with holdfast.Runtime(holdfast.Settings(store=store)) as runtime:
        start = time.monotonic()
        await runtime.signal(run, "go", 1)
    return {"at": start}


if __name__ == "__main__":
    answer({"send": send, "send_once": send_once})
