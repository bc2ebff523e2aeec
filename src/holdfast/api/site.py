"""What every route shares: the runtime that it acts on, and who may do what."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import HTTPConnection

from holdfast.api.access import Access, Turned
from holdfast.api.books import Books
from holdfast.api.feed import Feed
from holdfast.api.tally import Tally
from holdfast.engine.fork import check_terms
from holdfast.explain.anomaly import State
from holdfast.journal.store import Store
from holdfast.runtime import Runtime
from holdfast.runtime.settings import Settings
from holdfast.runtime.watching import Watching, budget_of, catch_up, known
from holdfast.values.errors import Misuse, NotFound
from holdfast.values.ports import Clock, Dice, SystemClock, SystemDice


class Site:
    """One server. ``runtime``: open; ``access``: who may come in; ``goes_on``: runs that are
    resumed or forked here go on here; ``watching``: what looks for anomalies here, if something
    does."""

    def __init__(
        self,
        runtime: Runtime,
        access: Access,
        *,
        goes_on: bool = True,
        watching: Watching | None = None,
        clock: Clock | None = None,
        dice: Dice | None = None,
    ) -> None:
        self.runtime = runtime
        self.access = access
        self.goes_on = goes_on
        self.clock: Clock = clock or SystemClock()
        self.dice: Dice = dice or SystemDice()
        self.feed = Feed(runtime)
        self.tally = Tally()
        self.books = Books()
        self.watching = watching
        self._folded = asyncio.Lock()
        self._state: State | None = None

    @property
    def store(self) -> Store:
        """The runtime's store."""
        return self.runtime.store

    @property
    def settings(self) -> Settings:
        """The runtime's settings."""
        return self.runtime.settings

    async def anomalies(self) -> State:
        """What is known of anomalies after everything that the store has. It is kept, so that it
        is folded from the first event once, and by one request at a time."""
        budget = budget_of(self.runtime.policy)
        async with self._folded:
            if self._state is None or self._state.budget != budget:
                self._state = await known(self.store, self.settings.directory, budget)
            else:
                self._state = await catch_up(self.store, self._state)
            return self._state

    def need_runs(self, what: str) -> None:
        """`Misuse` if this server does not go on with runs."""
        if not self.goes_on:
            raise Misuse(f"{what}: this server runs nothing (--no-run); use `holdfast resume`")

    async def need_terms(self, run: str, step: str) -> None:
        """`Turned` if a fork before a step could not go on here, for want of a policy."""
        try:
            await check_terms(self.store, run, step, self.runtime.policy)
        except NotFound:
            raise
        except Misuse as error:
            way = "start this server with --policy FILE (or HOLDFAST_POLICY), then fork again"
            raise Turned(409, "misuse", str(error), way) from None


def site_of(request: HTTPConnection) -> Site:
    """The site that a request is for."""
    app: Any = request.app
    return app.state.site
