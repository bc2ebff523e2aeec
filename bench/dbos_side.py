"""The peer: DBOS on SQLite in a process of its own, with the programs of `bench.programs`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID

from bench.ground import Spent, answer, rss_mib, until

MARKS: dict[str, float] = {}


@DBOS.step()
async def look(i: int) -> int:
    return i


@DBOS.step()
async def counted(run: int, i: int, file: str) -> int:
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{run} {i}\n".encode())
    finally:
        os.close(fd)
    return i


@DBOS.workflow()
async def reads(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += await look(i)
    return total


@DBOS.workflow()
async def looks_then_waits(name: str, steps: int) -> int:
    MARKS[f"{name} begins"] = time.monotonic()
    for i in range(steps):
        await look(i)
    MARKS[f"{name} waits"] = time.monotonic()
    value = await DBOS.recv_async("go", timeout_seconds=3600)
    MARKS[f"{name} goes on"] = time.monotonic()
    return value


@DBOS.workflow()
async def looks_after(steps: int, cut: int) -> int:
    """Marks its first step after ``cut``: the one that a fork at ``cut`` has to take anew."""
    for i in range(steps):
        await look(i)
        if i == cut:
            MARKS["first new step"] = time.monotonic()
    return steps


@DBOS.workflow()
async def parks(number: int, steps: int, file: str) -> int:
    for i in range(steps):
        await counted(number, i, file)
    MARKS[f"parked {number}"] = time.monotonic()
    await DBOS.recv_async("go", timeout_seconds=3600)
    return await counted(number, steps, file)


async def ready() -> dict[str, Any]:
    folder = sys.argv[1]
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
        "log_level": "CRITICAL",
        "application_version": "1",
        "executor_id": "local",
    }
    DBOS(config=config)
    DBOS.launch()
    return {}


async def sequential(steps: int) -> dict[str, Any]:
    with Spent() as spent:
        handle = await DBOS.start_workflow_async(reads, steps)
        await handle.get_result(polling_interval_sec=0.001)
    return {"seconds": spent.seconds, "cpu": spent.cpu}


async def together(runs: int, steps: int) -> dict[str, Any]:
    with Spent() as spent:
        handles = [await DBOS.start_workflow_async(reads, steps) for _ in range(runs)]
        for handle in handles:
            await handle.get_result(polling_interval_sec=0.001)
    return {"seconds": spent.seconds, "cpu": spent.cpu}


async def single(count: int) -> dict[str, Any]:
    took: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        handle = await DBOS.start_workflow_async(reads, 1)
        await handle.get_result(polling_interval_sec=0.001)
        took.append(time.perf_counter() - start)
    return {"seconds": took}


async def _seen(name: str) -> float:
    await until(lambda: name in MARKS)
    return MARKS[name]


async def wait(name: str, steps: int) -> dict[str, Any]:
    """Start a run that takes ``steps`` steps and then waits; answer when it waits."""
    with SetWorkflowID(name):
        await DBOS.start_workflow_async(looks_then_waits, name, steps)
    return {"at": await _seen(f"{name} waits")}


async def signal(name: str, after: float) -> dict[str, Any]:
    """How long from sending to the run going on; sent ``after`` seconds from now."""
    await asyncio.sleep(after)
    start = time.monotonic()
    await DBOS.send_async(name, 1, "go")
    return {"seconds": await _seen(f"{name} goes on") - start}


async def recovered(name: str) -> dict[str, Any]:
    """In a fresh process: how long a recovered run took from its first line to its wait."""
    waits = await _seen(f"{name} waits")
    return {"seconds": waits - MARKS[f"{name} begins"]}


async def long(name: str, steps: int, cut: int) -> dict[str, Any]:
    with SetWorkflowID(name):
        handle = await DBOS.start_workflow_async(looks_after, steps, cut)
    await handle.get_result(polling_interval_sec=0.01)
    return {}


async def fork(name: str, step: int) -> dict[str, Any]:
    MARKS.pop("first new step", None)
    start = time.monotonic()
    handle = await DBOS.fork_workflow_async(name, step)
    called = time.monotonic() - start
    first = await _seen("first new step") - start
    await handle.get_result(polling_interval_sec=0.01)
    return {"call": called, "first": first}


async def park(runs: int, steps: int, file: str) -> dict[str, Any]:
    for number in range(runs):
        with SetWorkflowID(f"park-{number}"):
            await DBOS.start_workflow_async(parks, number, steps, file)
    return await parked(runs)


async def parked(runs: int) -> dict[str, Any]:
    """Answer once all of these runs stand before their wait in this process."""
    at = [await _seen(f"parked {number}") for number in range(runs)]
    return {"at": max(at), "rss": rss_mib()}


async def release(runs: int) -> dict[str, Any]:
    start = time.monotonic()
    for number in range(runs):
        await DBOS.send_async(f"park-{number}", 1, "go")
    for number in range(runs):
        handle = await DBOS.retrieve_workflow_async(f"park-{number}")
        await handle.get_result(polling_interval_sec=0.01)
    return {"seconds": time.monotonic() - start, "rss": rss_mib()}


if __name__ == "__main__":
    answer({one.__name__: one for one in (
        ready, sequential, together, single, wait, signal, recovered, long, fork, park, parked,
        release,
    )})  # fmt: skip
