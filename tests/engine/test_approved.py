"""What was approved is what happens, also after a crash, a new policy, a kill or a roll back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.engine.answers import answer
from holdfast.engine.declare import Tool
from holdfast.gate import Policy, parse_policy
from holdfast.testing.lives import Life, Site
from holdfast.values.errors import Refused
from tests.engine.support import bodies, drive, until, waits

ASK = "- {id: ask, when: {tool: pay}, then: escalate}"


def policy(rules: str = ASK, more: str = "", otherwise: str = "allow") -> Policy:
    text = f"version: 1\nname: p\notherwise: {otherwise}\nrules:\n{rules}\n{more}\n"
    return parse_policy(text, "p.yaml")


async def say(life: Life, by: str, decision: str = "approve", value: Any = None) -> None:
    now = life.site.clock.now_ms()
    await answer(life.store, "a", "", decision, by=by, now_ms=now, value=value)


async def asked(site: Site, about: str) -> Any:
    """The open question about something, once there is one."""

    async def look() -> Any:
        return [one for one in await waits(site, kind="person") if one.about == about]

    return (await until(look))[0]


def play(site: Site, main: Any, work: Callable[[Life], Any], by: str = "") -> Any:
    """The result of an agent, while ``work(life)`` answers."""

    async def all_of_it(life: Life) -> Any:
        handle = await life.host.start(main, (), name="a", by=by)
        await work(life)
        return await handle.result()

    return drive(site, all_of_it, main, check=False)


# ---- refused before ----------------------------------------------------------------------------


def test_a_refused_target_is_the_same_however_it_is_typed():
    """E67: also where the tool takes something else than text."""
    done: list[str] = []

    @holdfast.tool(effect="once")
    async def pay(to: Path, why: str) -> None:
        done.append(str(to))

    @holdfast.agent(name="m")
    async def main() -> list[str]:
        found: list[str] = []
        for why in ("x", "y"):
            try:
                await pay(Path("/a"), why)
            except Refused as error:
                found.append(error.rule)
        return found

    site = Site(policy=policy(more="tools:\n- {tool: pay, target: to}"), linger=0)

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann", "deny")

    assert play(site, main, work) == ["", "refused-before"]
    assert done == []


def test_another_target_inside_an_argument_was_not_refused():
    """E67: a target may be named by a dotted path."""

    @holdfast.tool(effect="once")
    async def pay(to: dict[str, str]) -> str:
        return "paid"

    @holdfast.agent(name="m")
    async def main() -> list[str]:
        found: list[str] = []
        for to in ("1", "2", "1"):
            try:
                found.append(await pay({"id": to}))
            except Refused as error:
                found.append(error.rule)
        return found

    one = "- {id: ask, when: {tool: pay}, if: 'args.to.id == \"1\"', then: escalate}"
    site = Site(policy=policy(one, "tools:\n- {tool: pay, target: to.id}"), linger=0)

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann", "deny")

    assert play(site, main, work) == ["", "paid", "refused-before"]


# ---- edits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("crash", [False, True])
def test_what_a_person_changed_is_undone_as_they_changed_it(crash: bool):
    """E110"""
    log: list[tuple[str, int]] = []

    async def unpay(n: int, result: str) -> None:
        log.append(("undo", n))

    @holdfast.tool(effect="once", undo=unpay)
    async def pay(n: int) -> str:
        log.append(("pay", n))
        return "paid"

    @holdfast.agent(name="m")
    async def main() -> str:
        try:
            async with holdfast.transaction():
                await pay(100)
                await holdfast.wait_for("go")
                raise ValueError("no")
        except ValueError:
            return "rolled back"

    site = Site(policy=policy(), linger=0)

    async def work(life: Life) -> Any:
        await life.start(main, name="a")
        await waits(site, kind="person")
        await say(life, "ann", "edit", {"n": 5})
        await waits(site, kind="signal")
        if crash:
            life.kill()
            life = await site.live()
            await life.host.resume("a")
        await life.host.signal("a", "go")
        return await life.host.result("a")

    assert drive(site, work, main, check=False) == "rolled back"
    assert log == [("pay", 5), ("undo", 5)]
