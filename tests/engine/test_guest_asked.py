"""What a guest's questions are bound to, and which runs one may go on with."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from holdfast.engine import scope
from holdfast.engine.described import Described
from holdfast.engine.receiving import receive
from holdfast.gate import Policy, parse_policy
from holdfast.gate.budgets import Budget
from holdfast.testing.lives import ALLOW_ALL, Life, Site
from holdfast.values.errors import Misuse, Suspended
from holdfast.world import EMPTY, Stage, write_file
from tests.engine.support import bodies, drive, waits

ASK_ONCE = parse_policy(
    """
version: 1
rules:
  - {id: rest, when: {effect: [read, world, idempotent]}, then: allow}
  - {id: ask, when: {effect: once}, then: escalate}
""",
    "ASK_ONCE",
)


DEAR = dataclasses.replace(ALLOW_ALL, budgets=(Budget("daily", "money", 1.0, "run"),))


def site_and_tools(policy: Policy = ASK_ONCE) -> tuple[Site, Described, Described]:
    """A site, a tool that people must approve, and one that writes the run's file."""
    site = Site(policy=policy)

    async def deploy(args: dict[str, Any]) -> None:
        site.outside.did("once", "deploy", args["n"])

    async def keep(args: dict[str, Any]) -> None:
        stage = Stage(site.inner.get, site.inner.put_now)
        root = write_file(stage, EMPTY, "deploy.sh", args["text"].encode())
        await site.inner.put(stage.take())
        scope.world_call().root = root

    send = Described(
        "deploy", deploy, effect="once", schema={"type": "object"},
        estimate=(lambda **_: {"money": 2.0}) if policy.budgets else None,
    )  # fmt: skip
    return site, send, Described("keep", keep, effect="world")


async def guest(life: Life, **more: Any) -> Any:
    return await receive(life.host, "client", door="mcp", name="a", **more)


async def suspended(one: Any, tool: Described) -> None:
    with pytest.raises(Suspended):
        await one.step(tool, {"n": 1}, patience=0.0)


def done(site: Site) -> int:
    return len(site.outside.effects)


def test_an_approval_is_of_the_world_that_was_there_and_of_no_other():
    """E10: nothing that is written after people were asked runs under their answer."""
    site, deploy, keep = site_and_tools()

    async def main(life: Life) -> None:
        one = await guest(life)
        await suspended(one, deploy)
        await life.answer_all(lambda *_: ("approve", None))
        await one.step(keep, {"text": "other"})
        await suspended(one, deploy)
        assert done(site) == 0
        (wait,) = await waits(site)
        assert "has changed since you were asked" in wait.text
        await life.answer_all(lambda *_: ("approve", None))
        await one.step(deploy, {"n": 1}, patience=0.0)
        await one.end()

    drive(site, main)
    assert done(site) == 1


@pytest.mark.parametrize("policy", [ASK_ONCE, DEAR], ids=["action", "budget"])
@pytest.mark.parametrize("early", [True, False])
def test_what_waits_when_a_guest_leaves_is_asked_about_the_world_that_it_leaves(
    early: bool, policy: Policy
):
    """E122: one approval after that is enough, one from before is none, and people are told."""
    site, deploy, keep = site_and_tools(policy)

    async def main(life: Life) -> None:
        one = await guest(life)
        await suspended(one, deploy)
        await one.step(keep, {"text": "other"})
        if early:
            await life.answer_all(lambda *_: ("approve", None))
        await one.leave()
        (wait,) = await waits(site)
        assert wait.text.count("The world has changed since you were asked") == 1
        again = await guest(life)
        await suspended(again, deploy)  # the same question: nothing has changed
        assert len(await waits(site)) == 1
        await life.answer_all(lambda *_: ("approve", None))
        await again.leave()
        last = await guest(life)
        await last.step(deploy, {"n": 1}, patience=0.0)
        await last.end()

    drive(site, main)
    assert done(site) == 1
    assert len(bodies(site, "approval.asked")) == 2


def test_what_a_person_refused_or_nothing_changed_is_not_asked_again():
    site, deploy, keep = site_and_tools()

    async def main(life: Life) -> None:
        one = await guest(life)
        await suspended(one, deploy)
        await one.leave()
        one = await guest(life)
        await suspended(one, deploy)
        await life.answer_all(lambda *_: ("deny", None))
        await one.step(keep, {"text": "other"})
        await one.leave()

    drive(site, main)
    assert len(bodies(site, "approval.asked")) == 1


def test_arguments_that_a_person_gave_stay_when_it_is_asked_again():
    site, deploy, keep = site_and_tools()

    async def main(life: Life) -> None:
        one = await guest(life)
        await suspended(one, deploy)
        await one.step(keep, {"text": "other"})
        await life.answer_all(lambda *_: ("edit", {"n": 7}))
        await suspended(one, deploy)  # its world is not the one that the person saw
        await one.step(keep, {"text": "one more"})
        await one.leave()
        await life.answer_all(lambda *_: ("approve", None))
        one = await guest(life)
        await one.step(deploy, {"n": 1}, patience=0.0)
        await one.end()

    drive(site, main)
    assert [one.value for one in site.outside.effects] == [7]


@pytest.mark.parametrize("observes", [True, False])
def test_a_run_is_gone_on_with_as_it_began(observes: bool):
    """E123: nobody takes one that observes for one that enforces."""
    site, deploy, _ = site_and_tools()

    async def main(life: Life) -> None:
        await (await guest(life, observes=observes)).leave()
        with pytest.raises(Misuse, match=r"was begun .* choose another name"):
            await guest(life, observes=not observes)
        one = await guest(life, observes=observes)
        assert one.observes is observes
        call = asyncio.ensure_future(one.step(deploy, {"n": 1}, patience=0.0))
        await asyncio.wait([call])
        assert isinstance(call.exception(), Suspended) is not observes
        await one.leave()

    drive(site, main)
    assert done(site) == int(observes)
