"""Approvals by several people, on time, of exactly what they saw; and what a refusal means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import holdfast
from holdfast.api import slack
from holdfast.engine.answers import answer
from holdfast.engine.declare import Tool
from holdfast.engine.inbox import open_questions, question_of
from holdfast.gate import Policy, parse_policy
from holdfast.gate.agents import AgentCard
from holdfast.gate.routes import Route
from holdfast.gate.tools import ToolFacts
from holdfast.journal.events import ApprovalGiven, Draft
from holdfast.journal.store import Batch
from holdfast.testing.lives import Life, Site
from holdfast.values.canon import pack, unpack
from holdfast.values.errors import Conflict, Expired, Misuse, OutcomeUnknown, Refused
from tests.engine.support import again, bodies, drive, until, waits


def policy(*approvers: str, routes: tuple[Route, ...] = (), **more: Any) -> Policy:
    """``pay`` asks these; as ``idempotent`` (see `pays`) it is denied, as ``read`` allowed."""
    whom = f"approvers: [{', '.join(approvers)}], " if approvers else ""
    text = f"""
version: 1
name: pays
otherwise: allow
rules:
  - {{id: ask, when: {{tool: pay, effect: once}}, then: escalate, {whom}reason: money,
     way: ask for less}}
  - {{id: never, when: {{tool: pay, effect: idempotent}}, then: deny, reason: far too much}}
"""
    return replace(parse_policy(text, "p.yaml"), routes={one.name: one for one in routes}, **more)


def pays(site: Site, calls: tuple[tuple[int, str], ...] = ((5, "bob"),)) -> Any:
    """An agent that pays. A single coin counts as ``read``, a thousand as ``idempotent``."""

    async def pay(n: int, to: str) -> str:
        site.outside.did("once", "pay", n)
        return f"paid {n} to {to}"

    def find(n: int, to: str) -> Any:
        return f"paid {n} to {to}" if site.outside.count("once", "pay", n) else holdfast.NOT_DONE

    def effect(bound: Mapping[str, Any]) -> str:
        return "read" if bound["n"] <= 1 else "idempotent" if bound["n"] >= 1000 else "once"

    tool: Tool[..., Any] = Tool(
        pay, name="pay", effect="once", timeout=None, retries=0, backoff=0, reconcile=find,
    )  # fmt: skip
    tool.effect_of = effect

    @holdfast.agent
    async def payer() -> list[str]:
        found: list[str] = []
        for n, to in calls:
            try:
                found.append(await tool(n, to))
            except Refused as error:
                found.append(f"refused: {error}")
            except Expired as error:
                found.append(f"expired: {error}")
        return found

    return payer


async def say(
    life: Life, by: str, decision: str = "approve", value: Any = None, **more: Any
) -> None:
    now = life.site.clock.now_ms()
    await answer(life.store, "a", "", decision, by=by, now_ms=now, value=value, **more)


def play(site: Site, work: Any, *calls: tuple[int, str]) -> list[str]:
    """What the agent got, while ``work(life)`` answers; then it replays the same."""
    main = pays(site, calls or ((5, "bob"),))

    async def all_of_it(life: Life) -> Any:
        handle = await life.start(main, name="a")
        await work(life)
        return await handle.result()

    found = drive(site, all_of_it, main)
    again(site, main)
    return found


PAIR = Route("finance", ("ann", "bea", "cem"), needs=2)


def test_credentials_are_not_in_questions():
    """E90: neither in that whether it may happen nor in that whether it did."""
    text = "version: 1\nname: p\notherwise: allow\nrules:\n  - {id: ask, when: {tool: login}, "
    site = Site(policy=parse_policy(text + "then: escalate}\n", "p.yaml"), linger=0)

    @holdfast.tool(effect="once")
    async def login(user: str, password: str, note: dict[str, str]) -> str:
        raise ConnectionResetError("cut")

    @holdfast.agent
    async def main() -> str:
        try:
            return await login("ann", "hunter2-S3cret", {"api_key": "hunter2-k"})
        except OutcomeUnknown:
            return "unknown"

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        await waits(site, kind="person")
        (asked,) = await open_questions(life.store)
        seen.append(json.dumps(slack.message(asked, await question_of(life.store, asked))))
        await say(life, "ann")
        await until(lambda: about("unknown"))
        await say(life, "ann", "deny")
        return await handle.result()

    async def about(what: str) -> list[Any]:
        return [one for one in await waits(site, kind="person") if one.about == what]

    seen: list[str] = []
    assert drive(site, work, main, check=False) == "unknown"
    asked = bodies(site, "approval.asked")
    assert [one.about for one in asked] == ["action", "unknown"]
    for text in (*seen, *(one.text for one in asked)):
        assert "user='ann'" in text.replace('"', "'")
        assert "password=[masked]" in text
        assert "hunter2" not in text


# ---- several people ----------------------------------------------------------------------------


def test_a_quorum_of_different_people():
    """E61: one is not enough, the same one again neither, and all who approved stay recorded."""
    site = Site(policy=policy("finance", routes=(PAIR,)), linger=0)

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        assert (wait.needs, set(wait.approvers)) == (2, {"ann", "bea", "cem"})
        await say(life, "ann")
        (wait,) = await waits(site, kind="person")
        assert wait.approved == ("ann",)
        with pytest.raises(Misuse, match="ann has approved this already; it still takes 1 of"):
            await say(life, "ann")
        with pytest.raises(Refused, match="dan may not answer this; ann, bea, cem may"):
            await say(life, "dan")
        assert site.outside.effects == []
        await say(life, "cem")

    assert play(site, work) == ["paid 5 to bob"]
    assert [one.by for one in bodies(site, "approval.given")] == ["ann", "cem"]


def test_one_deny_ends_it():
    site = Site(policy=policy("finance", routes=(PAIR,)), linger=0)

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann")
        await say(life, "bea", "deny", note="no order")

    (found,) = play(site, work)
    assert found == "refused: pay: refused by bea: no order; ask for less"
    assert site.outside.effects == []


def test_every_route_must_be_satisfied():
    """G7: naming one more route never adds who may approve alone."""
    other = Route("security", ("sue",))
    site = Site(policy=policy("finance", "security", routes=(PAIR, other)))

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        for name in ("ann", "sue"):
            await say(life, name)
        (wait,) = await waits(site, kind="person")
        assert wait.approved == ("ann", "sue")
        assert site.outside.effects == []
        await say(life, "bea")

    assert play(site, work) == ["paid 5 to bob"]


def test_a_delegate_takes_the_seat_of_one():
    route = Route("finance", ("ann", "bea"), needs=2, delegates={"ann": ("dan",)})
    site = Site(policy=policy("finance", routes=(route,)))

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "dan")
        await say(life, "ann")  # both hold one seat
        await asyncio.sleep(5)
        assert site.outside.effects == []
        await say(life, "bea")

    assert play(site, work) == ["paid 5 to bob"]


@pytest.mark.parametrize("name", ["payer", "agent:payer"])
def test_an_agent_never_approves_itself(name: str):
    """E60, E63: whoever has its name is refused, and an answer that is in the journal all the same
    counts for nothing."""
    site = Site(policy=policy(name, "ann"))

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        with pytest.raises(Refused, match="nobody answers what they ask themselves"):
            await say(life, name)
        body = ApprovalGiven(wait.key, wait.digest, "approve", by=name)
        await life.store.append((Batch("a", (Draft(body, wait.since),)),), {})
        await asyncio.sleep(5)
        assert await waits(site, kind="person") == [wait]
        await say(life, "ann")

    assert play(site, work) == ["paid 5 to bob"]
    assert site.outside.count("once", "pay", 5) == 1


def test_a_route_that_can_never_be_satisfied_refuses_at_once():
    """E64: the owner is one of the two that it needs, and may not."""
    route = Route("finance", ("ann", "bea"), needs=2, owner_may=False)
    cards = (AgentCard(("pay*",), owner="ann"),)
    site = Site(policy=policy("finance", routes=(route,), agents=cards))

    async def work(life: Life) -> None:
        pass

    (found,) = play(site, work)
    assert "route 'finance' needs 2, and of its people only bea may approve this" in found
    (settled,) = bodies(site, "step.settled")
    assert (settled.status, settled.verdict.decision) == ("refused", "deny")
    assert site.outside.effects == []


def test_whoever_started_it_may_not_where_a_route_says_so():
    """E64, also in runs that it spawned and in later segments."""
    route = Route("finance", ("ann", "bea"), starter_may=False)
    site = Site(policy=policy("finance", routes=(route,)))
    inner = pays(site)

    @holdfast.agent
    async def outer(again: bool) -> list[str]:
        if again:
            holdfast.continue_as(False)
        child = await holdfast.spawn(inner)
        return await child.result()

    async def work(life: Life) -> Any:
        handle = await life.host.start(outer, (True,), name="o", by="ann")

        async def asking() -> Any:
            rows = [await site.inner.run("o.s2-1")] if await _exists(site, "o.s2-1") else []
            return [wait for row in rows for wait in row.waits if wait.kind == "person"]

        (wait,) = await until(asking)
        assert wait.approvers == ("bea",)
        for by, found in (("ann", Refused), ("bea", None)):
            said = answer(life.store, "o.s2-1", "", "approve", by=by,
                          now_ms=site.clock.now_ms())  # fmt: skip
            if found is None:
                await said
            else:
                with pytest.raises(found):
                    await said
        return await handle.result()

    assert drive(site, work, outer, inner) == ["paid 5 to bob"]


async def _exists(site: Site, run: str) -> bool:
    try:
        return bool(await site.inner.run(run))
    except Misuse:
        return False


def test_two_answers_at_once_are_never_both_taken():
    """Whoever comes second is told that it was decided, and nothing of theirs is recorded."""
    site = Site(policy=policy("ann", "bea"))

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        ends = await asyncio.gather(
            say(life, "ann"), say(life, "bea", "deny"), return_exceptions=True
        )
        assert [type(one) for one in ends].count(Misuse) == 1

    play(site, work)
    assert len(bodies(site, "approval.given")) == 1


# ---- in time -----------------------------------------------------------------------------------

SOON = Route("soon", ("ann", "bea"), needs=2, expires=60)


@pytest.mark.parametrize("linger", [0.0, 1000.0])
@pytest.mark.parametrize("answered", [False, True])
def test_nobody_answers_in_time(linger: float, answered: bool):
    """E66: told as expired, never as refused; and a late answer is none (E68)."""
    site = Site(policy=policy("soon", routes=(SOON,)), linger=linger)

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        if answered:
            await say(life, "ann")
        with pytest.raises(Expired, match="expired 0 s ago"):
            await answer(life.store, "a", "", "approve", by="bea", now_ms=wait.due)
        await asyncio.sleep(61)
        with pytest.raises(Misuse, match="asks nobody"):
            await say(life, "bea")

    (found,) = play(site, work)
    assert found.startswith("expired: pay: expired: ")
    assert ("ann approved, 1 of ann, bea (soon) did not" in found) == answered
    assert site.outside.effects == []
    assert len(bodies(site, "approval.given")) == answered
    assert bodies(site, "step.settled")[-1].status == "expired"


def test_a_clock_that_goes_back_gives_nobody_more_time():
    """E68: the newest thing that is known of the run is not in the future."""
    site = Site(policy=policy("soon", routes=(SOON,)))

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        body = ApprovalGiven("7", wait.digest, "approve", by="x")  # something happened later
        await life.store.append((Batch("a", (Draft(body, wait.due + 5),)),), {})
        with pytest.raises(Expired):
            await answer(life.store, "a", "", "approve", by="ann", now_ms=wait.since)
        await asyncio.sleep(100)

    (found,) = play(site, work)
    assert found.startswith("expired: ")


def test_an_answer_that_is_too_late_in_the_journal_counts_for_nothing():
    """E62: also if it was appended by other means."""
    site = Site(policy=policy("soon", routes=(SOON,)))

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        for by, at in (("ann", wait.due - 1), ("bea", wait.due)):
            body = ApprovalGiven(wait.key, wait.digest, "approve", by=by)
            await life.store.append((Batch("a", (Draft(body, at),)),), {})
        await asyncio.sleep(100)

    (found,) = play(site, work)
    assert found.startswith("expired: ")
    assert site.outside.effects == []


# ---- changed -----------------------------------------------------------------------------------


def test_an_edit_by_whoever_may_approve_is_enough():
    """E65: the tool gets the edited arguments, the program's own stay what replay compares."""
    site = Site(policy=policy("ann"), linger=0)

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann", "edit", {"n": 3, "to": "eve"})

    assert play(site, work) == ["paid 3 to eve"]
    assert site.outside.count("once", "pay", 3) == 1
    assert site.outside.count("once", "pay", 5) == 0
    (planned,) = bodies(site, "step.planned")
    assert planned.verdict.rules == ("ask",)


def test_an_edit_that_needs_nobody_is_performed():
    site = Site(policy=policy("ann"), linger=0)

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann", "edit", {"n": 1, "to": "bob"})

    assert play(site, work) == ["paid 1 to bob"]


def test_an_edit_is_judged():
    site = Site(policy=policy("ann"))

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann", "edit", {"n": 5000, "to": "bob"})

    (found,) = play(site, work)
    assert "refused by never: far too much" in found
    assert site.outside.effects == []


def test_an_edit_needs_its_own_approvals():
    """E65: the approval of what it was is void, the editor's counts, a second must come."""
    site = Site(policy=policy("finance", routes=(PAIR,)), linger=0)

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        await say(life, "ann")
        await say(life, "bea", "edit", {"n": 4, "to": "bob"})

        async def asked_again() -> Any:
            return [one for one in await waits(site) if one.digest != wait.digest]

        (new,) = await until(asked_again)
        assert new.approved == ("bea",)
        assert "pay(n=4" in new.text
        assert "bea changed it." in new.text
        assert site.outside.effects == []
        with pytest.raises(Misuse, match="asks about action"):
            await say(life, "ann", digest=wait.digest[:8])
        await say(life, "ann", digest=new.digest[:8].upper())

    assert play(site, work) == ["paid 4 to bob"]
    first, second = bodies(site, "approval.asked")
    assert (second.edited, second.approved, first.edited) == ("bea", ("bea",), "")


@pytest.mark.parametrize("value", [{"n": "many", "to": "bob"}, {"n": 3}, {"other": 1}])
def test_an_edit_that_does_not_fit_is_asked_again(value: Any):
    site = Site(policy=policy("ann"), linger=0)

    async def work(life: Life) -> None:
        (first,) = await waits(site, kind="person")
        await say(life, "ann", "edit", value)
        (asked,) = await until(lambda: _asked_after(site, first.since, first.pos))
        assert "The arguments that ann gave do not fit: tool pay" in asked.text
        await say(life, "ann")

    assert play(site, work) == ["paid 5 to bob"]


async def _asked_after(site: Site, since: int, pos: int) -> Any:
    row = await site.inner.run("a")
    return [one for one in row.waits if one.kind == "person" and one.pos > pos and not one.ready]


def test_only_names_with_values_are_arguments():
    site = Site(policy=policy("ann"))

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        with pytest.raises(Misuse, match="names with values"):
            await say(life, "ann", "edit", [1, 2])
        with pytest.raises(Misuse, match="is no answer"):
            await say(life, "ann", "perhaps")
        await say(life, "ann")

    assert play(site, work) == ["paid 5 to bob"]


def test_large_edits_are_content():
    site = Site(policy=policy("ann"), linger=0)
    long = "x" * 200_000

    async def work(life: Life) -> None:
        await waits(site, kind="person")
        await say(life, "ann", "edit", {"n": 2, "to": long})

    assert play(site, work) == [f"paid 2 to {long}"]


# ---- refused -----------------------------------------------------------------------------------


def test_what_a_person_refused_stays_refused_in_that_run():
    """E67: the same tool with the same target, however it is spelled and whatever else differs,
    even where the policy would allow it."""
    facts = (ToolFacts(("pay",), target="to"),)
    site = Site(policy=policy("ann", tools=facts), linger=0)

    async def work(life: Life) -> None:
        (first,) = await waits(site, kind="person")
        await say(life, "ann", "deny", note="no order")
        (second,) = await until(lambda: _asked_after(site, first.since, first.pos))
        assert "to='carl'" in second.text
        await say(life, "ann")

    calls = (5, "bob"), (7, " BOB"), (1, "bob"), (5, "carl")
    first, second, third, fourth = play(site, work, *calls)
    assert first == "refused: pay: refused by ann: no order; ask for less"
    cites = "refused by refused-before: ann refused pay with the same to at step 1: no order"
    assert cites in second
    assert cites in third
    assert fourth == "paid 5 to carl"
    assert len(bodies(site, "approval.asked")) == 2


def test_without_a_known_target_the_same_arguments_are_the_class():
    site = Site(policy=policy("ann"), linger=0)

    async def work(life: Life) -> None:
        (first,) = await waits(site, kind="person")
        await say(life, "ann", "deny")
        await until(lambda: _asked_after(site, first.since, first.pos))
        await say(life, "ann")

    first, second, third = play(site, work, (5, "bob"), (5, "bob"), (6, "bob"))
    assert first.startswith("refused: pay: refused by ann")
    assert "with the same arguments at step 1" in second
    assert third == "paid 6 to bob"


def test_answers_are_tried_again_when_the_run_moves_on(monkeypatch: pytest.MonkeyPatch):
    """A run that goes on beside the question lets an answer through all the same."""
    site = Site(policy=policy("ann"))

    @holdfast.tool(effect="read")
    async def look(n: int) -> int:
        return n

    @holdfast.tool(effect="once")
    async def pay(n: int, to: str) -> str:
        return f"paid {n} to {to}"

    @holdfast.agent
    async def payer() -> Any:
        async def busy() -> int:
            return sum([await look(i) for i in range(300)])

        return await asyncio.gather(pay(5, "bob"), busy())

    async def work(life: Life) -> Any:
        handle = await life.start(payer, name="a")
        await waits(site, kind="person")
        await say(life, "ann")
        return await handle.result()

    assert drive(site, work, payer) == ["paid 5 to bob", sum(range(300))]


async def test_a_run_that_never_stands_still_is_a_conflict():
    class Restless:
        async def head(self, run: str) -> Any:
            return await inner.head(run)

        async def run(self, run: str) -> Any:
            return await inner.run(run)

        async def read(self, run: str, *which: Any) -> Any:
            return await inner.read(run, *which)

        async def append(self, batches: Any, blobs: Any) -> Any:
            raise Conflict("moved")

    site = Site(policy=policy("ann"))
    inner = site.inner
    main = pays(site)

    def prepare() -> None:
        async def work(life: Life) -> None:
            await life.start(main, name="a")
            await waits(site, kind="person")

        drive(site, work, main, check=False)

    await asyncio.to_thread(prepare)
    with pytest.raises(Conflict, match="moves on too fast"):
        await answer(Restless(), "a", "", "approve", by="ann", now_ms=1)  # type: ignore[arg-type]


def test_the_value_of_an_edit_is_kept_whole():
    blobs: dict[str, bytes] = {}
    value = {"n": 1, "to": "é" * 100_000}
    assert unpack(pack(value, blobs), blobs.__getitem__) == value


def test_an_edit_is_checked_at_once_where_the_tool_is_known():
    site = Site(policy=policy("ann"), linger=1000)

    async def work(life: Life) -> None:
        (wait,) = await waits(site, kind="person")
        with pytest.raises(Misuse, match="tool pay, argument n"):
            await say(
                life, "ann", "edit", {"n": "many", "to": "bob"},
                fits=lambda found, plain: life.host.check_edit("a", found.key, plain),
            )  # fmt: skip
        assert await waits(site, kind="person") == [wait]
        await say(life, "ann")

    assert play(site, work) == ["paid 5 to bob"]


def test_what_an_editor_writes_is_a_persons_word():
    """The facts of what they made of it, and what later calls may build on: the values that they
    put in, never those that they put out."""
    site = Site(linger=0)
    site.policy = parse_policy(
        """
version: 1
rules:
  - {id: whose, when: {tool: pay}, if: 'worst != "person"', then: escalate, approvers: [ann]}
tools:
  - {tool: pay, deciding: [to]}
otherwise: allow
""",
        "p.yaml",
    )

    async def work(life: Life) -> None:
        (first,) = await waits(site, kind="person")
        await say(life, "ann", "edit", {"n": 5, "to": "DE02120300000000202051"})
        await until(lambda: _asked_after(site, first.since, first.pos))
        await say(life, "ann", "deny")

    bad, good = "GB33BUKB20201555555555", "DE02120300000000202051"
    found = play(site, work, (5, bad), (6, good), (7, bad))
    assert found[:2] == [f"paid 5 to {good}", f"paid 6 to {good}"]
    assert found[2].startswith("refused: pay: refused by ann")
    planned = bodies(site, "step.planned")
    assert [one.verdict.facts["worst"] for one in planned] == ["person", "person"]
    assert [one.verdict.decision for one in planned] == ["allow", "allow"]
    asked = bodies(site, "approval.asked")
    # what pay answered is nobody's word, and what is nowhere after that is untrusted
    assert [one.verdict.facts["worst"] for one in asked] == ["nowhere", "untrusted"]


def test_a_refusal_stands_though_the_policy_changes_before_it_is_taken_up():
    """E67: no reload turns what a person refused into what happens."""
    site = Site(policy=policy("ann"), linger=0)
    main = pays(site)

    async def first(life: Life) -> None:
        await life.start(main, name="a")
        await until(lambda: life.host.resident_count() == 0)
        await waits(site, kind="person")

    drive(site, first, main, check=False)

    async def second(life: Life) -> Any:
        await say(life, "ann", "deny")
        return await (await life.host.resume("a")).result()

    site.policy = parse_policy("version: 1\notherwise: allow\nrules: []\n", "all.yaml")
    (found,) = drive(site, second, main)
    assert found.startswith("refused: pay: refused by ann")
    assert site.outside.effects == []
