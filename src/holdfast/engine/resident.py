"""A run in memory: drives its steps along the path, delivers outcomes, parks it when it only
waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from holdfast.engine import ending
from holdfast.engine.answers import child_news, label_in
from holdfast.engine.checking import tool_named
from holdfast.engine.claims import carry_out, equip
from holdfast.engine.commands import (
    Above,
    Append,
    Await,
    Command,
    Consult,
    Done,
    Find,
    Labels,
    Look,
    Path,
    Perform,
    Sums,
    Terms,
)
from holdfast.engine.fork import above
from holdfast.engine.history import CANCEL_KEY, Heard, Step
from holdfast.engine.home import Home
from holdfast.engine.path import abandon, walk
from holdfast.engine.perform import perform, perform_now
from holdfast.engine.run import Pending, Run
from holdfast.engine.spending import priced
from holdfast.engine.transaction import roll_back, settled_steps
from holdfast.journal.events import Draft, Event, Failure, Plan, StepSettled
from holdfast.journal.store import NO_CAPS, Batch
from holdfast.journal.views import CANCEL
from holdfast.values.canon import Blobs
from holdfast.values.errors import Conflict, Diverged, Exceeded, HoldfastError, Misuse, Suspended


class Resident:
    """One run in memory. All methods are called on the host's event loop.

    ``awaits``: what steps wait for, by key; ``carriers``: tasks that carry out steps; ``busy``: how
    many of these do not wait; ``heard``: which events are known; ``stopping``:
    this process ends; ``closing``: the task in which the run leaves memory.
    """

    def __init__(self, home: Home, run: Run) -> None:
        self.counted = False
        self._serial = 0
        self.home = home
        self.run = run
        self._slots = asyncio.Semaphore(run.program.max_parallel)
        self._world = asyncio.Lock()
        self._carried = asyncio.Event()
        self.awaits: dict[str, tuple[Await, asyncio.Future[None], Pending]] = {}
        self.carriers: set[asyncio.Task[None]] = set()
        self.busy = 0
        self.heard = Heard(run.history, run.id)
        self._parking: asyncio.TimerHandle | None = None
        self.stopping = False
        self.closing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    # Moving the program ---

    def begin(self) -> None:
        """Start (or replay) the program and carry out what history does not answer."""
        try:
            self.run.begin()
        except HoldfastError as error:
            self.run.broken = error
        self.pump()

    def pump(self, carrier: asyncio.Task[None] | None = None) -> Pending | None:
        """Let the program go on as far as it can, then see to what it asks for.

        The first step that it asks for is returned for ``carrier`` to carry out, if given: programs
        that take one step after another need no new task for each.
        """
        run = self.run
        if self.closing is not None or (run.main is None and run.broken is None):
            return None  # it leaves, or waits for its place
        run.advance()
        if run.broken is not None:
            self.close(ending.give_up(self, run.broken))
        elif run.main is not None and run.main.done():
            self.close(ending.finish(self))
        elif run.leaving:
            self.close(ending.unwind(self))
        else:
            first = self.send_out(carrier)
            self._check_idle()
            return first
        return None

    def send_out(self, carrier: asyncio.Task[None] | None = None) -> Pending | None:
        run = self.run
        first = None
        if self.stopping:
            return None
        if run.dropped:
            dropped, run.dropped = run.dropped, []
            for pending in dropped:  # interrupted where that is safe
                mine = pending.carrier is asyncio.current_task()
                if pending.carrier is not None and pending.waiting and not mine:
                    pending.carrier.cancel()
        if run.outbox:
            outbox, run.outbox = run.outbox, []
            for pending in outbox:
                self.busy += 1
                if carrier is not None and first is None:
                    first, pending.carrier = pending, carrier
                    continue
                pending.carrier = self._loop.create_task(self._carry(pending))
                self.carriers.add(pending.carrier)
        if run.history.signals:
            for signal in run.history.pending_signals(CANCEL):
                run.history.consumed.add(signal.pos)
                self.busy += 1
                self.carriers.add(self._loop.create_task(self._cancel(signal.pos)))
        return first

    async def _cancel(self, cause: int) -> None:
        """A stop was asked for: its place among the completions is an outcome like any other."""
        task = asyncio.current_task()
        key = f"{CANCEL_KEY}.{cause}"
        body = StepSettled(key, Plan(CANCEL, "signal"), cause=cause)
        try:
            await self.append([Draft(body, self.home.clock.now_ms())], {})
        except HoldfastError as error:
            self.run.broken = error
        self.busy -= 1
        if task is not None:
            self.carriers.discard(task)
        self.pump()

    # Carrying out steps ---

    async def _carry(self, first: Pending) -> None:
        carrier, run = first.carrier, self.run
        pending: Pending | None = first
        while pending is not None:
            try:
                await self._walk(pending)
            except asyncio.CancelledError:
                if self.closing is not None or run.leaving:
                    break
            except BaseException as error:  # noqa: BLE001 - our own failure: the run stands still
                run.broken = run.broken or error
            finally:
                self.busy -= 1
                self._carried.set()
            pending = self.pump(carrier)
        if carrier is not None:
            self.carriers.discard(carrier)

    async def _walk(self, pending: Pending) -> None:
        if pending.of is not None and pending.tool is None:
            await equip(self.home, self.run, pending)
        path = _priced(self.home, self.run, pending, abandon if pending.dropped else walk)
        answer: Any = None
        # one step changes the world at a time, from its performance (or first check) to its commit
        holds_world = False
        try:
            while True:
                try:
                    command = path.send(answer)
                except StopIteration:
                    return
                answer = None
                if type(command) is Await and holds_world:
                    self._world.release()
                    holds_world = False
                if type(command) is Append:
                    try:
                        await self.append(
                            command.drafts, command.blobs, command.others, caps=command.caps
                        )
                    except Exceeded as error:
                        answer = error
                elif type(command) is Perform:
                    if pending.changes and not holds_world:
                        await self._world.acquire()
                        holds_world = True
                    answer = await self._perform(pending, command)
                elif type(command) is Await:
                    if not await self._await(pending, command):
                        path = _priced(self.home, self.run, pending, abandon)
                elif type(command) is Consult:
                    answer = await self.home.outside.ask(command.engine, command.document)
                else:
                    answer = await _told(self.home, self.run, command)
        finally:
            if holds_world:
                self._world.release()

    async def _perform(self, pending: Pending, command: Perform) -> Done:
        if pending.dropped:
            return Done(error=Failure("CancelledError", "cancelled before it began"))
        if pending.plan.kind == "publish":
            return await carry_out(self.home, self.run, pending)
        if pending.plan.kind == "transaction":
            await settled_steps(self.run, pending, self._carried)
            return roll_back(self.run, pending)
        async with self._slots:
            pending.waiting = True
            try:
                return await perform(self.run, pending, command, self.home.clock)
            finally:
                pending.waiting = False

    async def _await(self, pending: Pending, command: Await) -> bool:
        """Wait; False if the program dropped the step meanwhile."""
        if pending.dropped:
            return False
        future: asyncio.Future[None] = self._loop.create_future()
        self.awaits[pending.key] = (command, future, pending)
        if self.closing is not None:
            raise asyncio.CancelledError  # it is left waiting: who loads the run again waits on
        timer = rest = None
        if command.due:
            delay = max(0.0, (command.due - self.home.clock.now_ms()) / 1000)
            timer = self._loop.call_later(delay, _resolve, future)
        if command.kind == "person" and pending.patience is not None:
            rest = self._loop.call_later(pending.patience, self.run.let_go, pending)
        self.busy -= 1
        pending.waiting = True
        self._check_idle()
        try:
            await future
            if self.closing is not None:
                # INVARIANT E145: what waited when a run began to leave memory begins nothing, so no
                # effect is cut off by our own doing; whoever loads it again finds what has come
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            if not pending.dropped:
                raise
            return False
        finally:
            pending.waiting = False
            self.busy += 1
            if self.closing is None:
                self.awaits.pop(pending.key, None)
            for one in (timer, rest):
                if one is not None:
                    one.cancel()
        return True

    def _batch(
        self, drafts: list[Draft], expect: int | None = None, caps: Mapping[str, int] = NO_CAPS
    ) -> Batch:
        run = self.run
        self._serial += 1
        return Batch(run.id, tuple(drafts), expect, run.epoch, "", self._serial, caps)

    async def append(
        self,
        drafts: list[Draft],
        blobs: Blobs,
        others: tuple[Batch, ...] = (),
        expect: int | None = None,
        caps: Mapping[str, int] = NO_CAPS,
    ) -> list[Event]:
        """Commit drafts (after those that were waiting for company) and take note of them."""
        run = self.run
        while caps and run.buffer:  # what waits for company must not share a refusal
            await self.append([], {})
        waiting: list[Draft] = []
        more: Blobs = {}
        if run.buffer:
            waiting, more = run.take_buffer()
            drafts, blobs = waiting + drafts, {**more, **blobs}
        batch = self._batch(drafts, expect, caps)
        try:
            events = await self.home.store.append((batch, *others), blobs)
        except Exceeded:
            raise  # it has used up its place, and nothing waited for company
        except Conflict:
            self._serial -= 1  # it was not taken: the next one has its place
            run.buffer = waiting + run.buffer
            run.buffer_blobs = {**more, **run.buffer_blobs}
            raise
        self.home.committed(events)
        if self.heard.own(events, drafts):
            self._wake_waiting()
        return events

    def take_now(self, pending: Pending) -> Step:
        """The path of a step, blocking: for code that is not asynchronous."""
        run, home = self.run, self.home
        if pending.changes and self._world.locked():
            raise Misuse(
                f"{pending.plan.name}: another step is changing the world; "
                "await an asynchronous tool instead of calling a blocking one beside it"
            )

        def commit(command: Append) -> Exceeded | None:
            drafts, blobs = run.take_buffer()
            drafts += command.drafts
            batch = self._batch(drafts, caps=command.caps)
            try:
                events = self.home.store.append_now(
                    (batch, *command.others), {**blobs, **command.blobs}
                )
            except Exceeded as error:
                return error
            except HoldfastError as error:
                run.broken = error
                raise Suspended("the journal cannot be written") from error
            self.home.committed(events)
            if self.heard.own(events, drafts):
                self._wake_waiting()
            return None

        path = _priced(home, run, pending, walk)
        answer: Any = None
        with contextlib.suppress(StopIteration):
            while True:
                command = path.send(answer)
                if type(command) is Append:
                    if command.caps and run.buffer:  # see `append`
                        commit(Append([], {}))
                    answer = commit(command)
                elif type(command) is Perform:
                    answer = perform_now(run, pending, command, home.clock)
                elif type(command) is Consult:
                    answer = home.outside.ask_now(command.engine, command.document)
                elif type(command) is Await:
                    run.leaving = True
                    raise Suspended("waits for a person or a time")
                else:
                    answer = _at_once(_told(home, run, command))
        return run.history.steps[pending.key]

    # Hearing ---

    def hear(self, events: Sequence[Event]) -> None:
        """Events that others appended: answers and signals."""
        self.heard.others(events)
        self._wake_waiting()
        self.pump()

    def _wake_waiting(self) -> None:
        history = self.run.history
        for key, (command, future, pending) in list(self.awaits.items()):
            if command.kind == "person":
                come = history.steps[key].given is not None
            else:
                name = command.name or str(pending.bound.get("name", ""))
                come = command.kind == "signal" and bool(history.pending_signals(name))
            if come:
                _resolve(future)

    # Parking ---

    def _check_idle(self) -> None:
        """A run that only waits leaves memory after a moment."""
        if self._parking is not None:
            self._parking.cancel()
            self._parking = None
        if self.busy or self.closing is not None or self.run.stays or not self.run.loop.quiet:
            return
        if self.run.main is None or self.run.main.done() or self.run.outbox:
            return
        if not self.awaits and not self.carriers:
            for key, pending in self.run.pending.items():
                if not pending.dropped and self.run.history.step(key).settled is not None:
                    text = f"run {self.run.id}: step {key} was recorded as taken in another way"
                    self.close(ending.give_up(self, Diverged(text, key=key)))
                    return
            error = Misuse(
                f"run {self.run.id}: the program waits for something that no step will bring "
                "(an asyncio event, lock or queue that nobody sets)"
            )
            self.close(ending.end(self, error))
            return
        self._parking = self._loop.call_later(self.home.linger, self._park)

    def _park(self) -> None:
        soon = self.home.clock.now_ms() + int(self.home.linger * 1000)
        dues = [command.due for command, _, _ in self.awaits.values() if command.due]
        if self.busy or not self.awaits or (dues and min(dues) <= soon):
            self._check_idle()
            return
        self.close(ending.unwind(self))

    async def leave(self) -> None:
        """Leave memory cleanly, because this process stops."""
        self.stopping = True
        if self.closing is None:
            self.close(ending.unwind(self))
        if self.closing is not None:
            await asyncio.wait([self.closing])

    def close(self, how: Coroutine[Any, Any, None]) -> None:
        """Begin to leave memory in this way; the first way wins."""
        if self._parking is not None:
            self._parking.cancel()
        if self.closing is not None:
            how.close()
            return
        self.closing = self._loop.create_task(ending.close(self, how))

    def go(self, error: BaseException | None, *, again: bool) -> None:
        """Leave memory now."""
        self.run.leave()
        for task in self.carriers:
            task.cancel()
        self.home.left(self, error, again)


async def _told(home: Home, run: Run, command: Command) -> Any:
    """What the store, or the program, says to a question of the path."""
    match command:
        case Look():
            return await child_news(home.store, command.run, run.id, home.find)
        case Sums():
            return home.store.meters(command.prefixes)
        case Above():
            return await above(home.store, command.run)
        case Labels():
            return await label_in(home.store, command.run)
        case Find():
            return tool_named(run.program, command.tool) or home.tools.get(command.tool)
        case _:
            raise AssertionError(f"no such command: {command}")


def _at_once(question: Coroutine[Any, Any, Any]) -> Any:
    """The answer of a store that answers without waiting, as all stores do where they only read;
    for code that cannot wait."""
    try:
        question.send(None)
    except StopIteration as answer:
        return answer.value
    question.close()
    raise Misuse("this store answers by waiting only: call tools that are asynchronous")


def _priced(
    home: Home, run: Run, pending: Pending, way: Callable[[Run, Pending, Terms], Path]
) -> Path:
    """The path of a step one way or another, as budgets make it."""
    settings = home.settings
    return priced(run, pending, settings, way(run, pending, settings), home.store.meters)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
