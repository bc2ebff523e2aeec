"""The fold that readings of costs are made of, kept between requests."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.explain.economics import Asked, Economics, reading
from holdfast.explain.ledger import Ledger, forget, keep
from holdfast.journal.store import Store
from holdfast.runtime import Runtime
from holdfast.values import limits


def asked_of(runtime: Runtime, **more: Any) -> Asked:
    """What a reading is to look at, with what policy and settings say. ``more``: as in `Asked`."""
    policy = runtime.policy
    card = policy.agent if policy.agents else None
    return Asked(card=card, joules=runtime.settings.joules, **more)


class Books:
    """The ledger of a store's whole journal, as far as somebody asked for it.

    INVARIANT X200: a reading of it is the one that a fold of the whole journal gives, as long as
    that has at most `limits.ECONOMICS_STEPS_ITEMS` steps; beyond, the runs that began first are
    left out, and the reading says so.
    """

    def __init__(self) -> None:
        self._ledger = Ledger({})
        self._id = ""
        self._lock = asyncio.Lock()

    async def economics(self, store: Store, asked: Asked) -> Economics:
        """The economics of all that the store has; ``asked.since`` does not count."""
        async with self._lock:
            await self._catch_up(store)
            # the loop goes on with others' requests, and the lock keeps the ledger as it is
            return await asyncio.to_thread(reading, self._ledger, asked)

    async def _catch_up(self, store: Store) -> None:
        """Fold what was appended since the last time: all of it, if the store was put back."""
        seq = self._ledger.newest
        if seq:
            newest = await store.tail(seq - 1, 1)
            if not newest or (newest[0].seq, newest[0].id) != (seq, self._id):
                self._ledger = Ledger({})
        while events := await store.tail(self._ledger.newest, limits.ANOMALY_PAGE_EVENTS):
            keep(events, into=self._ledger)
            self._id = events[-1].id
            forget(self._ledger, limits.ECONOMICS_STEPS_ITEMS)
            await asyncio.sleep(0)  # others' requests have their turn between pages
