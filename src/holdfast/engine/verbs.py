"""What agent code may call besides tools: time, chance, people, signals, other agents.

Outside a run, ``now``, ``random`` and ``uuid`` are simply the clock and chance, ``gather`` and
``race`` work on any event loop, and what needs a run says so.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from holdfast.engine import scope
from holdfast.engine.branch import Check, Merge, fork, merge_child
from holdfast.engine.choices import Resolve
from holdfast.engine.declare import Agent, Shape, Tool
from holdfast.engine.described import Described, Perform
from holdfast.engine.history import Step
from holdfast.engine.publish import publish_held
from holdfast.engine.run import ContinueAs, Run
from holdfast.engine.steps import outcome
from holdfast.journal.views import CHILD
from holdfast.values.errors import Misuse, RunFailed
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemClock, SystemDice

T = TypeVar("T")


def _run(what: str) -> Run:
    run = scope.current_run()
    if run is None:
        raise Misuse(f"{what} works inside a run only: start the agent with a runtime")
    return run


def _outcome(run: Run, step: Step) -> Any:
    return outcome(step, run.outer.fetch)


def now() -> dt.datetime:
    """The time, in UTC. A step: a replayed run sees the time that it saw before."""
    run = scope.current_run()
    ms = SystemClock().now_ms() if run is None else run.note("dice", "now", run.outer.now_ms())[1]
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)


def random() -> float:
    """A random number, 0 <= x < 1 (53 bits). A step."""
    run = scope.current_run()
    dice = SystemDice() if run is None else run.outer.dice
    value = int.from_bytes(dice.take(7)) >> 3
    return (value if run is None else run.note("dice", "random", value)[1]) / (1 << 53)


def uuid() -> str:
    """A random UUID (version 4) in its usual form. A step."""
    run = scope.current_run()
    taken = bytearray((SystemDice() if run is None else run.outer.dice).take(16))
    taken[6] = taken[6] & 0x0F | 0x40
    taken[8] = taken[8] & 0x3F | 0x80
    digits = taken.hex()
    text = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return text if run is None else str(run.note("dice", "uuid", text)[1])


async def sleep(seconds: float) -> None:
    """Wait. A step: costs nothing while it waits, survives restarts. Same as ``asyncio.sleep``."""
    await asyncio.sleep(seconds)


async def ask(text: str, *, choices: Sequence[str] = (), type: Any = Any) -> Any:  # noqa: A002
    """Ask a person and wait for the answer, however long it takes. ``type``: a hint that the answer
    must fit: one that does not is asked for again. Raises `Refused` if the person declines."""
    run = _run("holdfast.ask()")
    shape = Shape(str if choices and type is Any else type, "ask, answer")
    pending = run.step("ask", "person", {"text": text, "choices": list(choices)})
    pending.check = lambda value: shape.fit(value, "answer")
    return shape.fit(_outcome(run, await run.take(pending)), "answer")


async def wait_for(signal: str, *, type: Any = Any) -> Any:  # noqa: A002 - as in ask
    """Wait for a signal of that name and return its value; one sent earlier counts."""
    run = _run("holdfast.wait_for()")
    step = await run.take(run.step("signal", signal, {"name": signal}))
    return Shape(type, f"signal {signal}").fit(_outcome(run, step), f"signal {signal}, value")


async def call(tool: Tool[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a tool without blocking the loop, whether its function is asynchronous or not."""
    run = _inside()
    if run is not None:
        return await run.call_async(tool, args, kwargs)
    return (
        await tool.fn(*args, **kwargs)
        if tool.is_async
        else await asyncio.to_thread(tool.fn, *args, **kwargs)
    )


async def step(
    tool: Tool[..., Any],
    args: Mapping[str, Any],
    *,
    key: str = "",
    perform: Perform | None = None,
    patience: float | None = None,
) -> Any:
    """The core call, which adapters of frameworks are written on: take a step that calls ``tool``
    with arguments by name, and return its result.

    Inside an agent's run it is a step of that; inside a guest (`Runtime.guest`) one of the guest's,
    under ``key`` if that is given; outside of both the tool is simply performed. ``perform``: what
    is called instead of the tool's own function, for `Described` tools. ``patience``: as for
    `Guest.step`. Raises what the step ended
    with: `Refused`, `Expired`, `OutcomeUnknown`, `ToolError`.
    """
    guest = scope.guest.get()
    if scope.current_run() is None and guest is not None and scope.call.get() is None:
        taken = await guest.step(tool, args, key=key, perform=perform, patience=patience)
        return taken.value
    if isinstance(tool, Described):
        tool = tool.with_(perform)
    return await call(tool, **args)


def _inside() -> Any:
    """What takes the steps of the code that is running: a run, a guest, or None."""
    run = scope.current_run()
    if run is not None:
        return run
    return scope.guest.get() if scope.call.get() is None else None


class Child:
    """A run that this run spawned: ``id``; ``world``: the root that it began with; after `result`,
    ``end``: the root that it ended with; ``holds``: what leaves the world is held in it."""

    branch = ""

    def __init__(self, run: Run, program: Agent[..., Any], found: dict[str, Any]) -> None:
        self._run = run
        self._program = program
        self.id: str = found["run"]
        self.world: str = found["world"]
        self.holds: bool = found["holds"]
        self.end = ""

    @property
    def settled(self) -> bool:
        """Whether its end was awaited."""
        return bool(self.end)

    async def result(self) -> Any:
        """Wait for the child's end and return its result; `RunFailed` if it failed. A step."""
        name = CHILD + self.id
        step = await self._run.take(self._run.step("signal", name, {"name": name}))
        end = _outcome(self._run, step)
        self.end = end["world"]
        if end["status"] != "done":
            text = f"run {self.id} {end['status']}: {end['type']}: {end['error']}"
            raise RunFailed(text, error_type=end["type"])
        return self._program.returns.fit(end["value"], f"run {self.id}, result")


async def spawn(program: Agent[..., Any], /, *args: Any, **kwargs: Any) -> Child:
    """Start another agent as a run of its own, in a fork of this run's world. A step. It holds what
    leaves the world if this code does: in a fork, or on a branch."""
    return await spawn_holding(program, args, kwargs, holds=False)


async def spawn_holding(
    program: Agent[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, holds: bool
) -> Child:
    """`spawn`; with ``holds``, what leaves the world is held in the child whatever holds here."""
    run = _run("holdfast.spawn()")
    asked: dict[str, Any] = {"args": program.plain(program.bind(args, kwargs))}
    if holds:
        asked["holds"] = True
    pending = run.step("spawn", program.name, asked)
    pending.child = program
    return Child(run, program, _outcome(run, await run.take(pending)))


async def merge(child: Child, check: Check | None = None, resolve: Resolve | None = None) -> Merge:
    """Merge what a finished child did to its world into this run's world, three ways; then publish
    what it held, in order. Steps.

    All or nothing: conflicts are returned, not raised, and leave the world as it was. ``check``
    runs on the candidate before the world moves, as in `Branch.merge`.

    ``resolve`` decides conflicts: "ours" (what stands here), "theirs" (the child's) or "base" for
    all of them, or a function of one `MergeConflict`, which may take steps (ask a person, spawn an
    agent) and gives such a word, new content, the fields of a row by column, or None: it stays a
    conflict. With all decided the merge is made again, as a step that names the decisions.
    `Misuse` for another answer.
    """
    run = _run("holdfast.merge()")
    if not child.end:
        raise Misuse(f"merge of {child.id}: await its result first")
    if check is not None:
        async with fork() as branch:
            merged = await merge(child, resolve=resolve)
            return await branch.merge(check, resolve) if merged.merged else merged
    merged = await merge_child(run, child.id, child.world, child.end, resolve)
    if not (merged.merged and child.holds):
        return merged
    return Merge(True, published=await publish_held(child.id))


async def gather(*awaitables: Awaitable[T], limit: int = 0) -> list[T]:
    """Wait for all and return their results in order; ``limit``: how many at once (0: all). The
    first failure cancels the rest and is raised."""
    slots = asyncio.Semaphore(limit or max(1, len(awaitables)))

    async def one(awaitable: Awaitable[T]) -> T:
        async with slots:
            return await awaitable

    tasks = [asyncio.ensure_future(one(awaitable)) for awaitable in awaitables]
    try:
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task in done:
                    task.result()
        return [task.result() for task in tasks]
    finally:
        await _cancel_rest(tasks)


async def _cancel_rest(tasks: Sequence[asyncio.Future[T]]) -> None:
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


async def race(*awaitables: Awaitable[T]) -> T:
    """Return what the first to finish returns (or raise what it raises); cancel the others."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    if not tasks:
        raise Misuse("race(): nothing to wait for")
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        await _cancel_rest(tasks)


def continue_as(*args: Any, **kwargs: Any) -> NoReturn:
    """End this segment of the run and go on with new arguments: what came before is history that
    need not be replayed any more. For programs that run for very long."""
    run = _run("holdfast.continue_as()")
    raise ContinueAs(run.program.bind(args, kwargs))


def spent(**amounts: float) -> None:
    """Inside a tool: tell what this call has used, by unit (``money=0.02, tokens=812``; other units
    are recorded too). What is told adds up. `Misuse` outside a tool, or for what is no amount."""
    performing = scope.call.get()
    if performing is None:
        raise Misuse("holdfast.spent() works inside a tool only, while it is performed")
    performing.spend(amounts)


def run_id() -> str:
    """The id of the run that this code is inside of, in an agent or a tool; "" outside a run."""
    run, performing = scope.current_run(), scope.call.get()
    if run is not None:
        return str(run.id)
    return performing.run if performing is not None else ""


def idempotency_key() -> str:
    """Inside a tool: a key that is the same on every attempt of this very call, for the receiver to
    recognise repetitions. Outside a run: a new random one."""
    performing = scope.call.get()
    return new_id(SystemDice(), chars=32) if performing is None else performing.idempotency_key


def attempt() -> int:
    """Inside a tool: which attempt of this call it is, from 1."""
    performing = scope.call.get()
    return 1 if performing is None else performing.attempt
