"""Economics: sums that agree with each other and with the meters, time that adds up, waste that is
counted once; on journals of real agents, and on ones that Hypothesis makes up."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast import Runtime
from holdfast.explain.economics import Asked, Economics, economics
from holdfast.explain.ledger import keep
from holdfast.explain.rates import rate
from holdfast.explain.spending import SCOPES, Line
from holdfast.gate import parse_policy
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    BranchMerged,
    Event,
    Failure,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
    encode_body,
    kind_of,
)
from holdfast.testing.models import scripted

MODEL = Plan("openai.gpt-4o", "model")


class Journal:
    """Events in the order of their commits, written by hand."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.next: dict[str, int] = {}

    def add(self, run: str, body: Any, at: int = 0, value: Any = None) -> int:
        """Append an event; its position."""
        pos = self.next.get(run, 0)
        if isinstance(body, RunStarted) and body.fork_of:
            pos = body.fork_pos + 1
        self.next[run] = pos + 1
        packed = None if value is None else msgspec.json.encode(value)
        seq = len(self.events) + 1
        self.events.append(Event(
            seq, run, pos, "", "", kind_of(body), at or seq, "", encode_body(body), None, packed,
        ))  # fmt: skip
        return pos

    def call(self, run: str, key: str, money: float = 0.0, **more: Any) -> int:
        """A settled call of a model that cost so much, for ten tokens."""
        usage = {"tokens": 10.0, "money": money} if money else {}
        plan = more.pop("plan", MODEL)
        value = more.pop("value", {"usage": {"input": 6, "output": 4}, "price": {"money": money}})
        at = more.pop("at", 0)
        return self.add(run, StepSettled(key, plan, usage=usage, **more), at, value)

    def read(self, **asked: Any) -> Economics:
        """The economics of it."""
        return economics(self.events, Asked(**asked))


def waste_of(found: Economics) -> dict[str, float]:
    return {one.cause: round(one.money, 9) for one in found.waste}


# ---- real agents -----------------------------------------------------------------------------

POLICY = """
version: 1
agents:
  - {agent: writer, owner: ann, team: red, organisation: acme}
  - {agent: helper, owner: ann, team: red, organisation: acme}
budgets:
  - {id: all, unit: money, limit: 5, scope: organisation}
  - {id: words, unit: tokens, limit: 500000, scope: team}
rules:
  - {id: rest, when: {tool: "*"}, then: allow}
"""

ask = scripted(lambda request: {"text": "yes", "usage": {"input": 1000, "output": 20,
               "cache_read": 400, "reasoning": 5}}, name="openai:gpt-4o")  # fmt: skip
small = scripted(
    lambda request: {"text": "ok", "usage": {"input": 70, "output": 3}}, name="openai:gpt-4o-mini"
)


@holdfast.tool(effect="once", estimate=lambda amount: {"money": 0.25})
async def buy(amount: int) -> str:
    if amount:
        holdfast.spent(money=amount / 7)
    return "bought"


@holdfast.agent
async def helper(n: int) -> str:
    await small(f"check {n}")
    return "ok"


@holdfast.agent
async def writer(n: int) -> str:
    child = await holdfast.spawn(helper, n)
    await child.result()
    await ask(f"write {n}")
    await buy(n)
    return "written"


async def test_x81_what_agents_spent_is_what_the_meters_say():
    """INVARIANT X81"""
    async with Runtime(store="memory", policy=parse_policy(POLICY, "p")) as runtime:
        runs = [await runtime.start(writer, n) for n in (0, 1, 2)]
        for run in runs:
            assert await run.result() == "written"
        events = await runtime.store.tail(0, 10_000)
        meters = runtime.store.meters(["used/*"])
        found = economics(events, Asked(card=runtime.policy.agent))
    money = next(n for name, n in meters.items() if name.startswith("used/money/all/"))
    tokens = next(n for name, n in meters.items() if name.startswith("used/tokens/words/"))
    assert round(found.total.money * 1_000_000) == money
    assert found.total.tokens == tokens == 3 * (1420 + 73)
    assert (found.total.cache_read, found.total.reasoning) == (1200, 15)
    assert found.total.unverified == 1  # nobody told what buying nothing cost
    assert found.total.guessed == 0.25
    by_model = {line.name: line.tokens for line in found.by("model")}
    assert by_model == {"openai.gpt-4o": 4260, "openai.gpt-4o-mini": 219}
    (organisation,) = found.by("organisation")
    assert organisation.name == "acme"
    assert organisation.money == found.total.money
    # the helper's small model prepares what the writer's says
    factors = {one.symbol: one.value for one in found.response.factors}
    assert factors["E_t"] == 1420
    assert factors["A"] == 1
    assert factors["P_t"] == 73
    models = sum(line.money for line in found.by("model"))
    assert found.response.cost is not None
    assert math.isclose(found.response.cost * 3, models, rel_tol=1e-9)
    assert found.straight.share == 1
    assert found.cache.share == 1200 / (1200 + 3000 + 210)


async def test_a_real_run_that_asked_somebody_did_not_go_straight_through():
    @holdfast.agent
    async def asking() -> str:
        return await holdfast.ask("Which?", choices=["a", "b"])

    async with Runtime(store="memory") as runtime:
        run = await runtime.start(asking)
        while await run.status() != "waiting":  # noqa: ASYNC110 - a row in a store
            await asyncio.sleep(0.01)
        await runtime.answer(run.id, "answer", "a")
        await run.result()
        events = await runtime.store.tail(0, 1000)
    found = economics(events)
    assert found.straight == rate(0, 1)
    assert found.handling.wall == found.handling.work + sum(one.ms for one in found.handling.waits)


# ---- sums ------------------------------------------------------------------------------------

calls = st.tuples(
    st.integers(0, 5),  # run
    st.sampled_from(["openai.gpt-4o", "anthropic.claude", "pay", "look"]),
    st.floats(0, 3, allow_nan=False),
    st.integers(0, 100_000),
    st.booleans(),
    st.sampled_from(["value", "error", "refused"]),
    st.integers(1, 3),
)


def made_up(taken: list[Any]) -> Journal:
    journal = Journal()
    for run in range(6):
        fork_of = f"r{run - 1}" if run % 3 == 2 else ""
        journal.add(f"r{run}", RunStarted(f"a{run % 2}", fork_of=fork_of))
    for number, (run, name, money, tokens, unverified, status, attempt) in enumerate(taken):
        kind = "model" if "." in name else "tool"
        charges = {f"used/money/b/agent/-/a{run % 2}": math.ceil(money * 1e6)} if unverified else {}
        journal.add(f"r{run}", StepSettled(
            f"{number}", Plan(name, kind), status=status, attempt=attempt,
            usage={} if unverified else {"money": money, "tokens": float(tokens)},
            charges={k: n for k, n in charges.items() if n}, unverified=unverified,
        ))  # fmt: skip
    for run in range(4):
        status = ("done", "failed", "cancelled", "done")[run]
        journal.add(f"r{run}", RunEnded(status))
    return journal


@given(st.lists(calls, max_size=30))
def test_x83_every_scope_adds_up_to_the_same(taken: list[Any]):
    """INVARIANT X83"""
    found = made_up(taken).read()

    def whole(line: Line) -> tuple[int, int, int]:
        return round(line.money * 1_000_000), line.tokens, line.calls

    for scope in SCOPES:
        if scope == "model":
            continue
        each = [whole(line) for line in found.by(scope)]
        assert tuple(map(sum, zip(*each, strict=True))) == whole(found.total) or not each
        assert bool(each) == bool(taken)


@given(st.lists(calls, max_size=30))
def test_x85_waste_is_counted_once(taken: list[Any]):
    """INVARIANT X85"""
    journal = made_up(taken)
    found = journal.read()
    assert sum(one.money for one in found.waste) <= found.total.money + 1e-9
    assert sum(one.tokens for one in found.waste) <= found.total.tokens
    assert 0 <= found.wasted <= 1 + 1e-9


@given(st.lists(calls, max_size=30))
def test_x86_the_formula_gives_back_what_models_cost(taken: list[Any]):
    """INVARIANT X86"""
    journal = made_up(taken)
    found = journal.read()
    # r0 and r3 ended done, r3 being nobody's discarded fork
    assert found.response.meaningful == 2
    ended = {"r0", "r1", "r2", "r3"}
    ledger = keep(journal.events)
    used = [one for run in ended for one in ledger.lives[run].steps if one.kind == "model"]
    money = sum(one.money for one in used if one.tokens) / 1e6
    assert found.response.cost is not None
    assert found.response.cost * 2 <= sum(one.money for one in used) / 1e6 + 1e-9
    if all(one.tokens for one in used):
        assert math.isclose(found.response.cost * 2, money, rel_tol=1e-9, abs_tol=1e-12)


def test_x80_what_a_fork_shares_is_counted_once():
    """INVARIANT X80"""
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    cut = journal.call("a", "1", 0.5)
    journal.add("f", RunStarted("bot", fork_of="a", fork_pos=cut))
    journal.call("f", "2", 0.25)
    journal.call("f", "1", 0.0, origin="fork")  # an outcome that it reuses was not paid again
    found = journal.read()
    assert found.total.money == 0.75
    assert found.total.tokens == 20
    assert {line.name: line.money for line in found.by("run")} == {"a": 0.5, "f": 0.25}
    assert {line.name: line.money for line in found.by("branch")} == {"": 0.5, "f": 0.25}
    again = [*journal.events, *journal.events[:2]]  # as a chain of "f" shows them
    assert economics(again).total.money == 0.75


def test_x84_energy_is_told_or_configured():
    """INVARIANT X84"""
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    journal.call("a", "1", 0.5)
    journal.call("a", "2", 0.5, plan=Plan("local.llama", "model"))
    found = journal.read()
    assert found.total.joules is None
    assert found.joules_per_token is None
    found = journal.read(joules={"local.*": 0.5})
    assert found.total.joules == 5.0
    assert found.joules_per_token == 0.5  # of the tokens whose energy is known
    journal.add("a", StepSettled("3", Plan("cook"), usage={"joules": 7.0, "tokens": 2.0}))
    assert journal.read().total.joules == 7.0
    assert journal.read().joules_per_token == 3.5


def test_who_is_looked_at():
    journal = Journal()
    for agent in ("red", "blue"):
        journal.add(agent, RunStarted(agent), 1000)
        journal.call(agent, "1", 0.5, at=1000)
        journal.call(agent, "2", 0.25, at=90_000_000)
    assert journal.read(agent="red").total.money == 0.75
    assert journal.read(since=2000).total.money == 0.5
    days = journal.read(scopes=("day",)).spend
    assert [(one.name, one.money) for one in days] == [("1970-01-01", 1.0), ("1970-01-02", 0.5)]


def test_hostile_answers_are_not_counted():
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    for key, value in enumerate((
        {"usage": {"input": -5, "output": 3}}, {"usage": "many"}, ["usage"],
        {"price": {"money": []}}, {"usage": {"input": 1e99}},
    )):  # fmt: skip
        journal.call("a", str(key), 0.1, value=value)
    found = journal.read()
    assert found.total.money == pytest.approx(0.5)
    assert (found.total.input, found.total.output) == (0, 0)


# ---- waste -----------------------------------------------------------------------------------


def test_waste_by_cause():
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    journal.call("a", "1", 1.0)
    cut = journal.call("a", "2", 2.0)  # refused, all of it
    journal.add("a", StepSettled("3", Plan("pay"), status="refused"))
    journal.call("a", "4", 4.0, status="error")
    journal.call("a", "5", 8.0, attempt=2, value={"usage": {"input": 6}, "price": {"money": 3.0}})
    journal.add("a", StepSettled("6", Plan("fork", "fork"), branch="6", inline=True))
    journal.call("a", "7", 16.0, branch="6")
    journal.add("a", StepSettled("8", Plan("fork", "fork"), branch="8", inline=True))
    journal.call("a", "9", 32.0, branch="8")
    journal.add("a", BranchMerged("10", "@8", "", ""))
    last = journal.next["a"] - 1
    journal.call("a", "11", 64.0)
    for fork, ending in (("kept", "done"), ("left", "done"), ("broken", "failed")):
        journal.add(fork, RunStarted("bot", fork_of="a", fork_pos=cut))
        journal.call(fork, "f", 0.5)
        journal.add(fork, RunEnded(ending))
    journal.add("a", BranchMerged("12", "kept", "", ""))
    journal.add("a", RunEnded("done"))
    told = waste_of(journal.read())
    assert told == {"refused": 2.0, "error": 4.0, "retry": 5.0, "branch": 16.0, "fork": 1.0}
    told = waste_of(journal.read(last_used={"a": last}))
    assert told["after"] == 64.0
    places = {one.cause: one.places for one in journal.read().waste}
    assert places["fork"] == ("broken", "left")
    assert places["branch"] == ("a@7",)


def test_a_failed_run_that_a_fork_went_on_from_is_waste_only_after_the_cut():
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    cut = journal.call("a", "1", 1.0)
    journal.call("a", "2", 2.0)
    journal.add("a", RunEnded("failed"))
    assert waste_of(journal.read()) == {"run": 3.0}
    journal.add("f", RunStarted("bot", fork_of="a", fork_pos=cut))
    journal.add("f", RunEnded("done"))
    assert waste_of(journal.read()) == {"run": 2.0}
    journal.add("f", FindingAdded(0, "score", by="ann"), value={"good": False})
    assert waste_of(journal.read()) == {"run": 3.0}


def test_a_persons_score_counts_before_a_checks():
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    journal.add("a", RunEnded("done"))
    assert journal.read().response.by_status == 1
    journal.add("a", FindingAdded(1, "score", by="check:tests"), value={"good": False})
    assert journal.read().response.meaningful == 0
    journal.add("a", FindingAdded(1, "score", by="ann"), value={"good": True})
    journal.add("a", FindingAdded(1, "score", by="check:tests"), value={"good": False})
    found = journal.read().response
    assert (found.by_score, found.by_status, found.meaningful) == (1, 0, 1)


def test_a_broken_prefix_has_a_price():
    journal = Journal()
    journal.add("a", RunStarted("bot"))
    journal.add("a", FindingAdded(0, "model.prefix", by="door:model"), value={"size": 3000})
    rates = {"input": 3.0, "cache_read": 0.5, "money": 1.0}
    journal.call(
        "a", "1", 1.0, value={"usage": {"input": 5000, "cache_read": 15_000}, "price": rates}
    )
    cache = journal.read().cache
    assert (cache.breaks, cache.lost, cache.unpriced, cache.share) == (1, 1000, 0, 0.75)
    assert cache.cost == pytest.approx(1000 * 2.5 / 1e6)


# ---- time ------------------------------------------------------------------------------------


def test_time_is_divided_by_cause():
    journal = Journal()
    pay, at = Plan("pay", "tool", "once"), 1_000_000
    journal.add("a", RunStarted("bot"), at)
    journal.call("a", "1", 0.1, took=30_000_000, at=at + 40_000)  # 10 s own work, 30 s of a model
    asked = ApprovalAsked("2", "action", "May it?", "d", plan=pay)
    journal.add("a", asked, at + 41_000)
    journal.add("a", ApprovalGiven("2", "d", "approve", "ann"), at + 101_000)  # 60 s of a person
    journal.add("a", StepPlanned("2", pay), at + 103_000)  # 2 s until it was taken up
    journal.add("a", StepSettled("2", took=5_000_000), at + 108_000)  # 5 s of a tool
    journal.add("a", StepPlanned("3", Plan("go", "signal")), at + 108_000)
    come = journal.add("a", SignalReceived("go"), at + 118_000)
    journal.add("a", StepSettled("3", cause=come), at + 119_000)
    journal.add("a", StepPlanned("4", Plan("sleep", "wait"), due=at + 126_000), at + 119_000)
    journal.add("a", StepSettled("4"), at + 129_000)
    world = Plan("world.run", "tool", "world")
    journal.add("a", StepSettled("5", world, took=4_000_000), at + 133_000)
    journal.add("a", RunEnded("done"), at + 133_000)
    time = journal.read(within=133_000).handling
    assert {one.cause: one.ms for one in time.waits} == {
        "model": 30_000, "person": 60_000, "tool": 5_000, "signal": 10_000, "timer": 7_000,
        "queue": 6_000,
    }  # fmt: skip
    assert (time.wall, time.work) == (133_000, 15_000)
    found = journal.read(within=133_000)
    assert found.sla == rate(1, 1)
    assert found.straight == rate(0, 1)
    assert journal.read(within=132_999).sla == rate(0, 1)


moves = st.tuples(
    st.sampled_from(["plan", "settle", "ask", "answer", "signal", "wait", "await", "retry", "due"]),
    st.integers(1, 4),  # step
    st.integers(-50, 400),  # ms since the event before: clocks may go back
    st.integers(0, 900_000),  # how long a performance took, us
    st.sampled_from(["model", "tool"]),
)


@given(st.lists(moves, max_size=40))
def test_x82_work_and_waits_are_the_wall_time(taken: list[Any]):
    """INVARIANT X82"""
    journal, at = Journal(), 10_000
    journal.add("a", RunStarted("bot"), at)
    signals = [0]
    for move, step, later, took, kind in taken:
        at += later
        key, plan = str(step), Plan("x", kind, "world" if took % 5 == 0 else "once")
        match move:
            case "plan":
                journal.add("a", StepPlanned(key, plan), at)
            case "retry":
                journal.add("a", StepPlanned(key, plan, 2, failed=Failure("E")), at)
            case "due":
                journal.add("a", StepPlanned(key, plan, 2, due=at + took // 1000), at)
            case "settle":
                journal.add("a", StepSettled(key, plan, took=took, cause=signals[-1]), at)
            case "ask":
                journal.add("a", ApprovalAsked(key, "action", "?", "d", plan=plan), at)
            case "answer":
                journal.add("a", ApprovalGiven(key, "d", "approve", "ann"), at)
            case "signal":
                signals.append(journal.add("a", SignalReceived("go"), at))
            case "wait":
                journal.add("a", StepPlanned(key, Plan("s", "wait"), due=at + took // 1000), at)
            case _:
                journal.add("a", StepPlanned(key, Plan("go", "signal")), at)
    journal.add("a", RunEnded("done"), at + 5)
    life = keep(journal.events).lives["a"]
    time = life.spans.divide("a", life.started, life.ended)
    assert time.work + sum(time.waits.values()) == time.wall == max(0, at + 5 - 10_000)
    assert time.work >= 0
    assert all(ms > 0 for ms in time.waits.values())


# ---- chains ----------------------------------------------------------------------------------


def test_a_chain_is_as_reliable_as_the_product_of_its_steps():
    journal = Journal()
    for run in range(10):
        name = f"r{run}"
        journal.add(name, RunStarted("bot"))
        journal.add(name, StepSettled("1", Plan("look")))
        journal.add(name, StepSettled("2", Plan("look")))
        journal.add(name, StepSettled("3", Plan("pay"), status="value" if run < 8 else "error"))
        journal.add(name, RunEnded("done" if run < 8 else "failed"))
    (chain,) = journal.read().chains
    assert [(link.name, link.uses) for link in chain.links] == [("look", 2.0), ("pay", 1.0)]
    assert chain.through == pytest.approx(0.8)
    assert chain.weakest == "pay"
    assert chain.observed == rate(8, 10)
    assert chain.low < 0.8 < chain.high


@given(st.integers(0, 400), st.integers(0, 400))
def test_an_interval_holds_its_share(one: int, other: int):
    good, of = min(one, other), max(one, other)
    found = rate(good, of)
    assert 0 <= found.low <= (found.share or 0) <= found.high <= 1 or not of


def test_an_empty_journal():
    found = economics([])
    assert found.total == Line("total", "")
    assert (found.response.cost, found.cache.share, found.straight.share) == (None, None, None)
    assert found.spend == found.waste == found.chains == ()
