"""What every route shares: the runtime that it acts on, and who may do what."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from starlette.requests import HTTPConnection

from holdfast.api.access import Access
from holdfast.journal.store import Store
from holdfast.runtime import Runtime
from holdfast.runtime.settings import Settings
from holdfast.values.errors import Misuse
from holdfast.values.ports import Clock, Dice, SystemClock, SystemDice

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that are counted by name."""


class Site:
    """One server. ``runtime``: open; ``access``: who may come in; ``ears``: the store once more,
    opened beside the runtime's, so that it rings for what this process commits too (default: the
    runtime's, which rings for others only, unless it lives in memory); ``goes_on``: runs that are
    resumed or forked here go on here."""

    def __init__(
        self,
        runtime: Runtime,
        access: Access,
        *,
        ears: Store | None = None,
        goes_on: bool = True,
        clock: Clock | None = None,
        dice: Dice | None = None,
    ) -> None:
        self.runtime = runtime
        self.access = access
        self.goes_on = goes_on
        self.clock: Clock = clock or SystemClock()
        self.dice: Dice = dice or SystemDice()
        self.ears = ears or runtime.store
        self.closing = asyncio.Event()
        self.requests: Counter[tuple[str, int]] = Counter()

    @property
    def store(self) -> Store:
        """The runtime's store."""
        return self.runtime.store

    @property
    def settings(self) -> Settings:
        """The runtime's settings."""
        return self.runtime.settings

    def count(self, method: str, status: int) -> None:
        """Note a request that was answered."""
        self.requests[method if method in METHODS else "other", status] += 1

    def need_runs(self, what: str) -> None:
        """`Misuse` if this server does not go on with runs."""
        if not self.goes_on:
            raise Misuse(f"{what}: this server runs nothing (--no-run); use `holdfast resume`")


def site_of(request: HTTPConnection) -> Site:
    """The site that a request is for."""
    app: Any = request.app
    return app.state.site
