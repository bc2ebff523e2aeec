"""Seeded simulation of the whole system: random agents, several processes, faults, virtual time.

    python -m holdfast.testing.sim --seconds 60            # as many seeds as fit
    python -m holdfast.testing.sim --seed 1234             # one seed, again

Each seed draws a mix of faults (a "swarm": many seeds have few kinds, so that each is met alone and
in company) and plays two acts. In the first, processes crash before and after commits, commits
are slow, bells are lost, tools fail or lose their reply, people answer late, twice or not at all,
clocks jump. In the second, faults stop, and every run must end. The oracles look on. In some
seeds a person is asked before what cannot be repeated, and in some a run is forked somewhere in its
past: the fork holds what leaves the world, until it is published.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from holdfast.engine import verbs
from holdfast.engine.answers import cancel
from holdfast.engine.fork import fork
from holdfast.engine.publish import publishing
from holdfast.engine.publisher import publish_run
from holdfast.gate import DEFAULT_POLICY
from holdfast.journal.events import StepPlanned, StepSettled, body_of
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import PUBLISHED, RunRow, Wait
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing import oracles
from holdfast.testing.clock import SeededDice, VirtualClock
from holdfast.testing.faults import Crashed
from holdfast.testing.lives import ALLOW_ALL, Life, Site
from holdfast.testing.programs import Cast, generate
from holdfast.testing.replaying import replay_always
from holdfast.values.errors import HoldfastError, LeaseLost

KINDS = (
    "before after torn slow deaf fail lost blind late twice again jump kill cancel leave".split()
)
"""before, after, torn: crashes at an append. kill: crashes at any moment. leave: a clean stop.
slow: answers to commits come late. deaf: bells are lost. fail, lost, blind: mishaps of tools.
late, twice: people. again: signals come twice. jump: the wall clock leaps. cancel: a run is
stopped."""

SCENARIOS = ("mix", "calm", "sqlite", "replay")
"""mix: all faults on the memory store. calm: none. sqlite: on SQLite. replay: replaying always."""

_FIRST_ACT = 40.0  # virtual seconds with faults
_SECOND_ACT = 4_000.0  # virtual seconds in which everything must end


class Failed(AssertionError):
    """What was promised did not hold: the problems, in the order in which they were found."""


class Score(NamedTuple):
    """One seed, played: what was committed (``digest`` of all event ids) and how much happened."""

    seed: int
    digest: str
    events: int
    effects: int
    lives: int
    faults: tuple[str, ...]


class Play:
    """One seed being played."""

    def __init__(
        self, seed: int, scenario: str, open_store: Callable[[], Store], without: frozenset[str]
    ) -> None:
        self.random = Random(f"{scenario} {seed}")
        mixed = scenario != "calm"
        count = self.random.choice([0, 1, 2, 3, 5, len(KINDS)]) if mixed else 0
        self.faults = frozenset(self.random.sample(KINDS, count))
        self.rate = self.random.choice([0.02, 0.1, 0.3])
        self.calm = not mixed
        linger = self.random.choice([0.0, 0.02, 1.0])
        policy = self.random.choice([ALLOW_ALL, DEFAULT_POLICY])
        if scenario == "sqlite":
            self.site = Site(open_store=open_store, seed=seed, linger=linger, policy=policy)
        else:
            self.site = Site(store=open_store(), seed=seed, linger=linger, policy=policy)
        self.watch = oracles.Watch()
        self.cast = Cast(self.site.outside, self._pause, self._mishap)
        self.site.programs |= {self.cast.agent.name: self.cast.agent, publishing.name: publishing}
        self.site.outside.witness = self._witness
        self.runs = [
            (f"run{n}", generate(self.random, size=self.random.choice([3, 8, 15]), without=without))
            for n in range(self.random.randint(1, 3))
        ]
        self.tried = self.random.choice(["", self.runs[0][0]])
        self.lives: list[Life] = []
        self.stopped: set[str] = set()
        self._published = False
        self._sent: set[tuple[str, str]] = set()
        self._seen = 0

    # Chance --------------------------------------------------------------------------------------

    def strikes(self, fault: str) -> bool:
        """Whether a fault happens here."""
        return not self.calm and fault in self.faults and self.random.random() < self.rate

    def _pause(self) -> float:
        return self.random.choice([0.0, 0.001, 0.01, 0.1, 1.0])

    def _mishap(self) -> str:
        return next((kind for kind in ("fail", "lost", "blind") if self.strikes(kind)), "")

    def _append_fault(self, _: int) -> str:
        return next((kind for kind in ("before", "after", "torn") if self.strikes(kind)), "")

    def _person(self, row: RunRow, wait: Wait) -> tuple[str, Any] | None:
        if self.strikes("late"):
            return None
        return self.cast.person(row, wait)

    # Oracles -------------------------------------------------------------------------------------

    def look(self) -> None:
        """See what was committed since the last look (a bell of the inner store)."""
        inner = self.site.inner
        if isinstance(inner, MemoryStore):
            while self._seen < len(inner.events):
                self.watch.see(inner.events[self._seen])
                self._seen += 1

    def _witness(self, effect: Any) -> None:
        if isinstance(self.site.inner, MemoryStore):
            self.watch.did(effect)

    # Acts ----------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Both acts, and a last look."""
        self.site.inner.listen(self.look)
        people = asyncio.ensure_future(self._people())
        wreckers = asyncio.ensure_future(self._wreck())
        try:
            await asyncio.wait([people, wreckers], timeout=_FIRST_ACT)
            self.calm = True
            await self._ended(people)
        finally:
            people.cancel()
            wreckers.cancel()
        await self._last_look()

    async def _life(self) -> Life:
        """A process that runs: an old one, or a new one in the place of one that died."""
        alive = [life for life in self.lives if not life.store.crashed]
        if len(alive) < 2:
            new = await self.site.live(
                self._append_fault, serve=True, deaf=lambda: self.strikes("deaf"),
                slow=lambda: self.random.choice([0.0, 0.003, 0.2]) if self.strikes("slow") else 0.0,
            )  # fmt: skip
            self.lives = [*alive, new]
            alive = self.lives
            await self._within(new, new.resume_all())
        return self.random.choice(alive)

    async def _within(self, life: Life, work: Any) -> Any:
        """Wait for what a process does, or for its death; what came of it, or None."""
        working = asyncio.ensure_future(work)
        crashed = asyncio.ensure_future(life.crashed.wait())
        await asyncio.wait([working, crashed], return_when=asyncio.FIRST_COMPLETED)
        crashed.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
        with contextlib.suppress(asyncio.CancelledError, HoldfastError, Crashed):
            return await working
        return None

    async def _people(self) -> None:
        """Start what is to run; answer and signal what waits; for ever."""
        while True:
            for name, block in self.runs:
                life = await self._life()
                if name not in self.watch.rows and not await self._exists(name):
                    await self._within(life, life.start(self.cast.agent, block, name=name))
            rows = await self.site.inner.runs(RunQuery(limit=1000))
            for row in rows:
                for wait in row.waits:
                    await self._meet(row, wait)
            if self.tried:
                await self._try_out({row.run: row for row in rows})
            await asyncio.sleep(0.25)

    async def _exists(self, name: str) -> bool:
        rows = await self.site.inner.runs(RunQuery(limit=1000))
        return any(row.run == name for row in rows)

    async def _try_out(self, rows: dict[str, RunRow]) -> None:
        """Fork a run at some step of its past; publish what the fork holds when it waits for that,
        and when it has ended."""
        life, row = await self._life(), rows.get(self.tried + "-fork")
        if row is None and self.tried in rows:
            bodies = [body_of(event) for event in await self.site.inner.read(self.tried)]
            steps = [one for one in bodies if isinstance(one, StepPlanned | StepSettled)]
            if len(steps) > 1:
                key, now = self.random.choice(steps).key, self.site.clock.now_ms()
                await self._within(
                    life, fork(life.store, self.tried, key, name=f"{self.tried}-fork", now_ms=now)
                )
        elif row is not None and not self._published:
            busy = any(one.agent == publishing.name and not one.ended for one in rows.values())
            needed = any(wait.name.startswith(PUBLISHED) for wait in row.waits)
            if (row.ended or needed) and not busy:
                begun = await self._within(life, publish_run(life.host, row.run))
                self._published = row.ended and begun is not None

    async def _meet(self, row: RunRow, wait: Wait) -> None:
        """Do what one wait waits for."""
        life = await self._life()
        if wait.kind == "person" and not wait.ready:
            for _ in range(2 if self.strikes("twice") else 1):
                await self._within(life, life.answer_all(self._person))
        place = (row.run, wait.name)
        if wait.kind == "signal" and wait.name.startswith("signal") and place not in self._sent:
            for _ in range(2 if self.strikes("again") else 1):
                await self._within(
                    life, life.signal(row.run, wait.name, wait.name, token=wait.name)
                )
            if any(one.name == wait.name for one in (await self.site.inner.run(row.run)).waits):
                return  # the process died before it was sent: once more next time
            self._sent.add(place)

    async def _wreck(self) -> None:
        """Harm that comes at any time."""
        while True:
            await asyncio.sleep(self.random.random() * 3)
            life = self.random.choice(self.lives) if self.lives else None
            if life is None or life.store.crashed:
                continue
            if self.strikes("kill"):
                life.kill()
            elif self.strikes("leave"):
                await self._within(life, life.host.close())
                life.kill()
            if self.strikes("jump"):
                assert isinstance(self.site.clock, VirtualClock)
                self.site.clock.jump(self.random.choice([0.5, 60.0, 3600.0]))
            if self.strikes("cancel"):
                name = self.random.choice(self.runs)[0]
                with contextlib.suppress(HoldfastError):
                    self.stopped.add(name)
                    await cancel(
                        self.site.inner, name, by="x", now_ms=self.site.clock.now_ms()
                    )  # fmt: skip

    async def _ended(self, people: asyncio.Future[None]) -> None:
        """Wait until every run has ended."""
        until = asyncio.get_running_loop().time() + _SECOND_ACT
        while True:
            if people.done():
                people.result()
            rows = await self.site.inner.runs(RunQuery(limit=1000))
            left = [row for row in rows if not row.ended]
            forked = any(row.run == f"{self.tried}-fork" for row in rows)
            if len(rows) >= len(self.runs) and not left and (self._published or not forked):
                return
            self._check_broken()
            if asyncio.get_running_loop().time() > until:
                raise Failed(f"not ended after {_SECOND_ACT:g} calm seconds: {left}")
            await asyncio.sleep(1.0)

    def _check_broken(self) -> None:
        """No process may have given a run up, but for a lease that another one got."""
        problems = [*self.watch.problems]
        for life in self.lives:
            for run, error in vars(life.host)["_broken"].items():
                if not isinstance(error, LeaseLost):
                    problems.append(f"{run} was given up: {type(error).__name__}: {error}")
        if problems:
            raise Failed("\n".join(problems))

    async def close(self) -> None:
        """Close every store that is open."""
        for life in self.lives:
            await life.store.inner.close()
        await self.site.inner.close()

    async def _last_look(self) -> None:
        self._check_broken()
        site = self.site
        problems = await oracles.everything(site.inner, site.outside, site.programs)
        for row in await site.inner.runs(RunQuery(limit=1000)):
            if row.status != "done" and not (self.stopped and row.status == "cancelled"):
                problems.append(f"{row.run} is {row.status}: {row.error}")
        if problems:
            raise Failed("\n".join(problems))


def play(seed: int, scenario: str = "mix", without: frozenset[str] = frozenset()) -> Score:
    """Play one seed; `Failed` says what did not hold."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory()) if scenario == "sqlite" else ""
        if scenario == "replay":
            stack.enter_context(replay_always())
        stack.enter_context(_seeded_verbs(seed))
        one = Play(seed, scenario, lambda: _store(place), without)
        try:
            one.site.run(one.main)
            events = asyncio.run(oracles.all_events(one.site.inner))
        finally:
            asyncio.run(one.close())
    seen = hashlib.sha256("".join(event.id for event in events).encode()).hexdigest()
    return Score(
        seed, seen[:16], len(events), len(one.site.outside.effects), one.site.lives,
        tuple(sorted(one.faults)),
    )  # fmt: skip


def _store(place: str) -> Store:
    return SqliteStore(place, synchronous="NORMAL") if place else MemoryStore()


@contextlib.contextmanager
def _seeded_verbs(seed: int) -> Any:
    """``holdfast.random()`` and ``uuid()`` draw from the seed, so that a seed repeats exactly."""
    plain = verbs.SystemDice
    dice = SeededDice(f"verbs {seed}")
    verbs.SystemDice = lambda: dice
    try:
        yield
    finally:
        verbs.SystemDice = plain


def campaign(
    seeds: Callable[[], int], until: Callable[[], bool], scenario: str, without: frozenset[str]
) -> int:
    """Play seeds until told to stop; the exit code. Prints failures, and a line now and then."""
    start, events, failures = time.monotonic(), 0, 0
    for count in itertools.count(1):
        seed = seeds()
        try:
            events += play(seed, scenario, without).events
        except (Exception, Crashed) as error:  # noqa: BLE001 - the campaign goes on
            failures += 1
            print(f"seed {seed} FAILED: {type(error).__name__}: {error}", flush=True)
            print(f"  again: python -m holdfast.testing.sim --seed {seed} --scenario {scenario}"
                  + "".join(f" --without {name}" for name in sorted(without)))  # fmt: skip
        over = until()
        if over or count % 200 == 0:
            passed = time.monotonic() - start
            print(f"{count} seeds, {events:,} events, {count / passed:.0f} seeds/s, "
                  f"{failures} failed", flush=True)  # fmt: skip
        if over:
            return 1 if failures else 0
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.testing.sim", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=int, help="one seed only")
    parser.add_argument("--scenario", choices=SCENARIOS, default="mix")
    parser.add_argument("--without", action="append", default=[], help="operation to leave out")
    chosen = parser.parse_args(arguments)
    without = frozenset(chosen.without)
    if chosen.seed is not None:
        return campaign(lambda: chosen.seed, lambda: True, chosen.scenario, without)
    end = time.monotonic() + chosen.seconds
    numbers = itertools.count(Random().randrange(1_000_000) * 1000)
    return campaign(
        lambda: next(numbers), lambda: time.monotonic() > end, chosen.scenario, without
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
