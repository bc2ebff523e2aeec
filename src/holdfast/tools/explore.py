"""Trying several ways at once: each in a child run on a fork of the world; the best are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from holdfast.engine.branch import Branch, Check, Merge
from holdfast.engine.choices import Resolve
from holdfast.engine.declare import Agent, Bound
from holdfast.engine.publish import discard_held, inside
from holdfast.engine.verbs import Child, merge, spawn_holding
from holdfast.tools.attempts import checked
from holdfast.tools.command import Result
from holdfast.values.errors import HoldfastError, Misuse

R = TypeVar("R")

Score = Sequence[str] | Agent[..., Any] | Callable[[Any], Awaitable[float]]
"""What judges a candidate: a command (exit 0 passes), or an agent or an async function that is
given the candidate's result and sees its world: true or false, or a number (above 0 passes)."""


class Candidate(Generic[R]):
    """One way that was tried. ``id``: its run; ``result``: what it returned (None if it failed);
    ``score``: of the check, the higher the better; ``passed``; ``why``: what the check or the
    failure said."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.id = child.id
        self.result: R | None = None
        self.score = 0.0
        self.passed = False
        self.why = ""

    def __repr__(self) -> str:
        return f"<candidate {self.id} score={self.score:g}>"

    async def merge(self, check: Check | None = None, resolve: Resolve | None = None) -> Merge:
        """Merge its world into the caller's and publish what it held; see `holdfast.merge`."""
        return await merge(self.child, check, resolve)

    async def discard(self) -> None:
        """Drop what it held. A step."""
        await discard_held(self.id)


class Kept(list[Candidate[R]]):
    """The candidates that were kept, best first. ``rejected``: the others, with ``why``."""

    def __init__(self, kept: Sequence[Candidate[R]] = ()) -> None:
        super().__init__(kept)
        self.rejected: list[Candidate[R]] = []


async def explore(
    calls: Sequence[Bound[R]],
    *,
    check: Score | None = None,
    keep: int = 1,
    limit: int = 0,
    first: bool = False,
) -> Kept[R]:
    """Try each of ``calls`` (such as ``solve.with_(3)``) in a child run of its own, on a fork of
    the world as it is, where what leaves the world is held; return the best ``keep`` that passed
    ``check``, best first, for the caller to merge. The others are discarded; the ``rejected`` of
    the list are they. What a check raises that is no `HoldfastError` is raised.

    Without a check, those pass that do not fail. ``limit``: how many at once (0: all). ``first``:
    stop the rest once ``keep`` have passed. Children and checks are durable steps.
    """
    run = inside("holdfast.explore()")
    if keep < 1:
        raise Misuse("explore(): keep at least one")
    wanted = keep if first else len(calls) + 1
    trial = _Trial[R](check, wanted, asyncio.Semaphore(limit or max(1, len(calls))))
    tasks = [asyncio.create_task(trial.attempt(one)) for one in calls]
    try:
        open_now: set[asyncio.Task[None]] = set(tasks)
        while open_now and not trial.enough:
            done, open_now = await asyncio.wait(open_now, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done:
                    task.result()
    except BaseException:
        if not run.leaving:
            trial.over = True
            await trial.stop(tasks)
            await trial.discard(trial.found)
        raise
    trial.over = True
    await trial.stop(tasks)
    ranked = sorted((one for one in trial.found if one.passed), key=lambda one: -one.score)
    kept = Kept(ranked[:keep])
    kept.rejected = [one for one in trial.found if one not in kept]
    await trial.discard(kept.rejected)
    return kept


class _Trial(Generic[R]):
    """One exploration under way. ``found``: candidates in the order of ``calls``; ``over``: no more
    are begun."""

    def __init__(self, check: Score | None, wanted: int, slots: asyncio.Semaphore) -> None:
        self._check = check
        self._wanted = wanted
        self._slots = slots
        self._stoppable: set[asyncio.Task[Any]] = set()
        self.found: list[Candidate[R]] = []
        self.over = False

    @property
    def enough(self) -> bool:
        """Whether as many have passed as are wanted."""
        return sum(one.passed for one in self.found) >= self._wanted

    async def attempt(self, call: Bound[R]) -> None:
        async with self._slots:
            if self.over:
                return
            child = await spawn_holding(call.program, call.args, call.kwargs, holds=True)
            candidate: Candidate[R] = Candidate(child)
            self.found.append(candidate)
            if self.over:
                return
            task = asyncio.current_task()
            assert task is not None
            self._stoppable.add(task)  # from here on its child is known, and can be stopped
            try:
                candidate.result = await child.result()
                value, candidate.why = await self._judge(child, candidate.result)
                candidate.score, candidate.passed = float(value), float(value) > 0
            except HoldfastError as error:  # a way that fails did not pass; a bug in a check is one
                candidate.why = f"{type(error).__name__}: {error}"

    async def _judge(self, child: Child, result: Any) -> tuple[float, str]:
        """How good a candidate is, found out in a fork of its world that is thrown away."""
        check = self._check
        if check is None:
            return 1.0, ""
        async with Branch(child.end):
            if isinstance(check, Agent):
                judge = await spawn_holding(check, (result,), {}, holds=True)
                try:
                    return await judge.result(), f"run {judge.id}"
                finally:
                    await discard_held(judge.id)
            if callable(check):
                return await check(result), ""
            judge = await spawn_holding(checked, (list(check),), {}, holds=True)
            done: Result = await judge.result()
            said = (done.stdout + done.stderr).strip()[-2000:]
            return float(done.exit == 0), f"exit {done.exit}\n{said}".strip()

    async def stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End what goes on; a child that is just being made is waited for, so that it is known."""
        for task in tasks:
            if task in self._stoppable and not task.done():
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def discard(self, candidates: Sequence[Candidate[R]]) -> None:
        for one in candidates:
            await one.discard()
