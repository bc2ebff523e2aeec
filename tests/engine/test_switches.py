"""Kill switches: what is stopped is denied, at once, in every process, and nothing else is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.cli.desk import Desk
from holdfast.cli.screen import Screen
from holdfast.cli.switching import board, throw
from holdfast.engine.answers import answer
from holdfast.gate import DEFAULT_POLICY, Proposal, judge, parse_policy
from holdfast.gate.switches import Switchboard, is_switch_name
from holdfast.gate.verdict import KILLED
from holdfast.journal.events import NO_HEAD as HEAD
from holdfast.journal.events import Draft, SignalReceived, body_of, seal
from holdfast.journal.record import KILL, LIFT
from holdfast.runtime import Runtime, Settings
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.errors import Misuse, RunFailed

POLICY = parse_policy(
    "version: 1\nname: p\notherwise: allow\nrules:\n"
    "- {id: pays, when: {tool: pay}, then: allow}\n"
    "- {id: asks, when: {tool: ask_first}, then: escalate}\n",
    "p.yaml",
)


def signal(name: str, what: object, which: object, reason: object = ""):
    body = SignalReceived(name, token="t", by="ann")
    event = seal(Draft(body, 5), "holdfast.switches", HEAD)
    return event, {"what": what, "name": which, "reason": reason}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([KILL, LIFT]),
            st.sampled_from(["agent", "tool", "rule", "world"]),
            st.sampled_from(["a", "b*", "pays", "pay", "*", "[", "", "\n"]),
        ),
        max_size=8,
    ),
    st.sampled_from(["a", "bee", "c"]),
    st.sampled_from(["pay", "read"]),
)
def test_j60_what_is_stopped_is_denied_and_nothing_else(
    thrown: list[tuple[str, str, str]], agent: str, tool: str
):
    """INVARIANT J60"""
    switches = Switchboard()
    now: set[tuple[str, str]] = set()
    for name, what, which in thrown:
        switches.hear(*signal(name, what, which))
        if what != "world" and which not in ("[", "", "\n"):
            (now.add if name == KILL else now.discard)((what, which))
    proposal = Proposal(agent, "", "tool", tool, "read", {})
    verdict = judge(proposal, POLICY)
    found = switches.overrule(proposal, verdict)
    stopped = {
        "agent": {"*", agent} | ({"b*"} if agent.startswith("b") else set()),
        "tool": {"*", tool} | ({"b*"} if tool.startswith("b") else set()),
        "rule": set(verdict.rules),
    }
    expected = any(which in stopped[what] for what, which in now)
    assert switches.thrown == bool(now)
    assert (found.decision == "deny") == expected
    if expected:
        assert found.rules == (KILLED, *verdict.rules)
        assert "ann" in found.reason
        assert "holdfast kill --lift" in found.way
    else:
        assert found is verdict


def test_odd_signals_change_nothing():
    switches = Switchboard()
    for what, which in (("agent", 7), (None, "x"), ("agent", "x" * 999), ([], "x")):
        switches.hear(*signal(KILL, what, which))
    event, _ = signal(KILL, "agent", "a")
    switches.hear(event, ["agent"])
    assert not switches.thrown
    assert not is_switch_name("[x]")


def test_no_rule_may_take_the_name():
    with pytest.raises(Misuse, match="reserved"):
        parse_policy("version: 1\nrules:\n- {id: killed, when: {}, then: allow}\n", "p.yaml")


@holdfast.tool(effect="read")
def pay(amount: int) -> int:
    return amount


@holdfast.tool(effect="read")
def ask_first(amount: int) -> int:
    return amount


@holdfast.agent
async def payer():
    first = pay(1)
    await holdfast.wait_for("go")
    return first + pay(2)


@holdfast.agent
async def asker():
    return ask_first(1)


def desk(directory: Path) -> Desk:
    return Desk(Screen(json=True), str(directory))


async def test_a_running_process_hears_of_it(tmp_path: Path):
    """Thrown through another store, as another process does."""
    settings = Settings(store=str(tmp_path / "s"), user="maria")
    async with Runtime(settings, policy=POLICY) as runtime:
        handle = await runtime.start(payer)
        other = SqliteStore(tmp_path / "s")
        await throw(desk(tmp_path / "s"), other, "tool", "pa*", "odd", False)
        while not runtime.host.settings.switches.thrown:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await runtime.signal(handle.id, "go")
        with pytest.raises(RunFailed, match="refused by killed: tool 'pa\\*' was stopped"):
            await handle.result()
        await throw(desk(tmp_path / "s"), other, "tool", "pa*", "", True)
        while runtime.host.settings.switches.thrown:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        handle = await runtime.start(payer)
        await runtime.signal(handle.id, "go")
        assert await handle.result() == 3
        await other.close()


async def test_a_new_process_knows_of_it_and_so_does_one_that_waits_for_an_answer(tmp_path: Path):
    settings = Settings(store=str(tmp_path / "s"))
    store = SqliteStore(tmp_path / "s")
    await throw(desk(tmp_path / "s"), store, "agent", "payer", "", False)
    async with Runtime(settings, policy=POLICY) as runtime:
        with pytest.raises(RunFailed, match="agent 'payer' was stopped by"):
            await (await runtime.start(payer)).result()
        handle = await runtime.start(asker)
        while await handle.status() != "waiting":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await throw(desk(tmp_path / "s"), store, "rule", "asks", "", False)
        while len(runtime.host.settings.switches.switches) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await answer(store, handle.id, "", "approve", by="ann", now_ms=5)
        with pytest.raises(RunFailed, match="rule 'asks' was stopped by"):
            await handle.result()
        events = await store.read(handle.id)
        refused = [body_of(one) for one in events if one.kind == "step.settled"]
        assert refused[-1].status == "refused"
        assert refused[-1].verdict.rules == (KILLED, "asks")
    assert len((await board(store)).switches) == 2
    with pytest.raises(Misuse, match="is not stopped"):
        await throw(desk(tmp_path / "s"), store, "tool", "x", "", True)
    with pytest.raises(Misuse, match="no glob"):
        await throw(desk(tmp_path / "s"), store, "tool", "[x]", "", False)
    await store.close()


def test_the_default_policy_is_untouched():
    switches = Switchboard()
    proposal = Proposal("a", "", "tool", "t", "read", {})
    verdict = judge(proposal, DEFAULT_POLICY)
    assert switches.overrule(proposal, verdict) is verdict
