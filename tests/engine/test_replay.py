"""Replay: the same program on the same journal does the same; another program is told where."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from random import Random
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.engine.answers import cancel, send
from holdfast.engine.loop import RunLoop
from holdfast.engine.replay import Reader, replay
from holdfast.engine.run import Run
from holdfast.journal.store import RunQuery
from holdfast.testing import oracles, sim
from holdfast.testing.faults import at
from holdfast.testing.lives import Life, Site
from holdfast.testing.programs import Cast, generate
from holdfast.values.errors import Diverged, RunFailed
from tests.engine.support import again, drive, events, fails, run


@holdfast.tool(effect="read")
async def double(n: int) -> int:
    return n * 2


@holdfast.tool(effect="read")
async def other(n: int) -> int:
    return n * 5


def program(block: Any) -> Any:
    """Versions of one program: agents of the same name."""

    @holdfast.agent(name="versions")
    async def main() -> Any:
        return await block()

    return main


async def recorded() -> list[int]:
    return [await double(1), await double(2), await double(3)]


async def changed_args() -> list[int]:
    return [await double(1), await double(20), await double(3)]


async def changed_name() -> list[int]:
    return [await double(1), await other(2), await double(3)]


async def removed() -> list[int]:
    return [await double(1), await double(2)]


async def removed_first() -> list[int]:
    return [await double(2), await double(3)]


async def added() -> list[int]:
    return [await double(1), await double(2), await double(3), await double(4)]


async def changed_result() -> list[int]:
    return [*await recorded(), 0]


async def failing() -> list[int]:
    await recorded()
    raise ValueError


@pytest.mark.parametrize(
    ("version", "key", "words"),
    [
        (changed_args, "2", ["-   n = 2", "+   n = 20", "with other arguments"]),
        (changed_name, "2", ["- tool: double", "+ tool: other", "holdfast fork a@2"]),
        (removed, "3", ["- tool double", "does not ask for it"]),
        (removed_first, "1", ["-   n = 1", "+   n = 2"]),
        (added, "4", ["+ tool double", '{"n":4}']),
        (changed_result, "", ["another result"]),
        (failing, "", ["recorded as done, now failed"]),
    ],
)
def test_a_changed_program_is_told_where_it_differs(version: Any, key: str, words: list[str]):
    """E3."""
    site = Site()
    assert run(site, program(recorded)) == [2, 4, 6]
    with pytest.raises(Diverged) as caught:
        again(site, program(version))
    assert caught.value.key == key
    text = f"{caught.value}\n{caught.value.diff}"
    assert [word for word in words if word not in text] == [], text


def test_a_step_that_is_gone_from_the_end_is_noticed_though_the_result_is_the_same():
    """E3, also where nothing but the step itself shows it."""

    async def two() -> None:
        await double(1)
        await double(2)

    async def one() -> None:
        await double(1)

    site = Site()
    run(site, program(two))
    with pytest.raises(Diverged):
        again(site, program(one))


def test_a_program_that_changed_while_its_run_was_parked_does_no_harm():
    """Diverged on resume: nothing is performed or written, the lease is free, a fork goes on."""
    site = Site(linger=0)
    sites: list[str] = []

    def version(n: int) -> Any:
        async def block() -> int:
            first = await double(n)
            await holdfast.wait_for("go")
            sites.append("went on")
            return first

        return program(block)

    async def first(life: Life) -> None:
        await life.start(version(1), name="a")
        await asyncio.sleep(1)

    async def second(life: Life) -> None:
        before = await site.inner.last_seq()
        handle = await life.host.resume("a")
        with pytest.raises(Diverged, match="step 1"):
            await handle.result()
        assert await site.inner.last_seq() == before
        assert (await site.inner.run("a")).owner == ""
        with pytest.raises(Diverged):
            await (await life.host.resume("a")).result()

    async def third(life: Life) -> Any:
        handle = await life.host.resume("a")
        await life.signal("a", "go")
        return await handle.result()

    drive(site, first, version(1))
    drive(site, second, version(2), check=False)
    assert drive(site, third, version(1)) == 2
    assert set(sites) == {"went on"}


def test_replay_of_failed_cancelled_and_segmented_runs_and_of_those_in_flight():
    @holdfast.agent
    async def segmented(n: int) -> int:
        await double(n)
        if n:
            holdfast.continue_as(n - 1)
        return n

    site = Site()
    assert run(site, segmented, 3) == 0
    found = again(site, segmented)
    assert (found.segments, found.steps, found.in_flight) == (4, 4, False)

    assert fails(Site(), program(failing)).error_type == "ValueError"

    async def endless() -> None:
        await double(1)
        await holdfast.wait_for("never")

    async def work(life: Life) -> None:
        handle = await life.start(waiting, name="a")
        await asyncio.sleep(5)
        found = await oracles.replays(life.site.inner, life.site.programs)
        assert found == []
        await cancel(life.store, "a", by="x", now_ms=0)
        with contextlib.suppress(RunFailed):
            await handle.result()

    site, waiting = Site(), program(endless)
    drive(site, work, waiting)
    found = again(site, waiting)
    assert (found.steps, found.in_flight) == (2, False)


@pytest.mark.parametrize("version", [added, removed])
def test_replay_changes_nothing(version: Any):
    site = Site()
    run(site, program(recorded))
    before = [event.id for event in events(site)]
    with pytest.raises(Diverged):
        again(site, program(version))
    assert [event.id for event in events(site)] == before


def test_the_order_in_which_a_group_cancels_is_the_same_on_replay():
    """E1: sets of tasks have no order of their own."""

    async def block() -> list[int]:
        log: list[int] = []

        async def waits(n: int) -> None:
            try:
                await holdfast.sleep(100)
            except asyncio.CancelledError:
                log.append(n)
                raise

        async def breaks() -> None:
            await double(1)
            raise ValueError

        try:
            async with asyncio.TaskGroup() as group:
                for n in range(12):
                    group.create_task(waits(n))
                group.create_task(breaks())
        except* ValueError:
            pass
        return log

    site, version = Site(), program(block)
    run(site, version, check=False)
    ballast = []
    for n in range(20):
        again(site, version)
        ballast.append([object() for _ in range(n * 7)])  # addresses differ


def test_tasks_of_many_runs_do_not_fall_together(monkeypatch: pytest.MonkeyPatch):
    """asyncio keeps all tasks of a process in one set; each run numbers its own from 1."""
    compared = 0

    def same(self: object, other: object) -> bool:
        nonlocal compared
        compared += 1
        return self is other

    monkeypatch.setattr("holdfast.engine.loop._Ordered.__eq__", same)

    async def nothing() -> None: ...

    loops = [RunLoop(lambda _: None, lambda _: None, lambda: 0.0) for _ in range(50)]
    tasks = [one.strand(nothing(), Context()) for one in loops]
    assert compared == 0
    assert {hash(task) for task in tasks} == {1}  # but what a program sees is in its own order
    for one in loops:
        one.drain()


# ---- random programs --------------------------------------------------------------------------


def play(program: Any, seed: int, linger: float) -> tuple[Site, Cast, Any]:
    """Run a random program live; calls take random times."""
    random = Random(seed)
    site = Site(linger=linger, seed=seed)
    cast = Cast(site.outside, lambda: random.choice([0.0, 0.001, 0.01, 0.1, 1.0]))
    site.programs[cast.agent.name] = cast.agent

    async def main() -> Any:
        life = await site.live(serve=True)
        helping = asyncio.ensure_future(people(life, cast))
        handle = await life.start(cast.agent, program, name="a")
        result = await asyncio.wait_for(handle.result(), 1_000_000)
        helping.cancel()
        await life.host.close()
        assert await oracles.everything(site.inner, site.outside, site.programs) == []
        return result

    return site, cast, site.run(main)


async def people(life: Life, cast: Cast) -> None:
    sent: set[tuple[str, str]] = set()
    while True:
        await asyncio.sleep(0.3)
        await life.answer_all(cast.person)
        for row in await life.store.runs(RunQuery(limit=100)):
            for wait in row.waits:
                place = (row.run, wait.name)
                if wait.kind == "signal" and wait.name.startswith("signal") and place not in sent:
                    sent.add(place)
                    now = life.site.clock.now_ms()
                    await send(life.store, row.run, wait.name, wait.name, by="x", now_ms=now)


@given(random=st.randoms(use_true_random=False), seed=st.integers(0, 1_000_000))
def test_random_programs_replay_to_the_same_bytes(random: Random, seed: int):
    """E1, E3, J5: gathers, races, time limits, cancellation, errors: the oracles replay."""
    play(generate(random, size=10), seed, random.choice([0.0, 0.05, 1.0]))


def test_a_run_in_flight_replays_up_to_a_blocking_step_that_was_not_taken():
    """As up to one that is awaited: what comes next is no divergence."""
    site = Site()

    @holdfast.tool(effect="read")
    async def awaited() -> int:
        return 1

    @holdfast.tool(effect="read")
    def blocking() -> int:
        return 2

    @holdfast.agent(name="both")
    async def both() -> int:
        return await awaited() + blocking()

    async def main() -> None:
        life = await site.live(at(3, "before"))
        await life.start(both, name="a")
        await life.crashed.wait()

    site.programs["both"] = both
    site.run(main)
    found = asyncio.run(replay(site.inner, "a", both))
    assert (found.steps, found.in_flight) == (1, True)


class _Nobody(Reader):
    """The outside of a run that is only advanced: blocking steps end there too."""

    def take_now(self, run: Run, pending: Any) -> NoReturn:
        raise holdfast.Suspended


@given(random=st.randoms(use_true_random=False), seed=st.integers(0, 1_000_000))
def test_every_prefix_of_a_journal_replays(random: Random, seed: int):
    """Whatever was recorded when a process died, the program comes as far as that."""
    site, cast, _ = play(generate(random, size=8, without=frozenset({"continue"})), seed, 0.05)
    chain = events(site)
    for count in range(1, len(chain) + 1):
        one = Run("a", cast.agent, _Nobody(site.inner), chain[:count])
        one.begin()
        one.advance()
        assert one.broken is None, count
        one.leave()


@pytest.mark.parametrize("scenario", sim.SCENARIOS)
def test_a_few_simulated_seeds(scenario: str):
    for seed in range(6):
        sim.play(seed, scenario)
