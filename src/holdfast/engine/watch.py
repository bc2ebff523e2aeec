"""Following a store: hear what others committed, find what can go on, wake when timers are due.

Waking is pushed: the store rings when another process commits, and one timer rings when the next
run is due. The store is also looked at every couple of seconds, as a net under both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.values import limits
from holdfast.values.errors import HoldfastError
from holdfast.values.ports import Clock

_READY_PAGE = 1_000_000  # all: those that are not ours must not hide those that are


class Watch:
    """Follows a store on the running loop. ``tell`` is given every event that others commit;
    ``wake`` the ids of runs that nobody alive holds and that can go on; ``trouble`` what keeps the
    store from being read."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tell: Callable[[Event], None],
        wake: Callable[[Sequence[str]], None],
        trouble: Callable[[HoldfastError], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._wake = wake
        self._trouble = trouble
        self._seq = 0
        self._following = False
        self._again = False
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Begin to follow: events from now on, and runs that can go on already."""
        self._loop = asyncio.get_running_loop()
        self._store.listen(self.ring)  # first: what is committed from now on rings
        self._seq = await self._store.last_seq()
        await self._look_for_work()

    def skip(self, events: Sequence[Event]) -> None:
        """Own events need not be followed."""
        if events and events[0].seq == self._seq + 1:
            self._seq = events[-1].seq

    def ring(self) -> None:
        """Something happened: look soon."""
        self._again = True
        if not self._following and not self._closed:
            self._following = True
            self.spawn(self._follow())

    async def _follow(self) -> None:
        try:
            while self._again:
                self._again = False
                while events := await self._store.tail(self._seq, limits.READ_PAGE_EVENTS):
                    for event in events:
                        self._seq = max(self._seq, event.seq)
                        self._tell(event)
                await self._look_for_work()
        except HoldfastError as error:
            self._trouble(error)
            self._set_alarm(0)  # it may pass
        finally:
            self._following = False

    async def _look_for_work(self) -> None:
        if self._closed:
            return
        ready, timer = await self._store.wakeable(self._clock.now_ms(), _READY_PAGE)
        self._wake(ready)
        self._set_alarm(timer)

    def _set_alarm(self, timer: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        delay = limits.NET_POLL_SECONDS
        if timer:
            delay = min(delay, max(0.001, (timer - self._clock.now_ms()) / 1000))
        self._alarm = self._loop.call_later(delay, self.ring)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside; it is cancelled when the watch closes."""
        task = self._loop.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Follow no more."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()

    async def close(self) -> None:
        """`stop`, and wait until nothing runs beside."""
        self.stop()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
