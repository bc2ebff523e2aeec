"""All or nothing: what a failing transaction undoes, and what it says it could not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast
from holdfast import NotUndone
from holdfast.engine.answers import cancel
from holdfast.gate import parse_policy
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from holdfast.values.errors import Misuse, Outside
from tests.engine.support import bodies, drive, run, until, waits


def cast(site: Site) -> Any:
    """charge (undone by refund), tell (no undo), risky (its undo fails), slow (stays)."""

    class Cast:
        @staticmethod
        @holdfast.tool(effect="once")
        async def tell(n: int) -> int:
            site.outside.did("once", "tell", n)
            return n

        @staticmethod
        async def refund(n: int, result: str) -> None:
            if holdfast.attempt() == 1:
                raise Outside("busy", retryable=True)
            site.outside.did("idempotent", "refund", [n, result])

        @staticmethod
        async def broken(n: int, result: int) -> None:
            raise ValueError("gone")

    @holdfast.tool(effect="once", undo=Cast.refund, retries=2, backoff=0.1)
    async def charge(n: int) -> str:
        site.outside.did("once", "charge", n)
        return f"paid {n}"

    @holdfast.tool(effect="idempotent", undo=Cast.broken)
    async def risky(n: int) -> int:
        site.outside.did("idempotent", "risky", n)
        return n

    @holdfast.tool(effect="once", undo=Cast.refund)
    async def slow(n: int) -> int:
        await asyncio.sleep(100)
        return n

    Cast.charge, Cast.risky, Cast.slow = charge, risky, slow  # type: ignore[attr-defined]
    return Cast


def done(site: Site) -> list[Any]:
    return [(one.name, one.value) for one in site.outside.effects]


def test_all_that_left_the_world_is_undone_latest_first_and_the_world_is_as_before():
    """E15."""
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        await world.write("before", "1")
        await use.charge(0)
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
            async with holdfast.transaction():
                await world.write("after", "1")
                await use.charge(1)
                await asyncio.gather(use.charge(2), world.remove("before"))
                raise KeyError
        return list(await world.list())

    assert run(site, main) == ["before"]
    assert done(site) == [
        ("charge", 0), ("charge", 1), ("charge", 2), ("refund", [2, "paid 2"]),
        ("refund", [1, "paid 1"]),
    ]  # fmt: skip
    undone = [one.of for one in bodies(site, "step.settled") if one.of]
    assert len(undone) == 2
    assert all(one.startswith("a@") for one in undone)


def test_nothing_is_undone_if_it_succeeds_and_an_outer_one_undoes_the_inner():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        async with holdfast.transaction():
            await use.charge(1)
        with pytest.raises(RuntimeError):  # noqa: PT012 - the block is what is tested
            async with holdfast.transaction():
                async with holdfast.transaction():
                    await use.charge(2)
                    await world.write("x", "1")
                with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
                    async with holdfast.transaction():
                        await use.charge(3)
                        raise KeyError
                raise RuntimeError
        return list(await world.list())

    assert run(site, main) == []
    assert done(site) == [
        ("charge", 1), ("charge", 2), ("charge", 3), ("refund", [3, "paid 3"]),
        ("refund", [2, "paid 2"]),
    ]  # fmt: skip


def test_what_cannot_be_undone_is_said():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        try:
            async with holdfast.transaction():
                await use.tell(1)
                await use.risky(2)
                await use.charge(3)
                try:
                    async with asyncio.timeout(1):
                        await use.slow(4)
                except TimeoutError:
                    raise KeyError("why") from None
        except NotUndone as error:
            return [[name, why] for _, name, why in error.left], type(error.__cause__).__name__
        return None

    left, cause = run(site, main)
    assert cause == "KeyError"
    assert left == [
        ["slow", "nobody knows whether it happened"],
        ["risky", "undoing it failed: gone"],
        ["tell", "it declares no undo"],
    ]
    assert done(site)[-1] == ("refund", [3, "paid 3"])


def test_a_stop_that_is_asked_for_rolls_back():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> None:
        async with holdfast.transaction():
            await use.charge(1)
            await world.write("x", "1")
            await holdfast.wait_for("never")

    async def work(life: Life) -> Any:
        started = await life.start(main, name="a")
        await waits(site)
        await until(lambda: life.host.resident_count() == 0)
        assert done(site) == [("charge", 1)]  # waiting is no failure
        await cancel(life.store, "a", by="ann", now_ms=site.clock.now_ms())
        life.host.ring()
        with pytest.raises(holdfast.RunFailed):
            await started.result()
        return await started.status()

    assert drive(site, work, main) == "cancelled"
    assert done(site) == [("charge", 1), ("refund", [1, "paid 1"])]


def test_a_second_cancellation_does_not_leave_half_of_a_rollback():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        async def block() -> None:
            async with holdfast.transaction():
                await use.charge(1)
                await use.charge(2)
                await holdfast.sleep(1000)

        task = asyncio.create_task(block())
        await holdfast.sleep(5)
        task.cancel()
        await holdfast.sleep(0.05)  # an undo waits for its second attempt
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(site, main) is True
    assert done(site)[2:] == [("refund", [2, "paid 2"]), ("refund", [1, "paid 1"])]


def test_an_undo_is_judged_like_any_step():
    """E4: a denied undo is one that could not be undone."""
    site = Site(policy=parse_policy("""
version: 1
name: p
rules:
  - {id: keep, when: {tool: charge.undo}, then: deny}
  - {id: all, when: {effect: [read, world, idempotent, once]}, then: allow}
""", "p"))  # fmt: skip
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        with pytest.raises(NotUndone, match="refused by keep"):  # noqa: PT012 - a block
            async with holdfast.transaction():
                await use.charge(1)
                raise KeyError
        return 1

    assert run(site, main) == 1
    assert done(site) == [("charge", 1)]


def test_in_a_branch_it_drops_what_is_held_and_rolls_back_the_branch():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        async with holdfast.fork() as branch:
            await world.write("kept", "1")
            await use.drop(1)
            with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
                async with holdfast.transaction():
                    await world.write("gone", "1")
                    await use.drop(2)
                    raise KeyError
            merged = await branch.merge()
        return [list(await world.list()), len(merged.published.done)]

    @holdfast.tool(effect="once")
    async def drop(n: int) -> None:
        site.outside.did("once", "drop", n)

    use.drop = drop
    assert run(site, main) == [["kept"], 1]
    assert done(site) == [("drop", 1)]


def test_a_task_that_goes_on_after_the_rollback_is_refused():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> Any:
        async def late() -> None:
            await holdfast.sleep(5)
            await use.charge(2)

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
            async with holdfast.transaction():
                tasks.append(asyncio.create_task(late()))
                await use.charge(1)
                raise KeyError
        with pytest.raises(Misuse, match="rolled back"):
            await tasks[0]
        return 1

    assert run(site, main) == 1
    assert done(site) == [("charge", 1), ("refund", [1, "paid 1"])]


def test_a_tool_may_stand_as_undo_and_undo_is_for_what_leaves():
    @holdfast.tool(effect="once")
    async def back(n: int, result: int) -> None: ...

    @holdfast.tool(effect="once", undo=back)
    async def there(n: int) -> int:
        return n

    assert there.undo is back
    with pytest.raises(Misuse, match="leaves the world"):
        holdfast.tool(effect="read", undo=back)(there.fn)


def test_what_a_merge_within_it_published_is_undone_on_replay_as_it_was_live():
    """E15: what another run asked for cannot be; that is said, in every replay alike."""
    site = Site()

    async def back(n: int, result: None) -> None:
        site.outside.did("idempotent", "back", n)

    @holdfast.tool(effect="once", undo=back)
    async def drop(n: int) -> None:
        site.outside.did("once", "drop", n)

    @holdfast.agent
    async def child() -> None:
        await drop(2)

    @holdfast.agent
    async def main() -> Any:
        try:
            async with holdfast.transaction():
                async with holdfast.fork() as branch:
                    await drop(1)
                    one = await holdfast.spawn(child)
                    await one.result()
                    await holdfast.merge(one)
                    await branch.merge()
                raise KeyError
        except NotUndone as error:
            return [(name, "cannot be undone" in why) for _, name, why in error.left]

    site.programs[child.name] = child
    assert run(site, main) == [["drop", True]]
    assert done(site) == [("drop", 1), ("drop", 2), ("back", 1)]
