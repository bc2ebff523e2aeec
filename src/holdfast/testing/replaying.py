"""Replay always: a run leaves memory and is read again from its journal after every outcome.

The lever that finds what replay does differently: under `replay_always` a suite passes only if
every program in it goes on from its journal exactly as it would have gone on from memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

from holdfast.engine import host as hosts
from holdfast.engine.history import Step
from holdfast.engine.resident import Resident
from holdfast.engine.run import Pending
from holdfast.values.errors import Suspended


class ReplayingResident(Resident):
    """A resident that leaves and comes back whenever a new outcome is recorded, unless that would
    interrupt something that is being performed. The lease stays with the host."""

    _known = 0
    _turning = False

    def begin(self) -> None:
        self._known = len(self.run.history.order)
        super().begin()

    def pump(self, carrier: asyncio.Task[None] | None = None) -> Pending | None:
        """As in `Resident`, but a new outcome is delivered by replay."""
        run = self.run
        news = self._turning or len(run.history.order) > self._known
        idle = self.closing is None and not self.busy and not self.stopping
        if news and idle and run.broken is None:
            self.close(self._turn())
            return None
        return super().pump(carrier)

    def take_now(self, pending: Pending) -> Step:
        step = super().take_now(pending)
        if self.closing is None and not self.busy and not self.stopping:
            self._turning = True
            self.run.leaving = True
            raise Suspended("replay always")
        return step

    async def _turn(self) -> None:
        """Forget the program, keep the journal."""
        if self.run.buffer:
            await self.append([], {})
        self.go(None, again=True)


@contextlib.contextmanager
def replay_always() -> Generator[None]:
    """Hosts replay always while this is entered."""
    plain = hosts.Resident
    hosts.Resident = ReplayingResident
    try:
        yield
    finally:
        hosts.Resident = plain
