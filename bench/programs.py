"""The agents and tools that are measured: plain functions, as a user would write them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import holdfast

MARKS: dict[str, float] = {}
"""Where a program stood when (``time.monotonic``): how a measure sees inside without a step."""

LOOKED: list[float] = []
"""When `look` was first and next performed, since this was cleared: by the second time, the first
step is committed and its result in the program's hands."""


def mark(name: str) -> None:
    MARKS[name] = time.monotonic()


@holdfast.tool(effect="read")
async def look(i: int) -> int:
    if len(LOOKED) < 2:
        LOOKED.append(time.monotonic())
    return i


@holdfast.tool(effect="once")
async def act(i: int) -> int:
    return i


@holdfast.tool(effect="read")
async def counted(run: int, i: int, file: str) -> int:
    """Appends a line to a file each time that it is really performed."""
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{run} {i}\n".encode())
    finally:
        os.close(fd)
    return i


@holdfast.agent
async def reads(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += await look(i)
    return total


@holdfast.agent
async def acts(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += await act(i)
    return total


@holdfast.agent
async def looks_then_waits(name: str, steps: int) -> int:
    """Marks when it begins, when it stands before its wait, and when it has gone on."""
    mark(f"{name} begins")
    for i in range(steps):
        await look(i)
    mark(f"{name} waits")
    value = await holdfast.wait_for("go")
    mark(f"{name} goes on")
    return value


@holdfast.agent
async def segments(steps: int, each: int, done: int = 0) -> int:
    """A very long run, in segments of ``each`` steps, as the documentation advises."""
    for i in range(done, min(done + each, steps)):
        await look(i)
    if done + each < steps:
        holdfast.continue_as(steps, each, done + each)
    return steps


@holdfast.agent
async def parks(number: int, steps: int, file: str) -> int:
    """A few steps that leave a trace, a wait for a person's world to go on, one more."""
    for i in range(steps):
        await counted(number, i, file)
    await holdfast.wait_for("go")
    return await counted(number, steps, file)


def _said(script: str) -> list[str]:
    return Path(script).read_text().split("\n")


@holdfast.tool(effect="read")
async def reply(messages: list[dict[str, str]]) -> str:
    """Stands for a model call: the whole conversation goes in, the next message comes out."""
    said = _said(messages[0]["content"])
    return said[len(messages) - 1]


@holdfast.agent
async def converses(script: str, turns: int) -> int:
    """Each turn, a person's message and the reply to it join the context, which is sent whole."""
    said = _said(script)
    messages = [{"role": "system", "content": script}]
    for _ in range(turns):
        messages.append({"role": "user", "content": said[len(messages) - 1]})
        messages.append({"role": "assistant", "content": await reply(messages)})
    return len(messages)
