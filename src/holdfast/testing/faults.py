"""A store that crashes its process at a chosen write, answers late, or forgets to ring.

A "process" here is everything that uses one `FaultyStore`. Once it has crashed, asynchronous calls
on it never return and blocking ones raise `Crashed`: nothing that it still does reaches the store.
What it wraps lives on, and another `FaultyStore` on it is the next process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

from holdfast.journal.events import Event, Head
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.testing.clock import VirtualLoop
from holdfast.values.canon import Blobs
from holdfast.values.errors import Conflict

T = TypeVar("T")

FAULTS = ("before", "after", "torn", "repeated")
"""before: dies with nothing written. after: dies with all written, the answer is lost. torn: dies
between the content (blobs, written early) and the append. repeated: the append comes twice."""

Plan = Callable[[int], str]
"""The fault (one of `FAULTS`, or "") at the n-th append, counted from 1."""


class Crashed(BaseException):
    """The process is dead. Not an `Exception`: no program may go on after its own death."""


def at(number: int, fault: str) -> Plan:
    """One fault, at one append."""
    return lambda n: fault if n == number else ""


def never(_: int) -> str:
    """No fault."""
    return ""


class Mortal:
    """The reading half of a store whose process may be dead: passes calls on while it lives."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.crashed = False
        self._hanging: list[asyncio.Future[Any]] | None = []

    def bury(self) -> None:
        """Nobody lives any more who could be misled: calls that hang end with `Crashed`."""
        hanging, self._hanging = self._hanging or [], None
        for future in hanging:
            if not future.done():
                future.set_exception(Crashed())
                future.exception()  # seen: a dead process complains to nobody

    def _never(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._hanging is None:
            future.set_exception(Crashed())
            future.exception()
        else:
            self._hanging.append(future)
        return future

    def _alive(self) -> None:
        if self.crashed:
            raise Crashed

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        if self.crashed:
            return await self._never()
        with _real():
            found = await call()
        return await self._never() if self.crashed else found

    def forget(self, run: str, positions: Sequence[int]) -> None:
        """See `Store.forget`."""
        self._alive()
        self.inner.forget(run, positions)

    async def put(self, blobs: Blobs) -> None:
        """See `Store.put`."""
        await self._ask(lambda: self.inner.put(blobs))

    def put_now(self, blobs: Blobs) -> None:
        """See `Store.put_now`."""
        self._alive()
        self.inner.put_now(blobs)

    def get(self, name: str) -> bytes:
        """See `Store.get`."""
        return self.inner.get(name)

    def meters(self, names: Sequence[str]) -> dict[str, int]:
        """See `Store.meters`."""
        self._alive()
        return self.inner.meters(names)

    async def head(self, run: str) -> Head:
        """See `Store.head`."""
        return await self._ask(lambda: self.inner.head(run))

    async def read(self, run: str, start: int = 0, stop: int | None = None) -> list[Event]:
        """See `Store.read`."""
        return await self._ask(lambda: self.inner.read(run, start, stop))

    async def tail(self, after: int, limit: int = 1000) -> list[Event]:
        """See `Store.tail`."""
        return await self._ask(lambda: self.inner.tail(after, limit))

    async def last_seq(self) -> int:
        """See `Store.last_seq`."""
        return await self._ask(self.inner.last_seq)

    async def run(self, run: str) -> RunRow:
        """See `Store.run`."""
        return await self._ask(lambda: self.inner.run(run))

    async def runs(self, query: RunQuery) -> list[RunRow]:
        """See `Store.runs`."""
        return await self._ask(lambda: self.inner.runs(query))

    async def claim(self, run: str, owner: str) -> int:
        """See `Store.claim`."""
        return await self._ask(lambda: self.inner.claim(run, owner))

    async def release(self, run: str, epoch: int, seen: int) -> bool:
        """See `Store.release`."""
        return await self._ask(lambda: self.inner.release(run, epoch, seen))

    async def wakeable(self, now_ms: int, limit: int) -> tuple[list[str], int]:
        """See `Store.wakeable`."""
        return await self._ask(lambda: self.inner.wakeable(now_ms, limit))


class FaultyStore(Mortal):
    """Implements `holdfast.journal.store.Store` around ``inner``.

    ``plan``: which append meets which fault. ``on_crash`` is called once, at the crash. ``slow``:
    seconds until the answer to the next append arrives (the commit itself is immediate, and answers
    keep their order). ``deaf``: whether the next bell is lost.
    """

    def __init__(
        self,
        inner: Store,
        plan: Plan = never,
        *,
        on_crash: Callable[[], None] = lambda: None,
        slow: Callable[[], float] = lambda: 0.0,
        deaf: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(inner)
        self.plan = plan
        self.appends = 0
        self.accepted_twice: list[Sequence[Batch]] = []
        self._on_crash = on_crash
        self._slow = slow
        self._deaf = deaf
        self._answers: asyncio.Future[Any] | None = None

    def crash(self) -> None:
        """The process dies now."""
        if not self.crashed:
            self.crashed = True
            self._on_crash()

    def append(self, batches: Sequence[Batch], blobs: Blobs) -> Awaitable[list[Event]]:
        """See `Store.append`."""
        if self.crashed:
            return self._never()
        self.appends += 1
        match self.plan(self.appends):
            case "before":
                self.crash()
                return self._never()
            case "torn":
                self.inner.put_now(blobs)
                self.crash()
                return self._never()
            case "after":
                with contextlib.suppress(Exception):
                    self.inner.append_now(batches, blobs)
                self.crash()
                return self._never()
            case "repeated":
                return self._deliver(_done(lambda: self._twice(batches, blobs)))
            case _:
                return self._deliver(self.inner.append(batches, blobs))

    def append_now(self, batches: Sequence[Batch], blobs: Blobs) -> list[Event]:
        """See `Store.append_now`."""
        self._alive()
        self.appends += 1
        fault = self.plan(self.appends)
        if fault == "repeated":
            return self._twice(batches, blobs)
        if fault == "torn":
            self.inner.put_now(blobs)
        elif fault != "before":
            events = self.inner.append_now(batches, blobs)
            if fault != "after":
                return events
        self.crash()
        raise Crashed

    def _twice(self, batches: Sequence[Batch], blobs: Blobs) -> list[Event]:
        events = self.inner.append_now(batches, blobs)
        try:
            self.inner.append_now(batches, blobs)
        except Conflict:
            pass  # refused, as it should be
        else:
            if any(batch.epoch for batch in batches):  # news from others may well come twice
                self.accepted_twice.append(batches)
        return events

    def _deliver(self, answer: Awaitable[list[Event]]) -> Awaitable[list[Event]]:
        delay = self._slow()
        if not delay and self._answers is None and not _virtual():
            return answer
        before = self._answers
        task = asyncio.ensure_future(self._late(answer, before, delay))
        self._answers = task
        return asyncio.shield(task)  # who stops waiting lets no later answer pass

    async def _late(
        self, answer: Awaitable[T], before: asyncio.Future[Any] | None, delay: float
    ) -> T:
        """The answer, after ``delay`` and after the answers to earlier appends."""
        try:
            with _real():
                return await answer
        finally:
            if delay:
                await asyncio.sleep(delay)
            if before is not None and not before.done():
                await asyncio.wait([before])

    def listen(self, bell: Callable[[], None]) -> None:
        """See `Store.listen`."""
        self.inner.listen(lambda: None if self.crashed or self._deaf() else bell())

    async def close(self) -> None:
        """The process ends; what it wraps stays open."""


def _done(make: Callable[[], T]) -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(make())
    except Exception as error:  # noqa: BLE001 - it is the answer
        future.set_exception(error)
    return future


def _virtual() -> bool:
    return isinstance(asyncio.get_running_loop(), VirtualLoop)


@contextlib.contextmanager
def _real() -> Generator[None]:
    """A real thread or disk is at work: virtual time stands still."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # the asker drives the coroutine itself: no time passes
        loop = None
    if isinstance(loop, VirtualLoop):
        with loop.hold():
            yield
    else:
        yield
