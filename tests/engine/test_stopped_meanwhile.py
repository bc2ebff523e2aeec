"""What is stopped, or denied by a new policy, while people are asked about its cost does not
happen, in whatever run, and no run is begun."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

import holdfast
from holdfast.gate import parse_policy
from holdfast.gate.budgets import Budget
from holdfast.journal.events import Draft, SignalReceived
from holdfast.journal.record import KILL, SWITCHES, keep_record
from holdfast.journal.store import Batch, RunQuery
from holdfast.testing.lives import Life, Site
from holdfast.values.canon import pack
from holdfast.values.errors import RunFailed
from tests.engine.support import drive, until, waits

ALLOW = "version: 1\notherwise: allow\nrules: [{id: none, when: {tool: never}, then: deny}]\n"
DENY = ALLOW.replace("never}", "NAME}")
DID: list[str] = []


@holdfast.tool(effect="read", estimate=lambda: {"money": 2.0})
async def look() -> str:
    DID.append("look")
    return "seen"


@holdfast.tool(effect="idempotent", estimate=lambda: {"money": 2.0})
async def send() -> str:
    DID.append("send")
    return "sent"


@holdfast.agent
async def looks() -> str:
    return await look()


@holdfast.agent
async def sends() -> str:
    return await send()


@holdfast.agent
async def begun() -> str:
    DID.append("begun")
    return "begun"


def parent_of(child: Any) -> Any:
    @holdfast.agent
    async def top() -> str:
        return await (await holdfast.spawn(child)).result()

    return top


MONEY = Budget("dear", "money", 1, "agent")
RUNS = Budget("few", "runs", 0, "agent")
CASES: dict[str, tuple[Any, Budget, str, str]] = {
    "a reading step": (looks, MONEY, "tool", "look"),
    "a step that leaves the world": (sends, MONEY, "tool", "send"),
    "a spawn": (begun, RUNS, "agent", "top"),
}


async def throw(life: Life, what: str, name: str) -> None:
    store, now = life.store, life.site.clock.now_ms()
    await keep_record(store, SWITCHES, now, "token")
    value = pack({"what": what, "name": name, "reason": "odd"}, {})
    body = SignalReceived(KILL, token="t", by="ann")
    await store.append((Batch(SWITCHES, (Draft(body, now, value=value),)),), {})
    await until(lambda: life.host.settings.switches.thrown)


@pytest.mark.parametrize("how", ["killed", "denied", "neither"])
@pytest.mark.parametrize("case", CASES)
def test_e115_nothing_happens_that_was_stopped_while_its_cost_was_asked_about(case: str, how: str):
    """E115, of what is asked about its cost."""
    child, budget, what, name = CASES[case]
    top = parent_of(child)
    DID.clear()
    policy = dataclasses.replace(parse_policy(ALLOW, "p.yaml"), budgets=(budget,))
    current = [policy]
    site = Site(policy=cast(Any, lambda: current[0]), linger=0.05)
    asks = "a" if budget is RUNS else "a.1"

    async def main(life: Life) -> Any:
        handle = await life.start(top, name="a")
        (wait,) = await waits(site, asks, "person")
        assert wait.about == "budget"
        if how == "killed":
            await throw(life, what, name)
        elif how == "denied":
            found = "begun, kind: spawn" if case == "a spawn" else name
            new = parse_policy(DENY.replace("NAME", found), "q.yaml")
            current[0] = dataclasses.replace(new, budgets=(budget,))
        await life.answer_all(lambda row, wait: ("approve", None))
        if how == "neither":
            return await handle.result()
        with pytest.raises(RunFailed, match="refused by"):
            await handle.result()
        return None

    result = drive(site, main, top, child, check=False)
    if how == "neither":
        assert (len(DID), result is None) == (1, False)
    else:
        assert DID == []
    if case == "a spawn" and how != "neither":
        assert site.run(lambda: _runs(site)) == ["a"]


async def _runs(site: Site) -> list[str]:
    rows = await site.inner.runs(RunQuery())
    return [row.run for row in rows if row.run != SWITCHES]
