"""Short ways to say what most tests of the engine say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.engine.replay import Replayed, replay
from holdfast.journal.events import Event, body_of
from holdfast.journal.store import RunQuery
from holdfast.testing import oracles
from holdfast.testing.lives import Life, Site
from holdfast.values.errors import RunFailed


def run(site: Site, program: Any, *args: Any, name: str = "a", check: bool = True) -> Any:
    """The result of one run, which then replays and keeps every promise."""

    async def main(life: Life) -> Any:
        return await (await life.start(program, *args, name=name)).result()

    return drive(site, main, program, check=check)


def fails(site: Site, program: Any, *args: Any, check: bool = True) -> RunFailed:
    """The error of a run that must fail."""

    async def main(life: Life) -> RunFailed:
        try:
            result = await (await life.start(program, *args, name="a")).result()
        except RunFailed as error:
            return error
        raise AssertionError(f"it returned {result!r}")

    return drive(site, main, program, check=check)


def drive(
    site: Site, main: Callable[[Life], Awaitable[Any]], *programs: Any, check: bool = True
) -> Any:
    """``await main(life)`` in a new life of a site, which is then closed and checked."""
    for program in programs:
        site.programs[program.name] = program

    async def inner() -> Any:
        life = await site.live()
        try:
            return await asyncio.wait_for(main(life), 1_000_000)
        finally:
            await life.host.close()
            if check:
                found = await oracles.everything(site.inner, site.outside, site.programs)
                assert found == [], found

    return site.run(inner)


def events(site: Site, run: str = "a", *kinds: str) -> list[Event]:
    """What was recorded of a run."""

    async def read() -> list[Event]:
        return [one for one in await site.inner.read(run) if not kinds or one.kind in kinds]

    return asyncio.run(read())


def bodies(site: Site, kind: str, run: str = "a") -> list[Any]:
    return [body_of(one) for one in events(site, run, kind)]


def again(site: Site, program: Any, name: str = "a") -> Replayed:
    """Read a run again, under another program maybe."""
    return asyncio.run(replay(site.inner, name, program))


async def until(condition: Callable[[], Awaitable[Any]] | Callable[[], Any]) -> Any:
    """Wait (virtual seconds) until a condition holds; its value."""
    for _ in range(10_000):
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("never")


async def waits(site: Site, run: str = "a", kind: str = "") -> list[Any]:
    """Open waits of a run, once it has some."""

    async def look() -> list[Any]:
        rows = await site.inner.runs(RunQuery(limit=1000))
        return [
            wait
            for row in rows
            if row.run == run
            for wait in row.waits
            if not wait.ready and kind in ("", wait.kind)
        ]

    return await until(look)
