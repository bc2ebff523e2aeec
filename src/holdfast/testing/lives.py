"""Processes that live and die on one store: hosts without a machine.

site = Site(program_one, program_two)

async def main():
    life = await site.live()
    handle = await life.host.start(program_one)
    life.kill()                      # as by SIGKILL: nothing is cleaned up
    life = await site.live()         # the next process on the same store
    await life.resume_all()
    return await life.host.result(handle.id)

site.run(main)                       # in virtual time
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from holdfast.engine.answers import answer, send
from holdfast.engine.declare import Agent
from holdfast.engine.home import Consulted
from holdfast.engine.host import Handle, Host
from holdfast.engine.resident import Resident
from holdfast.gate import Policy, parse_policy
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow, Wait
from holdfast.stores.memory import MemoryStore
from holdfast.testing.clock import SeededDice, VirtualClock, run_virtual
from holdfast.testing.faults import Crashed, FaultyStore, Plan, never
from holdfast.testing.outside import Outside
from holdfast.tools import workplace, world
from holdfast.values.errors import Conflict, HoldfastError, NotFound
from holdfast.values.ports import Clock, SystemClock

T = TypeVar("T")

ALLOW_ALL: Policy = parse_policy(
    """
version: 1
name: all
rules:
  - id: all
    when: {effect: [read, world, idempotent, once]}
    then: allow
""",
    "ALLOW_ALL",
)
"""A policy under which nobody is asked."""

Person = Callable[[RunRow, Wait], tuple[str, Any] | None]
"""Who answers: (decision, value), or None for "later"."""


class Life:
    """One process: a host on a store that can crash. ``crashed`` is set when it has."""

    def __init__(self, site: Site, store: FaultyStore, host: Host) -> None:
        self.site = site
        self.store = store
        self.host = host
        self.crashed = asyncio.Event()

    async def start(self, program: Agent[..., Any], *args: Any, name: str = "") -> Handle:
        """Start a run, or go on with it if it was started in an earlier life."""
        try:
            return await self.host.start(program, args, name=name)
        except Conflict:
            return await self.host.resume(name)

    async def resume_all(self) -> None:
        """Go on with every run that has not ended."""
        for row in await self.store.runs(RunQuery(limit=10_000)):
            if not row.ended:
                with contextlib.suppress(HoldfastError):
                    await self.host.resume(row.run)

    def kill(self) -> None:
        """Die: no clean-up reaches the store, and its leases count as those of a dead owner."""
        self.store.crash()
        _drop(self.host)
        if isinstance(self.store.inner, MemoryStore):
            self.store.inner.owner_died(self.host.owner)
        asyncio.get_running_loop().call_soon(self._bury)
        self.crashed.set()

    def _bury(self) -> None:
        self.store.bury()
        if self.site.open_store is not None:
            with contextlib.suppress(StopIteration):  # a store of its own: its lease goes with it
                self.store.inner.close().__await__().__next__()

    async def signal(self, run: str, name: str, value: Any = None, *, token: str = "") -> None:
        """Send a signal to a run; with a token, a second delivery is harmless."""
        now = self.site.clock.now_ms()
        await send(self.store, run, name, value, by="somebody", now_ms=now, token=token)

    async def answer_all(self, person: Person) -> bool:
        """Let a person answer every open question; whether there was one to answer."""
        found = False
        for row in await self.store.runs(RunQuery(limit=10_000)):
            for wait in row.waits:
                if wait.kind != "person" or wait.ready:
                    continue
                said = person(row, wait)
                if said is not None:
                    found = True
                    await answer(
                        self.store, row.run, wait.key, said[0], by="person", value=said[1],
                        now_ms=self.site.clock.now_ms(),
                    )  # fmt: skip
        return found


class Site:
    """One store, its programs, the outside, and time. ``linger`` and ``policy`` go to its hosts.
    With ``open_store`` every life opens the store anew, as processes do. ``outside``: asks policy
    engines outside."""

    def __init__(
        self,
        *programs: Agent[..., Any],
        store: Store | None = None,
        open_store: Callable[[], Store] | None = None,
        policy: Policy = ALLOW_ALL,
        linger: float = 0.05,
        seed: int | str = 0,
        caches: str = "",
        virtual: bool = True,
        outside: Consulted | None = None,
    ) -> None:
        self.programs = {one.name: one for one in programs}
        self.open_store = open_store
        self.inner: Store = store or (open_store() if open_store else MemoryStore())
        self.policy = policy
        self.linger = linger
        self.caches = caches
        self.asks = outside
        self.clock: Clock = VirtualClock() if virtual else SystemClock()
        self.dice = SeededDice(seed)
        self.outside = Outside()
        self.lives = 0

    def find(self, name: str, ref: str) -> Agent[..., Any]:
        """The program of that name."""
        found = self.programs.get(name)
        if found is None:
            raise NotFound(f"agent {name!r} is not one of this site's")
        return found

    async def live(
        self,
        plan: Plan = never,
        *,
        serve: bool = False,
        slow: Callable[[], float] = lambda: 0.0,
        deaf: Callable[[], bool] = lambda: False,
    ) -> Life:
        """Begin a new process on the store."""
        self.lives += 1
        inner = self.open_store() if self.open_store else self.inner
        owner = str(getattr(inner, "name", f"life{self.lives}"))
        lives: list[Life] = []
        loop = asyncio.get_running_loop()

        def crashed() -> None:
            loop.call_soon(lives[0].kill)

        store = FaultyStore(inner, plan, on_crash=crashed, slow=slow, deaf=deaf)
        host = Host(
            store, owner=owner, find=self.find, ref_of=lambda program: program.name,
            policy=self.policy, clock=self.clock, dice=self.dice, linger=self.linger, serve=serve,
            caches=self.caches,
        )  # fmt: skip
        host.tools, host.outside = world.CHECKING, self.asks or host.outside
        lives.append(Life(self, store, host))
        await host.open()
        return lives[0]

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``main()``, in virtual time unless the site was made with ``virtual=False``."""

        async def all_of_it() -> T:
            try:
                return await main()
            finally:
                await workplace.close()

        if isinstance(self.clock, VirtualClock):
            return run_virtual(all_of_it, self.clock, expected=Crashed)
        return asyncio.run(all_of_it())


def _drop(host: Host) -> None:
    """Let go of everything in a host's memory, as a dead process does: nothing is written."""
    inside = vars(host)
    inside["_closing"] = True
    watch = inside["watch"]
    watch.stop()
    for resident in list(inside["residents"].values()):
        _forget(resident)
    for task in list(vars(watch)["_tasks"]):
        task.cancel()


def _forget(resident: Resident) -> None:
    parking = vars(resident)["_parking"]
    if resident.closing is None:  # else it waits for the store, and gets its death
        resident.closing = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    if parking is not None:
        parking.cancel()
    for task in list(resident.carriers):
        task.cancel()
    with contextlib.suppress(BaseException):  # whatever a dying program raises, it is dead
        resident.run.leave()
