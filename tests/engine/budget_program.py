"""The program that `test_spending` kills: runs that share one budget on a SQLite store."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from pathlib import Path

import holdfast
from holdfast import Runtime, Settings
from holdfast.gate.budgets import Budget
from holdfast.testing.lives import ALLOW_ALL
from holdfast.values.errors import Conflict

LIMIT = 40
POLICY = dataclasses.replace(ALLOW_ALL, budgets=(Budget("all", "tokens", LIMIT, "agent"),))


def did() -> None:
    with Path(os.environ["HOLDFAST_TEST_PLACE"], "effects").open("a") as file:
        file.write("x\n")


@holdfast.tool(effect="idempotent", estimate=lambda n: {"tokens": 3})
async def use(n: int) -> int:
    did()
    await asyncio.sleep(0.001)
    holdfast.spent(tokens=n % 3)
    return n


@holdfast.agent
async def user(start: int) -> int:
    for n in range(12):
        await use(start + n)
    return start


async def main(name: str) -> None:
    """Runs of its own, until each has ended or waits for a person."""
    settings = Settings(store=os.environ["HOLDFAST_TEST_PLACE"] + "/store", linger=0.02)
    async with Runtime(settings, policy=POLICY) as runtime:
        handles = []
        for n in range(4):
            run = f"{name}{n}"
            try:
                handles.append(await runtime.launch(user, (n,), {}, name=run))
            except Conflict:
                handles.append(await runtime.resume(run))
        while {await one.status() for one in handles} & {"running"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
