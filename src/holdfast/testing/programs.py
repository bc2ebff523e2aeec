"""Random agents: programs as plain lists, made from chance, carried out by one interpreter.

A program is a block, a list of operations; an operation is a list of a name and arguments, some of
them blocks. Every leaf has a number of its own, so that an effect says which call it belongs to.
The interpreter notes what happens in the order in which it happens: that list is the run's result,
so a replay that ends with the same bytes took every branch in the same order.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from random import Random
from typing import Any

import holdfast
from holdfast.engine.declare import NOT_DONE, Agent
from holdfast.journal.views import RunRow, Wait
from holdfast.testing.outside import Outside
from holdfast.tools import world
from holdfast.values.errors import Outside as OutsideError

Block = list[Any]

LEAVES = "read read send pay peek write now random uuid sleep fail ask wait".split()
BRANCHES = (
    "gather group race timeout try cancel background choose swallow finally spawn branch undo"
).split()


def generate(random: Random, *, size: int = 12, without: frozenset[str] = frozenset()) -> Block:
    """A random program of about ``size`` leaves, without the named operations."""
    leaves = [name for name in LEAVES if name not in without]
    branches = [name for name in BRANCHES if name not in without]
    numbers = iter(range(1, 1_000_000))
    left = size

    def leaf() -> Block:
        nonlocal left
        left -= 1
        name = random.choice(leaves)
        number = next(numbers)
        return [name, random.choice([1, 20, 300, 4000])] if name == "sleep" else [name, number]

    def block(depth: int) -> Block:
        return [operation(depth) for _ in range(random.randint(1, 3))]

    def operation(depth: int) -> Block:
        if depth >= 3 or left <= 0 or random.random() < 0.55:
            return leaf()
        name = random.choice(branches)
        match name:
            case "gather" | "group" | "race":
                return [name, [block(depth + 1) for _ in range(random.randint(2, 3))]]
            case "timeout" | "cancel":
                return [name, random.choice([1, 30, 500]), block(depth + 1)]
            case "try" | "choose" | "finally":
                return [name, block(depth + 1), block(depth + 1)]
            case "branch" | "undo":
                return [name, random.random() < 0.6, block(depth + 1)]
            case _:
                return [name, block(depth + 1)]

    program: Block = []
    while left > 0:
        program.append(operation(0))
    if "continue" not in without and random.random() < 0.2:
        program.append(["continue", block(1)])
    return program


class Cast:
    """The tools and the agent of random programs. ``pause()``: seconds that a call takes;
    ``mishap()``: "", "fail" (nothing happens, retryable), "lost" (it happens, the reply does not
    come), "blind" (as lost, and looking it up fails too)."""

    def __init__(
        self,
        outside: Outside,
        pause: Callable[[], float] = lambda: 0.0,
        mishap: Callable[[], str] = lambda: "",
    ) -> None:
        self.outside = outside
        self.pause = pause
        self.mishap = mishap
        self.blind: set[int] = set()
        self.agent = self._agent()

    async def act(self, kind: str, name: str, number: int) -> int:
        """Perform one call."""
        mishap = self.mishap() if kind in ("idempotent", "once") else ""
        await asyncio.sleep(self.pause())
        if mishap == "fail":
            raise OutsideError(f"{name} {number} is unavailable", retryable=True)
        self.outside.did(kind, name, number)
        if mishap == "blind":
            self.blind.add(number)
        if mishap:
            raise ConnectionError(f"{name} {number}: the reply was lost")
        return number * 7

    async def undo(self, number: int, result: int) -> None:
        """Take a call back."""
        await self.act("idempotent", "undo", number)

    def found(self, number: int) -> Any:
        """What looking up payment ``number`` finds."""
        if number in self.blind:
            raise OutsideError("the look-up is down")
        return number * 7 if self.outside.count("once", "pay", number) else NOT_DONE

    def person(self, row: RunRow, wait: Wait) -> tuple[str, Any]:
        """A person who knows the outside and tells the truth."""
        if wait.about == "question":
            return "answer", f"yes to {wait.text}"
        if wait.about == "action":
            return "approve", None
        match = re.match(r"Did pay\(number=(\d+)\) happen", wait.text)
        number = int(match[1]) if match else 0
        happened = self.outside.count("once", "pay", number)
        return ("answer", number * 7) if happened else ("approve", None)

    def _agent(self) -> Agent[..., Any]:
        act, outside = self.act, self.outside

        @holdfast.tool(effect="read")
        async def read(number: int) -> int:
            return await act("read", "read", number)

        def guess(number: int) -> int:
            return number * 7

        @holdfast.tool(effect="idempotent", retries=3, backoff=0.05, preview=guess, undo=self.undo)
        async def send(number: int) -> int:
            return await act("idempotent", "send", number)

        @holdfast.tool(
            effect="once", retries=3, backoff=0.05, reconcile=self.found, preview=guess,
            undo=self.undo,
        )  # fmt: skip
        async def pay(number: int) -> int:
            return await act("once", "pay", number)

        @holdfast.tool(effect="read")
        def peek(number: int) -> int:
            outside.did("read", "peek", number)
            return number * 7

        @holdfast.tool(effect="read")
        async def fail(number: int) -> int:
            await act("read", "fail", number)
            raise ValueError(f"number {number}")

        tools = {"read": read, "send": send, "pay": pay, "peek": peek, "fail": fail}

        @holdfast.agent(name="random-program")
        async def program(block: Any) -> list[Any]:
            interpreter = _Interpreter(tools, program)
            try:
                await interpreter.block(block)
            except Exception as error:  # noqa: BLE001 - how it ends is part of what is compared
                interpreter.log.append(f"ended by {type(error).__name__}")
            return list(interpreter.log)

        return program


class _Interpreter:
    """One execution of a program."""

    def __init__(self, tools: dict[str, Any], program: Any) -> None:
        self.log: list[Any] = []
        self._tools = tools
        self._program = program
        self._left: list[Any] = []

    async def block(self, block: Block) -> None:
        for operation in block:
            name, *rest = operation
            await (self._leaf(name, rest[0]) if name in LEAVES else self._branch(name, rest))

    async def _leaf(self, name: str, number: int) -> None:
        match name:
            case "peek":
                self.log.append([name, self._tools[name](number)])
            case "write":
                await world.write(f"file{number}", str(number))
                self.log.append([name, number])
            case "now":
                self.log.append([name, holdfast.now().isoformat()])
            case "random":
                self.log.append([name, holdfast.random()])
            case "uuid":
                self.log.append([name, holdfast.uuid()])
            case "sleep":
                await holdfast.sleep(number / 1000)
                self.log.append([name, number])
            case "ask":
                self.log.append([name, await holdfast.ask(f"question {number}")])
            case "wait":
                self.log.append([name, await holdfast.wait_for(f"signal{number}")])
            case _:
                self.log.append([name, await self._tools[name](number)])

    async def _branch(self, name: str, rest: list[Any]) -> None:
        match name:
            case "gather":
                found = await asyncio.gather(*map(self.block, rest[0]), return_exceptions=True)
                self.log.append([name, [type(one).__name__ for one in found]])
            case "group":
                # a task of its own: Python 3.11 leaves one that met a failing group half cancelled
                await asyncio.create_task(self._group(rest[0]))
            case "race":
                await holdfast.race(*map(self.block, rest[0]))
                self.log.append([name, len(rest[0])])
            case "timeout":
                await self._timeout(rest[0] / 1000, rest[1])
            case "try":
                await self._try(*rest)
            case "cancel":
                await self._cancel(rest[0] / 1000, rest[1])
            case "background":
                self._left.append(asyncio.create_task(self._quietly(rest[0])))
            case "choose":
                await self.block(rest[0] if holdfast.random() < 0.5 else rest[1])
            case "finally":
                try:
                    await self.block(rest[0])
                finally:
                    await self.block(rest[1])
            case "branch":
                await self._fork(*rest)
            case "undo":
                await self._undo(*rest)
            case "continue":
                holdfast.continue_as(rest[0])
            case "swallow":
                try:
                    await self.block(rest[0])
                except asyncio.CancelledError:
                    self.log.append("swallowed")
            case _:
                child = await holdfast.spawn(self._program, rest[0])
                self.log.append([name, await child.result()])

    async def _group(self, blocks: list[Block]) -> None:
        async with asyncio.TaskGroup() as group:
            for one in blocks:
                group.create_task(self.block(one))

    async def _timeout(self, seconds: float, block: Block) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.block(block)
        except TimeoutError:
            self.log.append("timed out")

    async def _try(self, block: Block, otherwise: Block) -> None:
        try:
            await self.block(block)
        except Exception as error:  # noqa: BLE001 - whatever it was, go on another way
            self.log.append(["caught", type(error).__name__, str(error)])
            await self.block(otherwise)

    async def _cancel(self, seconds: float, block: Block) -> None:
        one = asyncio.create_task(self.block(block))
        try:
            await holdfast.sleep(seconds)
        finally:
            one.cancel()
        await asyncio.wait([one])
        self.log.append("cancelled" if one.cancelled() else "too late to cancel")

    async def _fork(self, merge: bool, block: Block) -> None:
        async with holdfast.fork() as branch:
            await self.block(block)
            if merge:
                merged = await branch.merge()
                done = merged.published
                self.log.append(["merged", merged.merged, len(done.done), len(done.left)])

    async def _undo(self, fail: bool, block: Block) -> None:
        try:
            async with holdfast.transaction():
                await self.block(block)
                if fail:
                    raise LookupError  # nothing else here raises that
        except LookupError:
            self.log.append("rolled back")
        except holdfast.NotUndone as error:
            self.log.append(["not undone", len(error.left)])

    async def _quietly(self, block: Block) -> None:
        with contextlib.suppress(Exception):
            await self.block(block)
