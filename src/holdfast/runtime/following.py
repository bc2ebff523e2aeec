"""Events as they are committed, by whatever process: pushed by the store's bell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.values import limits


async def follow(store: Store, after: int) -> AsyncIterator[list[Event]]:
    """Pages of events after seq ``after``, for ever. ``store`` rings for other processes' commits
    only: to follow this process's own runs, open it a second time."""
    rung = asyncio.Event()
    store.listen(rung.set)
    while True:
        rung.clear()
        while events := await store.tail(after, limits.READ_PAGE_EVENTS):
            after = events[-1].seq
            yield events
        # the bell is what wakes us, the time limit is a net under it (not `wait_for`: that of
        # Python 3.11 loses a cancellation which comes together with the bell)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.NET_POLL_SECONDS):
                await rung.wait()
