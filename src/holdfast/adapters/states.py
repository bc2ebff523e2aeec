"""Threads of states in a store: reading, appending, dropping. It knows nothing of LangGraph, whose
checkpointer is written on it (`holdfast.adapters.langgraph`).

A thread is a run without a program (agent ``thread``); each put is a finding in it, so that any
process may write to any thread at any time, in one append that is durable when it returns. What a
thread holds is a fold over its findings (`holdfast.adapters.threads`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from holdfast.adapters.threads import Place, Thread, Threads, run_of
from holdfast.journal.events import Draft, FindingAdded, RunStarted, body_of, is_erased
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.journal.views import DROPPED, THREAD
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, part, seal_parts, unpack
from holdfast.values.errors import Conflict, Misuse, NotFound
from holdfast.values.ports import Clock

T = TypeVar("T")

Dropping = tuple[str, Sequence[Place]]
"""A thread and which of its states are to go; none: all."""


class States:
    """The threads of ``store``. ``by``: who writes, for the journal."""

    def __init__(self, store: Store, by: str, clock: Clock) -> None:
        self.store = store
        self._by: Final = by
        self._clock = clock
        self._threads = Threads()

    # ---- appending ----------------------------------------------------------------------------

    async def append(self, thread: str, drafts: Sequence[Draft], blobs: Blobs) -> None:
        """Commit findings to a thread, which begins with its first; none: nothing happens."""
        for batch in self._batches(thread, drafts, blobs):
            try:
                await self.store.append((batch,), blobs)
                return
            except Conflict:
                if batch.expect is None:
                    raise

    def append_now(self, thread: str, drafts: Sequence[Draft], blobs: Blobs) -> None:
        """`append`, blocking."""
        for batch in self._batches(thread, drafts, blobs):
            try:
                self.store.append_now((batch,), blobs)
                return
            except Conflict:
                if batch.expect is None:
                    raise

    def _batches(self, thread: str, drafts: Sequence[Draft], blobs: Blobs) -> Iterator[Batch]:
        """What to try: if the thread is not known, it begins; if it has begun, it goes on."""
        run = run_of(thread)
        if not drafts:
            return
        if not self._threads.get(thread).next:
            args = pack({"thread": thread}, blobs)
            begin = Draft(RunStarted(THREAD, by=self._by), self._clock.now_ms(), args=args)
            yield Batch(run, (begin, *drafts), expect=-1)
        yield Batch(run, tuple(drafts))

    def finding(self, type_: str, value: dict[str, Any]) -> Draft:
        """A finding that says ``value``, which is made of parts."""
        body = FindingAdded(0, type_, self._by)
        return Draft(body, self._clock.now_ms(), value=seal_parts(value))

    # ---- reading ------------------------------------------------------------------------------

    async def names(self) -> Sequence[str]:
        """Every thread of the store."""
        found: list[str] = []
        before = 0
        while rows := await self.store.runs(RunQuery(agent=THREAD, before=before)):
            for row in rows:
                (started,) = await self.store.read(row.run, 0, 1)
                if not row.ref and not is_erased(started.args):
                    found.append(unpack(started.args or b"", self.store.get)["thread"])
            before = rows[-1].number
        return found

    async def look(self, name: str) -> Thread:
        """What the thread of that name holds now."""
        thread, run = self._threads.get(name), run_of(name)
        try:
            end = (await self.store.head(run)).pos + 1
        except NotFound:
            return thread
        while thread.next < end:
            start = thread.next
            stop = min(end, start + limits.READ_PAGE_EVENTS)
            thread.fold(await self.store.read(run, start, stop), self.follow)
        return thread

    async def said(self, name: str, pos: int) -> dict[str, Any] | None:
        """What a finding says, in parts; None if it was forgotten."""
        (event,) = await self.store.read(run_of(name), pos, pos + 1)
        if event.value is None or is_erased(event.value):
            return None
        return msgspec.json.decode(event.value)

    def follow(self, form: Any) -> Any:
        """A part with all that it refers to."""
        return form if isinstance(form, str) else unpack(seal_parts(form), self.store.get)

    # ---- dropping, copying --------------------------------------------------------------------

    async def drop(self, droppings: Sequence[Dropping]) -> None:
        """Drop states, with what was written at them, and forget what they said.

        INVARIANT D54: dropped is what the journal says so of, in one append; after a crash before
        the rest is forgotten, the next dropping in the thread forgets it.
        """
        for name, places in droppings:
            draft, blobs, gone = await self._dropping(name, places)
            if not gone:
                continue
            await self.append(name, [draft], blobs)
            await asyncio.to_thread(self._forget, name, gone)

    def drop_now(self, droppings: Sequence[Dropping]) -> None:
        """`drop`, blocking."""
        for name, places in droppings:
            draft, blobs, gone = at_once(self._dropping(name, places))
            if not gone:
                continue
            self.append_now(name, [draft], blobs)
            self._forget(name, gone)

    async def _dropping(
        self, name: str, places: Sequence[Place]
    ) -> tuple[Draft, Blobs, Sequence[int]]:
        thread = await self.look(name)
        blobs: Blobs = {}
        gone = part([[part(ns, blobs), part(one, blobs)] for ns, one in places], blobs)
        positions = sorted({*thread.findings(places), *thread.left})
        return self.finding(DROPPED, {"places": gone}), blobs, positions

    def _forget(self, name: str, positions: Sequence[int]) -> None:
        self.store.forget(run_of(name), positions)
        self._threads.get(name).left.difference_update(positions)

    async def copies(self, name: str) -> Sequence[Draft]:
        """Findings that save again what a thread holds; its content is stored already."""
        now, thread = self._clock.now_ms(), await self.look(name)
        drafts: list[Draft] = []
        for pos in thread.findings(()):
            (event,) = await self.store.read(run_of(name), pos, pos + 1)
            drafts.append(Draft(body_of(event), now, value=event.value))
        return drafts


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing. `Misuse` if it does: stores that read over a
    network are read asynchronously."""
    try:
        asked.send(None)
    except StopIteration as end:
        return end.value
    asked.close()
    raise Misuse("this store reads asynchronously: use the methods whose names begin with a")
