"""All or nothing: a block whose steps are rolled back if it fails."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from holdfast.engine import scope
from holdfast.engine.commands import Done
from holdfast.engine.held import LEAVES
from holdfast.engine.history import Step, acted_with
from holdfast.engine.publish import inside
from holdfast.engine.run import ContinueAs, Pending, Run
from holdfast.engine.steps import outcome
from holdfast.values.canon import pack, unpack
from holdfast.values.errors import HoldfastError, Misuse, NotUndone, Suspended


class Transaction:
    """A block that happens wholly or not at all; see `transaction`. ``steps``: those in it that
    leave the world, by key, in the order they were asked for."""

    def __init__(self) -> None:
        self.steps: dict[str, Pending] = {}
        self.key = ""
        self._over = False

    def add(self, pending: Pending) -> None:
        """Take note of a step; `Misuse` once the transaction was rolled back."""
        if self._over:
            raise Misuse(f"transaction {self.key}: was rolled back, nothing happens in it now")
        self.steps[pending.key] = pending

    async def __aenter__(self) -> Transaction:
        run, lane = inside("holdfast.transaction()"), scope.lane.get()
        if self.key or lane is None:
            raise Misuse(f"transaction {self.key}: is entered already; call transaction() again")
        self._run, self._lane = run, lane
        self.key, self._root = run.note("transaction", "begin", run.root_of(lane.branch))
        self._around: Transaction | None = lane.transaction
        lane.transaction = self
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lane.transaction = self._around
        # control flow, not failures: the run leaves memory, or goes on in its next segment
        if self._run.leaving or isinstance(error, Suspended | GeneratorExit):
            return
        if error is None or isinstance(error, ContinueAs):
            if self._around is not None:
                self._around.steps.update(self.steps)
            return
        self._over = True
        left, stopped = await self._roll_back_whatever_comes()
        if left:
            what = "; ".join(f"{name} (step {key}): {why}" for key, name, why in left)
            text = f"run {self._run.id}: the transaction failed and could not be undone: {what}"
            raise NotUndone(text, left=tuple(left)) from error
        if stopped is not None:
            raise stopped

    async def _roll_back_whatever_comes(
        self,
    ) -> tuple[list[tuple[str, str, str]], asyncio.CancelledError | None]:
        """Roll back in a task of its own: being cancelled meanwhile must not leave half of it."""
        self._lane.transaction = None  # undoing is no part of what is around
        rolling = asyncio.create_task(self._roll_back())
        self._lane.transaction = self._around
        stopped: asyncio.CancelledError | None = None
        while not rolling.done():
            try:
                await asyncio.shield(rolling)
            except asyncio.CancelledError as error:
                stopped = error
        return rolling.result(), stopped

    async def _roll_back(self) -> list[tuple[str, str, str]]:
        """INVARIANT E15: a transaction that fails leaves the world as it was and undoes, latest
        first, what had left it; what could not be undone is said."""
        run = self._run
        asked = {"root": self._root, "steps": list(self.steps)}
        pending = run.step("transaction", "rollback", asked, "world")
        found = outcome(await run.take(pending), run.outer.fetch)
        left: list[tuple[str, str, str]] = []
        for one in found:
            key = one["step"]
            why = one["why"] or await self._undo(key)
            if why:
                left.append((key, self.steps[key].plan.name, why))
        return left

    async def _undo(self, key: str) -> str:
        """Undo a step; "" if that is done, else why not."""
        run, done = self._run, self.steps[key]
        if done.of is not None and done.of.first.partition("@")[0] != run.id:
            return f"run {done.of.run} asked for it, it cannot be undone from here"
        if done.tool is None or done.tool.undo is None:
            return "it declares no undo"
        step = run.history.steps[key]
        plain = None if step.value is None else unpack(step.value, run.outer.fetch)
        result = done.tool.returns.fit(plain, f"tool {done.plan.name}, recorded result")
        bound, mine = done.bound, acted_with(step)
        if mine is not None and mine != done.args:
            # INVARIANT E110: what is undone is what was done, also where a person changed that
            bound = done.tool.unpack_args(unpack(mine, run.outer.fetch))
        if done.tool.plan_of(bound).effect not in LEAVES:
            return ""  # as a person changed it, it did not leave the world
        try:
            given = {**bound, "result": result}
            await run.call_async(done.tool.undo, (), given, f"{run.id}@{key}")
        except HoldfastError as error:
            return f"undoing it failed: {error}"
        return ""


def transaction() -> Transaction:
    """A block of steps that is all or nothing: ``async with holdfast.transaction():``.

    If an exception (also a cancellation) leaves the block, the run's world goes back to what it was
    at its beginning, and the `undo` of every call within that left the world runs, latest first. If
    all could be undone the exception goes on; else `NotUndone`, caused by it, says what was not. A
    run that waits, or whose process dies, goes on inside the block. May be nested. The world goes
    back as a whole: other tasks of the run should not change files meanwhile.
    """
    return Transaction()


def roll_back(run: Run, pending: Pending) -> Done:
    """Put the world back, and list what is to be undone, latest first; ``why``: it cannot be.
    ``pending`` names steps none of which is in progress any more."""
    found: list[dict[str, Any]] = []
    drops: list[str] = []
    for key in reversed(pending.bound["steps"]):
        step = run.history.steps.get(key)
        if step is None or step.settled is None or step.settled.origin == "fork":
            continue  # nothing happened, or not here
        if step.settled.status == "held" or step.settled.origin == "preview":
            drops.append(key)
        elif step.settled.status == "value":
            found.append({"step": key, "why": ""})
        elif _may_have(step):
            found.append({"step": key, "why": "nobody knows whether it happened"})
    blobs: dict[str, bytes] = {}
    value = pack(found, blobs)
    return Done(value=value, world=pending.bound["root"], blobs=blobs, drops=tuple(drops))


def _may_have(step: Step) -> bool:
    """Whether a step that has no result may have left the world all the same."""
    settled = step.settled
    if settled is None or step.planned is None or step.planned.held or settled.error is None:
        return False
    if settled.status == "unknown":
        return True
    repeats = step.plan is not None and step.plan.effect == LEAVES[0]
    cut_off = settled.error.type == "CancelledError" or settled.error.retryable
    return settled.status == "error" and repeats and cut_off and settled.error.type != "Outside"


def in_progress(run: Run, pending: Pending) -> bool:
    """Whether a step that a rollback is about is being carried out still."""
    for key in pending.bound["steps"]:
        one = run.pending.get(key)
        if one is None or run.history.step(key).settled is not None:
            continue
        if one.carrier is None or not one.carrier.done():
            return True
    return False


async def settled_steps(run: Run, pending: Pending, turn: asyncio.Event) -> None:
    """Wait until nothing that a rollback is about is in progress; ``turn`` is set, and cleared,
    whenever a step was carried out."""
    while in_progress(run, pending):
        turn.clear()
        await turn.wait()
