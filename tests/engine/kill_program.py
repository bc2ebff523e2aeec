"""The program that `test_kill` kills: agents on a SQLite store that write down what they do."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import holdfast
from holdfast import Runtime, Settings
from holdfast.engine import scope
from holdfast.journal.store import RunQuery
from holdfast.testing.lives import ALLOW_ALL
from holdfast.tools import world
from holdfast.values.errors import Conflict

PLACE = Path(os.environ.get("HOLDFAST_TEST_PLACE", "."))
RUNS = 12


def did(kind: str, n: int) -> None:
    """One line, one write: whole or not at all."""
    call = scope.call.get()
    assert call is not None
    line = f"{kind} {call.run} {call.key} {n} {call.idempotency_key}\n"
    file = os.open(PLACE / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


def find(n: int) -> Any:
    text = (PLACE / "effects").read_text()
    call = scope.call.get()
    assert call is not None
    return n if f"once {call.run} {call.key} {n} " in text else holdfast.NOT_DONE


@holdfast.tool(effect="once", reconcile=find)
async def pay(n: int) -> int:
    did("once", n)
    await asyncio.sleep(0.001)
    return n


@holdfast.tool(effect="idempotent")
async def send(n: int) -> int:
    did("idempotent", n)
    return n


@holdfast.tool(effect="read")
def look(n: int) -> int:
    did("read", n)
    return n


@holdfast.agent
async def child(n: int) -> int:
    await world.write("file", "x" * 1000 + str(n))
    return await pay(n)


@holdfast.agent
async def worker(n: int) -> int:
    total = 0
    for i in range(25):
        total += look(i) + sum(await asyncio.gather(send(100 + i), pay(200 + i)))
        if i % 10 == 3:
            await holdfast.sleep(0.01)
            total += await (await holdfast.spawn(child, i)).result()
    return total


async def main() -> None:
    settings = Settings(store=str(PLACE / "store"), synchronous="NORMAL", linger=0.005)
    async with Runtime(settings, policy=ALLOW_ALL, serve=True) as runtime:
        runtime.programs.add(worker)
        runtime.programs.add(child)
        for n in range(RUNS):
            try:
                await runtime.launch(worker, (n,), name=f"run{n}")
            except Conflict:
                pass
        while True:
            rows = await runtime.store.runs(RunQuery(limit=1000))
            if all(row.ended for row in rows):
                break
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
