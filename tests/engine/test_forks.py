"""Forks, edits and what they keep; children, merging; long runs in segments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast
from holdfast.engine.fork import fork
from holdfast.engine.landing import change_of, land
from holdfast.testing import oracles
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from holdfast.values.errors import Misuse, NotFound, RunFailed
from tests.engine.support import again, bodies, drive, events, fails, run, waits


def cast(site: Site) -> Any:
    @holdfast.tool(effect="read")
    async def look(n: int) -> int:
        await asyncio.sleep(0.01)
        site.outside.did("read", "look", n)
        return n * 2

    @holdfast.tool(effect="idempotent")
    async def send(n: int) -> str:
        await asyncio.sleep(0.01)
        site.outside.did("idempotent", "send", n)
        return holdfast.idempotency_key()

    @holdfast.agent
    async def main(n: int) -> list[Any]:
        first = await look(n)
        second = await look(first)
        await world.write("file", str(second))
        third = await look(7)
        return [first, second, await world.read("file"), third, len(await send(1))]

    return main


async def forked(life: Life, key: str, name: str = "b", **options: Any) -> Any:
    now = life.site.clock.now_ms()
    await fork(life.store, "a", key, name=name, now_ms=now, live=True, **options)
    return await (await life.host.resume(name)).result()


@pytest.mark.parametrize(
    ("key", "options", "result", "looked"),
    [
        ("2", {}, [2, 4, "4", 14, 32], [2, 7]),
        ("2", {"edits": {"result": 50}}, [2, 50, "50", 14, 32], []),
        ("2", {"edits": {"args.n": 9}}, [2, 18, "18", 14, 32], [9]),
        ("0", {"edits": {"input.n": 3}}, [6, 12, "12", 14, 32], [3, 6]),
        ("0", {}, [2, 4, "4", 14, 32], [1, 2, 7]),
        ("2", {"edits": {"result": 4}}, [2, 4, "4", 14, 32], []),
        ("2", {"edits": {"result": 50}, "reuse": False}, [2, 50, "50", 14, 32], [7]),
    ],
)
def test_forks_keep_what_is_unchanged(key: str, options: Any, result: Any, looked: list[int]):
    """E7, J4: unchanged steps keep their outcomes, the rest run again; the past is shared."""
    site = Site()
    main = cast(site)

    async def work(life: Life) -> Any:
        source = await (await life.start(main, 1, name="a")).result()
        assert source == [2, 4, "4", 14, 32]
        before = len(site.outside.effects)
        found = await forked(life, key, **options)
        assert [e.value for e in site.outside.effects[before:] if e.kind == "read"] == looked
        return found

    assert drive(site, work, main) == result
    shared = [event.id for event in events(site, "a")]
    mine = [event.id for event in events(site, "b")]
    cut = bodies(site, "run.started", "b")[-1].fork_pos
    assert mine[: cut + 1] == shared[: cut + 1]


def test_an_effect_of_a_fork_has_a_key_of_its_own():
    site = Site()
    main = cast(site)

    async def work(life: Life) -> None:
        await (await life.start(main, 1, name="a")).result()
        await forked(life, "5")

    drive(site, work, main)
    first, second = [one for one in site.outside.effects if one.kind == "idempotent"]
    assert (first.run, second.run) == ("a", "b")
    assert first.key != second.key


@pytest.mark.parametrize(
    ("key", "edits", "error"),
    [
        ("99", {}, NotFound),
        ("2", {"outcome": 1}, Misuse),
        ("0", {"result": 1}, Misuse),
        ("0", {"input.m.x": 1}, Misuse),
    ],
)
def test_wrong_forks_make_nothing(key: str, edits: Any, error: type[Exception]):
    site = Site()
    main = cast(site)

    async def work(life: Life) -> None:
        await (await life.start(main, 1, name="a")).result()
        before = await life.store.last_seq()
        with pytest.raises(error):
            await forked(life, key, edits=edits)
        assert await life.store.last_seq() == before

    drive(site, work, main)


def test_time_in_the_shared_past_of_a_fork_is_what_it_was():
    @holdfast.tool(effect="read")
    async def at(seconds: float) -> float:
        await asyncio.sleep(0.5)
        return seconds

    @holdfast.agent
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        return [await at(loop.time()), await at(loop.time()), await at(loop.time())]

    async def work(life: Life) -> None:
        first = await (await life.start(main, name="a")).result()
        await asyncio.sleep(1000)
        second = await forked(life, "3")
        assert second[:2] == first[:2]

    drive(Site(), work, main)


def test_a_fork_while_another_step_waits_can_be_answered_there():
    """E9: the past that is shared may hold an open question and an open wait for a signal."""

    @holdfast.tool(effect="read")
    async def look(n: int) -> int:
        await asyncio.sleep(n)
        return n

    @holdfast.agent
    async def main() -> list[Any]:
        async def later() -> int:
            await look(1)
            return await look(2)

        return list(await asyncio.gather(holdfast.ask("which?"), holdfast.wait_for("x"), later()))

    async def work(life: Life) -> Any:
        site = life.site
        await life.start(main, name="a")
        await asyncio.sleep(20)
        await fork(life.store, "a", "3.2", name="b", now_ms=site.clock.now_ms())
        handle = await life.host.resume("b")
        await asyncio.sleep(20)
        assert {wait.kind for wait in await waits(site, "b")} == {"person", "signal"}
        await life.answer_all(lambda row, wait: ("answer", row.run))
        await life.signal("b", "x", "signal")
        await life.signal("a", "x", "signal of a")
        await (await life.host.resume("a")).result()
        return await asyncio.wait_for(handle.result(), 100)

    assert drive(Site(), work, main) == ["b", "signal", 2]


def test_a_fork_with_edits_reuses_what_was_planned_before_and_settled_after_the_cut():
    """E7."""
    site = Site()

    @holdfast.tool(effect="idempotent")
    async def send(n: int) -> int:
        await asyncio.sleep(n)
        site.outside.did("idempotent", "send", n)
        return n

    @holdfast.agent
    async def main() -> list[int]:
        async def two() -> int:
            await send(1)
            return await send(2)

        return list(await asyncio.gather(send(9), two()))

    async def work(life: Life) -> Any:
        await (await life.start(main, name="a")).result()
        return await forked(life, "2.2", edits={"result": 5})

    assert drive(site, work, main) == [9, 5]
    assert [one.value for one in site.outside.effects] == [1, 2, 9]


# ---- children ---------------------------------------------------------------------------------


@holdfast.agent
async def child(n: int, wrong: bool = False) -> int:
    await world.write(f"file{n}", str(n))
    if wrong:
        raise ValueError("the child failed")
    return n * 2


def test_children_bring_results_and_worlds_and_spawn_once():
    """E8."""

    @holdfast.agent
    async def main(n: int) -> Any:
        await world.write("mine", "mine")
        born = [await holdfast.spawn(child, i) for i in range(n)]
        await holdfast.sleep(100)
        results = await asyncio.gather(*[one.result() for one in born])
        merges = [await holdfast.merge(one) for one in born]
        return [results, [one.merged for one in merges], list(await world.list())]

    site = Site(child, linger=0)
    found = run(site, main, 3)
    assert found == [[0, 2, 4], [True] * 3, ["file0", "file1", "file2", "mine"]]
    assert [one.run for one in asyncio.run(oracles.all_events(site.inner)) if one.pos == 0] == [
        "a", "a.2", "a.3", "a.4",
    ]  # fmt: skip


def test_conflicts_are_results():
    @holdfast.agent
    async def writes(text: str) -> None:
        await world.write("file", text)

    @holdfast.agent
    async def main() -> Any:
        born = [await holdfast.spawn(writes, text) for text in ("one\n", "two\n")]
        for one in born:
            await one.result()
        merges = [await holdfast.merge(one) for one in born]
        return [merges[0].merged, merges[1].merged, merges[1].conflicts, await world.read("file")]

    found = run(Site(writes), main)
    assert found[:2] == [True, False]
    assert [path for path, _ in found[2]] == ["file"]
    assert found[3] == "one\n"


def test_a_failed_child_raises_in_its_parent():
    @holdfast.agent
    async def main() -> str:
        one = await holdfast.spawn(child, 1, wrong=True)
        try:
            return str(await one.result())
        except RunFailed as error:
            return f"{error.error_type}: {error}"

    found = run(Site(child), main)
    assert found.startswith("ValueError: run a.1 failed")
    assert "the child failed" in found


def test_merging_needs_a_result():
    @holdfast.agent
    async def main() -> None:
        await holdfast.merge(await holdfast.spawn(child, 1))

    assert "await its result first" in str(fails(Site(child), main, check=False))


def test_resuming_a_parent_brings_its_children():
    @holdfast.agent
    async def slow() -> str:
        await holdfast.sleep(50)
        return "grown"

    @holdfast.agent
    async def main() -> str:
        return await (await holdfast.spawn(slow)).result()

    site = Site(slow)

    async def first(life: Life) -> None:
        await life.start(main, name="a")
        await asyncio.sleep(5)
        life.kill()
        await asyncio.sleep(0.1)

    async def second(life: Life) -> Any:
        return await asyncio.wait_for((await life.host.resume("a")).result(), 1000)

    drive(site, first, main)
    assert drive(site, second, main) == "grown"


def test_a_fork_before_a_merge_has_the_world_before_it():
    @holdfast.agent
    async def main() -> list[str]:
        one = await holdfast.spawn(child, 1)
        await one.result()
        seen = list(await world.list())
        await holdfast.merge(one)
        return [*seen, "then", *await world.list()]

    async def work(life: Life) -> Any:
        found = await (await life.start(main, name="a")).result()
        assert found == ["then", "file1"]
        await fork(life.store, "a", "4", name="b", now_ms=life.site.clock.now_ms())
        (started, *_) = await life.store.read("b", (await life.store.head("b")).pos)
        assert started.world == (await life.store.read("a", 0, 1))[0].world
        return await (await life.host.resume("b")).result()

    assert drive(Site(child), work, main) == ["then", "file1"]


def test_merging_two_runs():
    async def work(life: Life) -> Any:
        await (await life.start(child, 1, name="a")).result()
        await fork(life.store, "a", "0", name="b", now_ms=0, edits={"input.n": 2})
        await (await life.host.resume("b")).result()
        change = await change_of(life.store, "b", "a")
        found = await land(life.store, "a", change, owner="me", now_ms=lambda: 0)
        assert not found.merged.conflicts
        return found.root, (await life.store.head("a")).world

    root, head = drive(Site(child), work, child)
    assert root == head


# ---- segments ---------------------------------------------------------------------------------


def test_segments_have_effects_children_and_signals_of_their_own():
    """A second segment begins its keys anew: neither keys nor names of children repeat."""
    site = Site(child)

    @holdfast.tool(effect="idempotent")
    async def bill(amount: int) -> str:
        site.outside.did("idempotent", "bill", amount)
        return holdfast.idempotency_key()

    @holdfast.agent
    async def monthly(left: int, keys: list[str]) -> list[str]:
        keys.append(await bill(5))
        keys.append((await holdfast.spawn(child, 1)).id)
        keys.append(await holdfast.wait_for("month"))
        if left:
            holdfast.continue_as(left - 1, keys)
        return keys

    async def work(life: Life) -> Any:
        handle = await life.start(monthly, 2, [], name="a")
        for n in range(3):
            await life.signal("a", "month", f"month {n}")
        return await asyncio.wait_for(handle.result(), 1000)

    found = drive(site, work, monthly, check=False)
    assert found[2::3] == ["month 0", "month 1", "month 2"]
    assert len(set(found)) == 9
    assert again(site, monthly).segments == 3


def test_going_on_with_wrong_arguments_fails_the_run():
    @holdfast.agent
    async def main(n: int) -> None:
        holdfast.continue_as("many")

    assert "argument n" in str(fails(Site(), main, 1))
