"""What the parts of the conformance suite share: how a test is played, what a subclass provides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.journal.store import Store


def scenario(test: Callable[[Any, Store], Awaitable[None]]) -> Callable[[Any], None]:
    """Make a synchronous test of an asynchronous one that is given a fresh store."""

    def played(self: Any) -> None:
        async def play() -> None:
            store = await self.open_store()
            try:
                await test(self, store)
            finally:
                await store.close()

        asyncio.run(play())

    played.__name__ = test.__name__
    played.__doc__ = test.__doc__
    return played


class Suite:
    """What the subclass provides. ``owner``: who the suite is, as a lease holder."""

    async def open_store(self) -> Store:
        """A fresh, empty store."""
        raise NotImplementedError

    async def reopen(self, store: Store) -> Store | None:
        """Close ``store`` and open what it kept; None if it keeps nothing."""
        return None

    def owner(self, store: Store) -> str:
        """The name under which this process holds leases in ``store``."""
        return getattr(store, "name", "tester")

    def bury(self, store: Store, owner: str) -> None:
        """Make lease holder ``owner``, who never lived, count as dead."""
