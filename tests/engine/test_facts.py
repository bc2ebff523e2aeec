"""Facts: computed from the journal, stored with the verdict, the same whenever computed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.engine.dealings import asked_for, charges, dealing, past
from holdfast.engine.fork import fork
from holdfast.engine.history import History
from holdfast.engine.knowing import of_run
from holdfast.engine.seeing import groups
from holdfast.gate import parse_policy
from holdfast.gate.facts import GROUPS, Facts
from holdfast.gate.tools import ToolFacts
from holdfast.journal.events import Verdict, body_of
from holdfast.journal.meters import fold_meters
from holdfast.journal.store import RunQuery
from holdfast.testing.lives import ALLOW_ALL, Life, Site
from holdfast.values.canon import decode
from tests.engine import support

WATCHED = parse_policy(
    """
version: 1
name: watched
otherwise: allow
tools:
  - {tool: pay, target: to, amount: amount, harm: 5, harm_per: 0.5}
rules:
  - id: too-often
    if: "calls > 1000 || calls_of_tool > 1000 || calls_last_minute > 1000 || depth > 100"
    then: deny
  - id: too-much
    if: "spent > 1e9 || tokens > 1000000000"
    then: deny
  - id: small-only
    when: {tool: pay}
    if: "amount > 900.0"
    then: deny
    way: pay less
  - id: odd
    when: {tool: pay}
    if: "uses > 100000 || target_uses > 100000 || amount_z > 1e9 || harm > 1e9 || approved > 99"
    then: deny
""",
    "watched.yaml",
)


@holdfast.tool(effect="once")
async def pay(to: str, amount: float) -> str:
    return f"paid {to}"


@holdfast.tool(effect="read")
async def look(n: int) -> int:
    await asyncio.sleep(0.5)
    return n


@holdfast.agent
async def spends(orders: list[list[Any]]) -> int:
    done = 0
    for to, amount in orders:
        try:
            if amount:
                await pay(to, amount)
            else:
                await look(len(to))
            done += 1
        except holdfast.Refused:
            pass
    return done


def verdicts(events: list[Any]) -> list[tuple[Any, str, Verdict]]:
    """Every verdict that was recorded, with its event and step."""
    found: list[tuple[Any, str, Verdict]] = []
    for event in events:
        if event.kind in ("step.planned", "step.settled", "approval.asked"):
            body = body_of(event)
            if body.verdict is not None:
                found.append((event, body.key, body.verdict))
    return found


def again(events: list[Any], before: Any, key: str, all_events: list[Any], agent: str) -> Facts:
    """The facts of a step, from nothing but the journal before its verdict."""
    history = History()
    history.extend(one for one in events if one.seq < before.seq)
    whole = History()
    whole.extend(events)
    step = whole.steps[key]
    assert step.plan is not None
    assert step.args is not None
    name, skeleton, args = step.plan.name, step.args, decode(step.args)
    found = of_run(history, key, name)
    if name == "pay":
        facts = WATCHED.tool("pay")
        one = dealing(agent, name, args, skeleton, facts, pay.definition)
        sums = fold_meters(e for e in all_events if e.seq < before.seq)
        found.update(past(one, sums, facts), harm=5 + 0.5 * args["amount"])
    looked = ("past", "run") if name == "pay" else ("run",)
    return Facts(**found, groups=looked)


ORDERS = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "cy"]), st.sampled_from([0, 0, 1.0, 20.0, 21.5, 950])),
    max_size=9,
)


@pytest.mark.hypothesis
@given(orders=ORDERS, cut=st.integers(1, 9))
def test_facts_are_a_function_of_the_journal(orders: list[Any], cut: int):
    """E53: computed again from the journal up to a verdict, they are those that were stored with
    it; also in a fork."""
    site = Site(spends, policy=WATCHED)

    async def main(life: Life) -> None:
        await (await life.start(spends, [list(one) for one in orders], name="a")).result()
        if cut <= len(orders):
            await fork(site.inner, "a", str(cut), name="b", now_ms=site.clock.now_ms(), live=True)
            await (await life.host.resume("b")).result()

    support.drive(site, main, spends)
    everything = asyncio.run(site.inner.tail(0, 10_000))
    runs = ["a", "b"] if cut <= len(orders) else ["a"]
    for run in runs:
        events = asyncio.run(site.inner.read(run))
        found = verdicts(events)
        assert len(found) == len(orders)
        for event, key, verdict in found:
            if event.run == run:
                told = again(events, event, key, everything, "spends")
                assert verdict.facts == msgspec.json.decode(msgspec.json.encode(told))


def test_what_a_policy_does_not_look_at_is_not_stored():
    site = Site(policy=ALLOW_ALL)
    support.run(site, spends, [["ann", 5.0], ["bob", 0]])
    for _, _, verdict in verdicts(support.events(site)):
        assert verdict.facts == {}
    assert all(not one.charges and not one.label for one in support.bodies(site, "step.settled"))


def facts_of(site: Site, run: str = "a") -> list[dict[str, Any]]:
    return [verdict.facts for _, _, verdict in verdicts(support.events(site, run))]


def test_counts_rates_and_refusals():
    site = Site(policy=WATCHED)
    orders = [["ann", 0], ["ann", 0], ["ann", 950.0], ["ann", 960.0], ["bob", 10.0]]
    assert support.run(site, spends, orders) == 3
    found = [Facts(**one) for one in facts_of(site)]
    assert [one.calls for one in found] == [0, 1, 2, 3, 4]
    assert [one.calls_of_tool for one in found] == [0, 1, 0, 1, 2]
    assert [one.denials for one in found] == [0, 0, 0, 1, 2]
    assert [one.harm for one in found] == [0, 0, 480, 485, 10]
    assert [one.new_target for one in found] == [False, False, True, True, True]


def test_the_rate_looks_a_minute_back():
    site = Site(policy=WATCHED)

    @holdfast.agent
    async def slow() -> None:
        for n in range(4):
            await look(n)
            await holdfast.sleep(25)
        await look(9)

    support.run(site, slow)
    found = [Facts(**one) for one in facts_of(site) if one]
    assert [one.calls_last_minute for one in found if one.calls_of_tool] == [1, 2, 2, 2]


def test_sums_go_over_all_runs():
    site = Site(policy=WATCHED)

    async def main(life: Life) -> None:
        for name, amount in (("a", 10.0), ("b", 10.0), ("c", 10.0), ("d", 800.0)):
            orders = [["ann", amount], ["bob", amount]]
            await (await life.start(spends, orders, name=name)).result()

    support.drive(site, main, spends)
    (first, _), (_, last) = facts_of(site, "a"), facts_of(site, "d")
    assert Facts(**first).uses == 0
    assert Facts(**first).new_target
    told = Facts(**last)
    assert (told.uses, told.target_uses, told.new_target) == (7, 3, False)
    assert told.amount == 800
    # ten, again and again, and then eight hundred
    assert Facts(**facts_of(site, "d")[0]).amount_z > 3
    assert Facts(**facts_of(site, "c")[0]).amount_z == 0


def test_how_deep_a_run_is():
    site = Site(policy=WATCHED)

    @holdfast.agent
    async def inner() -> int:
        return await look(1)

    @holdfast.agent
    async def middle() -> int:
        return await (await holdfast.spawn(inner)).result()

    @holdfast.agent
    async def outer() -> int:
        return await (await holdfast.spawn(middle)).result()

    async def main(life: Life) -> Any:
        return await (await life.start(outer, name="a")).result()

    assert support.drive(site, main, outer, middle, inner) == 1
    runs = {row.agent: row.run for row in asyncio.run(site.inner.runs(RunQuery()))}
    assert [Facts(**one).depth for one in facts_of(site, runs["inner"])] == [2]
    assert {Facts(**one).depth for one in facts_of(site, runs["middle"])} == {1}
    assert {Facts(**one).depth for one in facts_of(site, "a")} == {0}


def test_a_blocking_tool_is_judged_by_the_same_facts():
    site = Site(policy=WATCHED)

    @holdfast.tool(effect="once", name="pay")
    def pay_now(to: str, amount: float) -> str:
        return to

    @holdfast.agent
    def blocks() -> int:
        pay_now("ann", 10.0)
        pay_now("ann", 10.0)
        return 2

    assert support.run(site, blocks) == 2
    found = [Facts(**one) for one in facts_of(site)]
    assert [one.uses for one in found] == [0, 1]
    assert [one.target_uses for one in found] == [0, 1]


def test_a_refusal_and_an_approval_are_remembered():
    site = Site(policy=parse_policy(
        """
version: 1
rules:
  - {id: ask, when: {tool: pay}, if: "approved_like < 2 && refused_like < 9", then: escalate}
tools:
  - {tool: pay, target: to, amount: amount}
otherwise: allow
""",
        "asks.yaml",
    ))  # fmt: skip
    said = iter(["approve", "deny"])  # then the same is refused without asking

    async def main(life: Life) -> Any:
        handle = await life.start(spends, [["ann", 1.0]] * 4, name="a")
        while True:
            await support.until(lambda: life.host.store.run("a"))
            row = await life.host.store.run("a")
            if row.ended:
                return await handle.result()
            await life.answer_all(lambda _, wait: (next(said), None))
            life.host.ring()
            await asyncio.sleep(0.1)

    assert support.drive(site, main, spends) == 1
    found = {key: Facts(**verdict.facts) for _, key, verdict in verdicts(support.events(site))}
    assert [(one.approved_like, one.refused_like) for one in found.values()] == [
        (0, 0), (1, 0), (1, 1), (1, 1),
    ]  # fmt: skip
    assert [one.approved for one in found.values()] == [0, 1, 1, 1]


def test_a_tool_that_changed_is_seen_until_it_is_approved_or_used():
    site = Site(policy=parse_policy(
        """
version: 1
rules:
  - {id: changed, when: {tool: pay}, if: schema_changed, then: escalate}
otherwise: allow
""",
        "pins.yaml",
    ))  # fmt: skip

    @holdfast.tool(effect="once", name="pay")
    async def other(to: str, amount: float, memo: str = "") -> str:
        """Pays, and tells somebody else of it."""
        return to

    @holdfast.agent
    async def first() -> str:
        return await pay("ann", 1.0)

    @holdfast.agent
    async def second() -> str:
        return await other("ann", 1.0)

    support.run(site, first)

    async def main(life: Life) -> Any:
        handle = await life.start(second, name="b")
        await support.waits(site, "b")
        await life.answer_all(lambda _, wait: ("approve", None))
        life.host.ring()
        await handle.result()
        return await (await life.start(second, name="c")).result()

    assert support.drive(site, main, second) == "ann"
    assert Facts(**facts_of(site, "b")[0]).schema_changed
    assert not Facts(**facts_of(site, "c")[0]).schema_changed


def test_a_changed_tool_that_goes_well_does_not_pin_itself():
    """E98: only the first definition ever, and those that a person approved, are pinned."""
    policy = parse_policy(
        """
version: 1
otherwise: allow
rules:
  - {id: changed, when: {tool: pay}, if: "schema_changed && args.amount > 10.0", then: deny}
""",
        "changed.yaml",
    )
    site = Site(policy=policy)

    @holdfast.tool(effect="once", name="pay")
    async def other(to: str, amount: float, copy: str = "") -> str:
        return to

    @holdfast.agent
    async def both() -> list[str]:
        found: list[str] = []
        for tool, amount in [(pay, 50.0), (other, 50.0), (other, 1.0), (other, 50.0), (pay, 50.0)]:
            try:
                found.append(await holdfast.call(tool, "ann", amount))
            except holdfast.Refused as error:
                found.append(error.rule)
        return found

    assert support.run(site, both) == ["paid ann", "changed", "ann", "changed", "paid ann"]


def test_what_the_policy_pins_is_the_only_one():
    one = dealing("a", "pay", {}, b"{}", ToolFacts(("pay",)), "d" * 64)
    pinned = ToolFacts(("pay",), pin="e" * 64)
    assert one.pin not in charges(one, well=True, approved=False, refused=False)
    assert one.pin in charges(one, well=True, approved=False, refused=False, pins=True)
    assert one.pin in charges(one, well=False, approved=True, refused=False)
    assert past(one, {}, pinned)["schema_changed"]
    policy = parse_policy(
        "version: 1\notherwise: allow\n"
        f"tools:\n- {{tool: pay, pin: {'e' * 64}}}\n"
        "rules:\n"
        "- {id: c, when: {tool: pay}, if: schema_changed && args.amount > 10.0, then: deny}\n",
        "pinned.yaml",
    )
    site = Site(policy=policy)
    assert support.run(site, spends, [["ann", 1.0], ["ann", 50.0]]) == 1


@holdfast.tool(effect="idempotent", retries=2, backoff=0.01)
async def flaky(to: str) -> str:
    TRIED.append(to)
    if len(TRIED) % 2:
        raise ConnectionResetError("again")
    return to


TRIED: list[str] = []


def test_a_call_that_was_tried_again_is_sampled_as_others_are():
    TRIED.clear()
    policy = parse_policy(
        "version: 1\notherwise: allow\nrisk: {sample: 1, review: 1000000}\n"
        "rules:\n- {id: none, when: {tool: none}, then: deny}\n",
        "sampled.yaml",
    )
    site = Site(policy=policy)

    @holdfast.agent
    async def main() -> str:
        return await flaky("ann")

    assert support.run(site, main) == "ann"
    events = support.events(site)
    plans = [one for one in events if one.kind == "step.planned"]
    (found,) = [body_of(one) for one in events if one.kind == "finding.added"]
    assert len(plans) == 2
    assert found.about == plans[0].pos


@pytest.mark.hypothesis
@given(amounts=st.lists(st.floats(0, 1e9), min_size=0, max_size=30), now=st.floats(-1e18, 1e18))
def test_meters_of_a_past_are_whole_and_small(amounts: list[float], now: float):
    """E52: what an outcome adds is what the next one is told, whatever the amounts."""
    sums: dict[str, int] = {}
    facts = ToolFacts(("pay",), target="to", amount="amount")
    for amount in amounts:
        one = dealing("a", "pay", {"to": "x", "amount": amount}, b"{}", facts, "d" * 64)
        for name, much in charges(one, well=True, approved=False, refused=False).items():
            assert type(much) is int
            sums[name] = sums.get(name, 0) + much
    one = dealing("a", "pay", {"to": "x", "amount": now}, b"[]", facts, "d" * 64)
    asked = [name for name in asked_for(one) if not name.endswith("*")]
    found = past(one, {name: sums.get(name, 0) for name in asked}, facts)
    assert found["uses"] == found["target_uses"] == len(amounts)
    assert found["new_target"] == (not amounts)
    assert not found["schema_changed"]
    assert not found["approved"]
    assert abs(found["amount_z"]) < 1000
    if len(amounts) < 5:
        assert found["amount_z"] == 0


STRICTER = parse_policy(
    """
version: 1
otherwise: allow
tools:
  - {tool: pay, effect: once, target: to}
rules:
  - {id: new, when: {tool: pay}, if: "uses > 0", then: deny}
""",
    "stricter.yaml",
)


def effects_of_pay(site: Site) -> list[str]:
    """Those of the calls of pay that were planned before they were made."""
    plans = [one.plan for one in support.bodies(site, "step.planned")]
    return [plan.effect for plan in plans if plan.name == "pay"]


@pytest.mark.parametrize("effect", ["read", "world", "idempotent", "once"])
def test_the_stricter_effect_counts_everywhere(effect: str):
    """E95: what the policy says of a tool is held, planned and counted as what a tool declares."""
    paid: list[str] = []

    @holdfast.tool(effect=effect, name="pay")
    async def pays(to: str) -> None:
        paid.append(to)

    @holdfast.agent
    async def main() -> str:
        async with holdfast.fork():
            try:
                await pays("ann")
            except holdfast.Refused:  # it changes the world too: that cannot be held
                assert effect == "world"
        await pays("bob")
        try:
            await pays("cy")
        except holdfast.Refused as error:
            return error.rule
        return "allowed"

    site = Site(policy=STRICTER)
    assert support.run(site, main) == "new"
    assert paid == ["bob"]
    assert effects_of_pay(site) == ["once"]


def test_a_step_keeps_the_effect_that_it_was_judged_with():
    """E95: whatever the policy says by the time it is read again."""
    policy = [ALLOW_ALL]
    paid: list[str] = []

    @holdfast.tool(effect="read", name="pay")
    async def pays(to: str) -> None:
        paid.append(to)

    @holdfast.agent
    async def main() -> None:
        async with holdfast.fork():
            await pays("ann")
            policy[0] = STRICTER
            await asyncio.sleep(100)
        await pays("bob")
        policy[0] = ALLOW_ALL
        await asyncio.sleep(100)

    def current() -> Any:
        return policy[0]

    site = Site(policy=cast("Any", current), linger=0)
    support.run(site, main)
    assert paid == ["ann", "bob"]
    assert effects_of_pay(site) == ["once"]


def test_a_policy_that_keeps_all_facts_looks_at_every_group():
    text = "version: 1\nname: all\nfacts: all\notherwise: allow\nrules:\n"
    rule = "- {id: r, when: {tool: none}, then: deny}\n"
    assert groups(parse_policy(text + rule, "all.yaml")) == frozenset(GROUPS)
    assert not groups(parse_policy(text.replace("facts: all\n", "") + rule, "all.yaml"))
