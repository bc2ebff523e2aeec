"""One run in memory: its program, executed or replayed on a loop of its own.

A `Run` decides nothing about the outside. Its host appends what happens; `Run.advance` gives the
outcomes to the program in the order in which they were recorded, live as on replay.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterable, Mapping
from contextvars import Context
from typing import Any

from holdfast.engine import history as past
from holdfast.engine import scope
from holdfast.engine.declare import Agent
from holdfast.engine.history import Step
from holdfast.engine.steps import ContinueAs, Outer, Pending, Steps
from holdfast.journal.events import Event
from holdfast.values.errors import Diverged, Suspended

__all__ = ["ContinueAs", "Outer", "Pending", "Run"]


def _drop(coro: Any) -> None:
    """Close a coroutine, whatever its ``finally`` blocks say to it: from the innermost outwards,
    for one that awaits again while it is closed would be left behind by those around it."""
    for _ in range(1000):
        inner = coro
        while inspect.iscoroutine(inner.cr_await) and inner.cr_await.cr_frame is not None:
            inner = inner.cr_await
        with contextlib.suppress(BaseException):  # code that is being dropped has no say
            inner.close()
        if coro.cr_frame is None:
            return


class Run(Steps):
    """An agent program being executed or replayed. See the module's docstring."""

    def __init__(
        self, name: str, program: Agent[..., Any], outer: Outer, events: Iterable[Event]
    ) -> None:
        super().__init__(name, outer, events)
        self.program = program
        self.lane = scope.Lane(self, "")
        self.main: asyncio.Future[Any] | None = None

    def begin(self) -> None:
        """Start the program with its recorded input (checked against today's hints)."""
        from_record = past.unpack(self.history.input, self.outer.fetch)
        bound = self.program.unpack_args(from_record)
        context = Context()
        context.run(scope.lane.set, self.lane)
        self.main = self.loop.strand(self._main(bound), context)

    async def _main(self, bound: Mapping[str, Any]) -> Any:
        result = self.program.invoke(bound)
        return await result if self.program.is_async else result

    def advance(self) -> None:
        """Run the program as far as history reaches; then it stands before the unknown.

        Raises `Diverged` if recorded outcomes remain that it does not ask for.
        """
        history, order = self.history, self.history.order
        self.loop.drain()
        while self.broken is None and history.cursor < len(order) and not self._over():
            if not self._give(order[history.cursor]):
                break
            self.loop.drain()
        if self.broken is not None or self.leaving:
            return
        step = self._unasked() if history.cursor < len(order) or self._over() else None
        if step is not None:
            self.broken = Diverged(
                f"{self.id}: step {step.key} ({past.title(step.plan)}) is recorded, but the "
                "program does not ask for it; fork before it: "
                f"`holdfast fork {self.id}@{step.key}`",
                key=step.key,
                diff=f"- {past.title(step.plan)}\n+ (nothing)",
            )

    def _unasked(self) -> Step | None:
        """A recorded outcome that the program should have asked for and did not.

        After its end only what it left behind may still be recorded: steps of other tasks, and
        steps of its own that it had dropped.
        """
        history = self.history
        if not self._over():
            return history.order[history.cursor] if history.replaying else None
        for step in history.steps.values():
            mine = "." not in step.key and step.plan is not None and step.plan.kind != "wait"
            if mine and int(step.key) > self.lane.count:
                return step
        return None

    def _over(self) -> bool:
        """Whether the program has ended: what is recorded after that was given to nobody."""
        return self.main is not None and self.main.done()

    def _give(self, step: Step) -> bool:
        """Hand the next recorded outcome to whoever waits for it; False if nobody does."""
        pending = self.pending.get(step.key)
        if pending is None and not step.key.startswith(past.CANCEL_KEY):
            return False
        self.history.cursor += 1
        if pending is not None:
            del self.pending[step.key]
            if pending.dropped:
                return True
        self.move_clock(step)
        if pending is None:
            if self.main is not None:
                self.main.cancel("the run was asked to stop")
        elif isinstance(pending.future, asyncio.TimerHandle):
            self.loop.make_ready(pending.future)
        elif pending.future is not None:
            pending.future.set_result(step)
        return True

    def let_go(self, pending: Pending) -> None:
        """Nobody waits for a step any more; only guests lose patience."""
        raise AssertionError(f"{self.id}: step {pending.key} is not a guest's")

    def leave(self) -> None:
        """Leave memory: raise `Suspended` wherever the program waits, then drop it."""
        self.leaving = True
        for pending in list(self.pending.values()):
            if pending.carrier is not None:
                pending.carrier.cancel()
            if isinstance(pending.future, asyncio.Future) and not pending.future.done():
                pending.future.set_exception(Suspended("the run leaves memory"))
        self.pending.clear()
        self.outbox.clear()
        self.loop.drain()
        # what the program still does in ``finally`` is inside the run: no step is taken any more
        inside = Context()
        inside.run(scope.lane.set, scope.Lane(self, ""))
        for task in [
            *self.loop.tasks,
            *([self.main] if isinstance(self.main, asyncio.Task) else []),
        ]:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined] # dropped on purpose
                inside.run(_drop, task.get_coro())
            elif not task.cancelled():
                task.exception()
        self.loop.close()
