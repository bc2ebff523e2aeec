"""Run by test_kill: an agent whose every step is a command that changes the world."""

from __future__ import annotations

import asyncio
import sys

import holdfast
from holdfast import Runtime, Settings
from holdfast.tools import world

STEPS = 9
CHANGE = (
    "echo {step} >> log; mkdir -p {folder}; echo {name} > {folder}/f;"
    "wc -l < log; test $(wc -l < log) -lt 6 || rm -rf d0"
)


@holdfast.agent
async def count(name: str) -> int:
    for step in range(STEPS):
        print("step", flush=True)  # the parent kills us at one of these
        done = await world.run(
            ["sh", "-ec", CHANGE.format(step=step, folder=f"d{step % 3}", name=name)]
        )
        assert done.exit == 0, done.stderr
        assert int(done.stdout) == step + 1, (done.stdout, step)
        if step % 4 == 3:
            await world.write("note", f"after {step}")
    return STEPS


async def main(store: str) -> None:
    async with Runtime(Settings(store=store)) as runtime:
        runtime.programs.add(count)
        runs = []
        for number in range(2):
            try:
                runs.append(await runtime.launch(count, (f"n{number}",), name=f"run{number}"))
            except holdfast.Conflict:
                runs.append(await runtime.resume(f"run{number}"))
        for run in runs:
            assert await run.result() == STEPS
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
