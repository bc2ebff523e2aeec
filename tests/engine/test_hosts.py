"""Several hosts on one store: leases, fencing, adoption, clean stops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast
from holdfast.testing import oracles
from holdfast.testing.lives import Life, Site
from holdfast.values.errors import Conflict, LeaseLost
from tests.engine.support import drive, until


def payer(site: Site) -> Any:
    @holdfast.tool(effect="idempotent")
    async def send(n: int) -> int:
        await asyncio.sleep(1)
        site.outside.did("idempotent", "send", n)
        return n

    @holdfast.agent
    async def main(n: int) -> list[int]:
        return [await send(i) for i in range(n)]

    return main


def test_a_host_that_lost_its_lease_appends_nothing_more():
    """J3: declared dead while it lives, a host is fenced off by the epoch."""
    site = Site()
    main = payer(site)

    async def work(first: Life) -> Any:
        handle = await first.start(main, 5, name="a")
        await asyncio.sleep(2.5)
        site.inner.owner_died(first.host.owner)  # type: ignore[attr-defined] # a MemoryStore
        second = await site.live()
        other = await second.host.resume("a")
        with pytest.raises(LeaseLost):
            await handle.result()
        found = await other.result()
        await second.host.close()
        return found

    assert drive(site, work, main) == [0, 1, 2, 3, 4]


def test_nobody_takes_a_run_that_somebody_alive_holds():
    site = Site()
    main = payer(site)

    async def work(first: Life) -> Any:
        handle = await first.start(main, 3, name="a")
        second = await site.live(serve=True)
        with pytest.raises(LeaseLost):
            await second.host.resume("a")
        with pytest.raises(Conflict):
            await second.host.start(main, (3,), name="a")
        found = await handle.result()
        assert second.host.resident_count() == 0
        await second.host.close()
        return found

    assert drive(site, work, main) == [0, 1, 2]


def test_a_serving_host_adopts_what_the_dead_left():
    site = Site()
    main = payer(site)

    async def work(first: Life) -> Any:
        for n in range(3):
            await first.start(main, 3, name=f"r{n}")
        second = await site.live(serve=True)
        await asyncio.sleep(1.5)
        first.kill()
        found = [await second.host.result(f"r{n}") for n in range(3)]
        assert await oracles.everything(site.inner, site.outside, site.programs) == []
        await second.host.close()
        return found

    assert drive(site, work, main, check=False) == [[0, 1, 2]] * 3


def test_a_stop_in_the_middle_is_clean_and_another_host_goes_on():
    """Work that leaves the world is not interrupted; what waits beside it does not hide the run."""
    site = Site()

    @holdfast.tool(effect="once")
    async def pay(n: int) -> int:
        await asyncio.sleep(1)
        site.outside.did("once", "pay", n)
        return n

    @holdfast.tool(effect="read")
    async def read(n: int) -> int:
        await asyncio.sleep(50)
        return n

    @holdfast.agent
    async def main() -> list[Any]:
        return list(await asyncio.gather(pay(1), read(2), holdfast.wait_for("x")))

    async def first(life: Life) -> None:
        await life.start(main, name="a")
        await asyncio.sleep(0.5)
        await life.host.close()
        life.kill()

    async def second(life: Life) -> Any:
        other = await site.live(serve=True)
        await asyncio.sleep(200)
        settled = [one for one in await life.store.read("a") if one.kind == "step.settled"]
        assert len(settled) == 2
        await life.signal("a", "x", 3)
        found = await other.host.result("a")
        await other.host.close()
        return found

    drive(site, first, main, check=False)
    assert drive(site, second, main) == [1, 2, 3]
    assert site.outside.count("once", "pay", 1) == 1


def test_a_run_in_segments_stays_with_its_host_though_another_one_serves():
    @holdfast.agent
    async def main(n: int) -> int:
        await holdfast.sleep(0.01)
        if n:
            holdfast.continue_as(n - 1)
        return n

    site = Site()

    async def work(life: Life) -> Any:
        other = await site.live(serve=True)
        handles = [await life.start(main, 20, name=f"r{n}") for n in range(5)]
        found = [await handle.result() for handle in handles]
        await other.host.close()
        return found

    assert drive(site, work, main) == [0] * 5


def test_closing_is_idempotent_and_waiters_are_told():
    site = Site()
    main = payer(site)

    async def work(life: Life) -> None:
        await life.start(main, 5, name="a")
        await asyncio.sleep(1.5)
        await life.host.close()
        await life.host.close()
        assert life.host.resident_count() == 0
        await until(lambda: True)

    drive(site, work, main)
