"""Events as they are committed, by whatever process, for many who listen.

The journal itself is the queue: each listener has only a place in it, so that a slow one costs no
memory, and one that is too far behind is told what it missed instead of being sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.runtime import Runtime
from holdfast.values import limits


class Missed(msgspec.Struct, frozen=True):
    """What a listener is not sent: events behind ``after`` up to ``through``; read them instead."""

    after: int
    through: int


News = list[Event] | Missed | None
"""What a listener gets: events, what it missed, or None: nothing came for a while."""


class Feed:
    """What is committed to the store of a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store: Store | None = None
        self._listeners: set[asyncio.Event] = set()
        self.closed = False

    def enter(self) -> asyncio.Event | None:
        """A place to listen at, to be given back to `leave`; None if as many listen as may."""
        # at once: a burst is let in whole if only those count who listen already
        if len(self._listeners) >= limits.LIVE_CONNECTIONS:
            return None
        rung = asyncio.Event()
        self._listeners.add(rung)
        return rung

    def leave(self, rung: asyncio.Event) -> None:
        """Give a place back. Idempotent."""
        self._listeners.discard(rung)

    def close(self) -> None:
        """Send every listener away."""
        self.closed = True
        self._ring()

    def _ring(self) -> None:
        for rung in self._listeners:
            rung.set()

    def _hear(self) -> Store:
        if self._store is None:
            self._store = self._runtime.ears()
            self._store.listen(self._ring)
        return self._store

    async def follow(
        self, rung: asyncio.Event, after: int | None, still: Callable[[], bool]
    ) -> AsyncIterator[News]:
        """Pages of events behind seq ``after`` (None: those to come) for who has the place
        ``rung``, until the feed is closed or ``still`` says no.

        INVARIANT X115: nobody is sent anything behind a gap that they are not told of, nor anything
        once they are signed out.
        """
        store = self._hear()
        if after is None:
            after = await store.last_seq()
        while not self.closed and still():
            rung.clear()
            last = await store.last_seq()
            if last - after > limits.LIVE_BACKLOG_EVENTS:
                yield Missed(after, last)
                after = last
            events = await store.tail(after, limits.API_ROWS)
            if events:
                after = events[-1].seq
                yield events
            elif not await _rung(rung):
                yield None


async def _rung(rung: asyncio.Event) -> bool:
    """Wait for the bell, or for the time limit that is a net under it; whether it rang."""
    try:
        async with asyncio.timeout(limits.NET_POLL_SECONDS):
            await rung.wait()
    except TimeoutError:
        return False
    return True
