"""Budgets: reserved before, settled after, never overspent, asked about when they are exceeded."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import holdfast
from holdfast.engine.fork import fork
from holdfast.gate.agents import AgentCard
from holdfast.gate.budgets import Budget
from holdfast.gate.decisions import decisions
from holdfast.gate.tools import ToolFacts
from holdfast.journal.events import body_of
from holdfast.journal.meters import add_up, charged_by, fold_meters
from holdfast.journal.store import RunQuery, Store
from holdfast.stores.fsck import check
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.clock import VirtualClock
from holdfast.testing.faults import FAULTS, at
from holdfast.testing.lives import ALLOW_ALL, Life, Site
from holdfast.testing.oracles import all_events
from holdfast.values.canon import decode
from holdfast.values.errors import Misuse, Outside, Refused
from tests.engine import budget_program
from tests.engine.support import bodies, drive, events, until, waits

ROOT = Path(__file__).resolve().parents[2]
MONEY = 1_000_000
RULES = ("budget:daily",)


def site(*budgets: Budget, tools: Iterable[ToolFacts] = (), **more: Any) -> Site:
    agents = (AgentCard(("*",), team="red", organisation="all"),)
    policy = dataclasses.replace(ALLOW_ALL, budgets=budgets, tools=tuple(tools), agents=agents)
    return Site(policy=policy, **more)


def daily(limit: float, unit: str = "money", scope: str = "agent", **more: Any) -> Budget:
    return Budget("daily", unit, limit, scope, **more)


@holdfast.tool(effect="read", estimate=lambda cost, told: {"money": cost})
async def look(cost: float, told: float) -> float:
    holdfast.spent(money=told)
    return told


@holdfast.tool(effect="idempotent", estimate=lambda cost, told: {"money": cost})
async def send(cost: float, told: float) -> float:
    await asyncio.sleep(0)
    if told >= 0:
        holdfast.spent(money=told)
    return told


@holdfast.agent
async def looker(cost: float, told: float, times: int) -> int:
    for _ in range(times):
        await look(cost, told)
    return times


@holdfast.agent
async def sender(costs: list[tuple[float, float]]) -> int:
    done = await asyncio.gather(*(send(*each) for each in costs), return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException) and not isinstance(one, Refused):
            raise one
    return sum(not isinstance(one, BaseException) for one in done)


def meters(store: Store) -> dict[str, int]:
    return store.meters(["budget/*"])


def total(store: Store) -> int:
    return sum(meters(store).values())


async def at_rest(store: Store) -> None:
    """INVARIANT E72: meters are what the events say, and ended runs have nothing reserved."""
    events = await all_events(store)
    assert fold_meters(events) == store.meters(["*"])
    assert all(row.ended for row in await store.runs(RunQuery(limit=1000)))
    used = {name.removeprefix("used/"): n for name, n in store.meters(["used/*"]).items()}
    assert {name.removeprefix("budget/"): n for name, n in meters(store).items()} == used


async def finish(life: Life, program: Any, *args: Any, name: str = "a") -> Any:
    return await (await life.start(program, *args, name=name)).result()


def test_a_reading_step_is_planned_and_settled():
    """INVARIANT E70: what it can use is reserved in the append that plans it; E72: what it did not
    use is given back in the one that settles it."""
    here = site(daily(1))

    async def main(life: Life) -> None:
        assert await finish(life, looker, 0.4, 0.1, 2) == 2
        await at_rest(here.inner)

    drive(here, main, looker)
    assert list(meters(here.inner).values()) == [200_000]
    plan = bodies(here, "step.planned")[0]
    (meter,) = plan.charges
    assert meter == "budget/money/daily/agent/-/looker"
    assert plan.charges[meter] == 400_000
    outcome = bodies(here, "step.settled")[0]
    assert outcome.charges == {meter: -300_000, "used/money/daily/agent/-/looker": 100_000}
    assert (outcome.usage, outcome.unverified) == ({"money": 0.1}, False)


def test_a_step_that_no_budget_counts_is_one_append():
    here = site(daily(1, when={"tool": ("other",)}), daily(1, "runs"))
    drive(here, lambda life: finish(life, looker, 0.4, 0.1, 1), looker)
    assert bodies(here, "step.planned") == []
    assert bodies(here, "step.settled")[0].usage == {"money": 0.1}
    assert here.inner.meters(["*"]) == {}


@pytest.mark.parametrize("how", ["silent", "error", "unknown"])
def test_what_nobody_told_of_counts_as_reserved(how: str):
    """INVARIANT E71: no usage told, an error or a lost reply: the reservation counts."""

    @holdfast.tool(effect="once")
    async def pay() -> None:
        if how == "error":
            raise Outside("no")
        if how == "unknown":
            raise ConnectionResetError

    @holdfast.agent
    async def payer() -> str:
        try:
            await pay()
        except holdfast.HoldfastError as error:
            return type(error).__name__
        return "paid"

    here = site(daily(1), tools=[ToolFacts(("pay",), cost=0.25)])

    async def main(life: Life) -> None:
        handle = await life.start(payer, name="a")
        if how == "unknown":
            await waits(here, kind="person")
            await life.answer_all(lambda row, wait: ("deny", None))
        await handle.result()
        await at_rest(here.inner)

    drive(here, main, payer)
    assert total(here.inner) == 250_000
    assert bodies(here, "step.settled")[0].unverified


def test_usage_adds_up_over_threads_and_tasks_and_units():
    @holdfast.tool(effect="read")
    async def work() -> None:
        async def part() -> None:
            holdfast.spent(money=0.1, tokens=10)

        await asyncio.gather(part(), part())
        await asyncio.gather(*(asyncio.to_thread(holdfast.spent, tokens=1, pages=2)
                               for _ in range(20)))  # fmt: skip

    @holdfast.tool(effect="read")
    def block() -> None:
        holdfast.spent(tokens=5)

    @holdfast.agent
    async def worker() -> None:
        await work()
        block()

    here = site(daily(100, "tokens"), Budget("cash", "money", 1, "team"))
    drive(here, lambda life: finish(life, worker), worker)
    first, second = bodies(here, "step.settled")
    assert first.usage == {"money": 0.2, "tokens": 40, "pages": 40}
    assert second.usage == {"tokens": 5}
    assert meters(here.inner) == {
        "budget/tokens/daily/agent/-/worker": 45, "budget/money/cash/team/-/red": 200_000,
    }  # fmt: skip


def test_spent_is_refused_outside_a_tool_and_for_what_is_no_amount():
    with pytest.raises(Misuse):
        holdfast.spent(money=1)

    @holdfast.tool(effect="read")
    async def wrong(amount: float) -> None:
        holdfast.spent(money=amount)

    @holdfast.agent
    async def agent() -> list[str]:
        found = await asyncio.gather(
            *(wrong(one) for one in (-1.0, float("inf"), 1e300)), return_exceptions=True
        )
        return [type(one).__name__ for one in found]

    drive(site(daily(1)), lambda life: finish(life, agent), agent)


@pytest.mark.parametrize("said", ["approve", "deny"])
def test_a_breach_pauses_and_asks(said: str):
    """INVARIANT E73: an approval lets just that action pass; the next one is asked about again."""
    here = site(daily(1, approvers=("person",)))

    async def main(life: Life) -> Any:
        handle = await life.start(sender, [(0.6, 0.6), (0.6, 0.5)], name="a")
        (wait,) = await waits(here, kind="person")
        assert wait.about == "budget"
        assert wait.approvers == ("person",)
        assert "cost 0.60 money more?" in wait.text
        assert "daily of agent sender: 0.60 of 1.00 money used or reserved." in wait.text
        assert total(here.inner) <= MONEY
        await life.answer_all(lambda row, wait: (said, None))
        result = await handle.result()
        await at_rest(here.inner)
        return result

    assert drive(here, main, sender) == (2 if said == "approve" else 1)
    assert total(here.inner) == (1_100_000 if said == "approve" else 600_000)
    if said == "deny":
        refused = [one for one in bodies(here, "step.settled") if one.status == "refused"]
        assert len(refused) == 1
        assert "Refused by person" in refused[0].error.text
        # INVARIANT D192: as with every refusal, verdict and text name what decided
        assert refused[0].error.text.startswith("send: refused by budget:daily: ")
        assert (refused[0].verdict.decision, refused[0].verdict.rules) == ("deny", RULES)
        assert "of 1.00 money" in refused[0].verdict.reason
        (asked,) = bodies(here, "approval.asked")
        assert asked.verdict.rules == RULES
        assert refused[0].charges == {}


def test_where_nobody_may_let_it_pass_it_is_refused_by_the_budget():
    """INVARIANT D192: also if nobody is asked. What a budget held at a moment is no decision of
    rules: other rules cannot take it again."""
    here = site(daily(1, approvers=("sender",)))  # itself

    async def main(life: Life) -> int:
        return await finish(life, sender, [(2, 2)])

    assert drive(here, main, sender) == 0
    (refused,) = bodies(here, "step.settled")
    assert (refused.verdict.decision, refused.verdict.rules) == ("deny", RULES)
    assert refused.plan is not None
    assert decisions(events(here), here.inner.get) == []


def test_what_is_over_its_budget_by_truth_stops_the_next():
    """A tool that used more than it said is recorded truly; what comes after it is asked about."""
    here = site(daily(1))

    async def main(life: Life) -> None:
        handle = await life.start(looker, 0.5, 1.5, 2, name="a")
        await waits(here, kind="person")
        assert total(here.inner) == 1_500_000
        await life.answer_all(lambda row, wait: ("deny", None))
        with pytest.raises(holdfast.RunFailed, match="Refused"):
            await handle.result()
        await at_rest(here.inner)

    drive(here, main, looker)


def test_an_action_that_people_allowed_is_asked_about_once_for_each_reason():
    """INVARIANT E73, beside E10: allowed as an action, then as a cost; over a death of the process
    between, neither is asked again."""
    policy = holdfast_policy_that_asks()
    here = site(Budget("none", "calls", 0, "run"))
    here.policy = dataclasses.replace(policy, budgets=here.policy.budgets)

    async def main() -> Any:
        here.programs[sender.name] = sender
        life = await here.live()
        await life.start(sender, [(0.1, 0.1)], name="a")
        for about in ("action", "budget"):
            (wait,) = await waits(here, kind="person")
            assert wait.about == about
            life.kill()
            life = await here.live()
            await life.resume_all()
            await life.answer_all(lambda row, wait: ("approve", None))
        result = await life.host.result("a")
        await life.host.close()
        return result

    assert here.run(main) == 1
    assert [one.about for one in bodies(here, "approval.asked")] == ["action", "budget"]


def holdfast_policy_that_asks() -> Any:
    from holdfast.gate import parse_policy

    return parse_policy(
        "version: 1\nname: asks\nrules:\n- {id: ask, when: {tool: send}, then: escalate}\n", "here"
    )


def test_a_family_shares_the_scope_of_its_topmost_run_and_a_fork_has_its_own():
    @holdfast.agent
    async def leaf() -> None:
        await look(0.1, 0.1)

    @holdfast.agent
    async def middle() -> None:
        await (await holdfast.spawn(leaf)).result()

    @holdfast.agent
    async def top() -> None:
        await look(0.1, 0.1)
        await (await holdfast.spawn(middle)).result()

    here = site(Budget("run", "money", 5, "run"), Budget("own", "money", 5, "branch"),
                Budget("fan", "runs", 2, "run"), daily(5, scope="organisation"))  # fmt: skip

    async def main(life: Life) -> None:
        await finish(life, top, name="a")
        await fork(here.inner, "a", "1", name="f", now_ms=1, live=True)
        await (await life.host.resume("f")).result()
        await at_rest(here.inner)

    drive(here, main, leaf, middle, top, check=False)
    found = meters(here.inner)
    assert found["budget/money/run/run/-/a"] == 200_000
    assert found["budget/money/run/run/-/f"] == 200_000
    assert found["budget/runs/fan/run/-/a"] == found["budget/runs/fan/run/-/f"] == 2
    assert found["budget/money/own/branch/-/a"] == 100_000
    assert found["budget/money/daily/organisation/-/all"] == 400_000


def test_a_third_child_waits_for_a_person():
    @holdfast.agent
    async def child() -> int:
        return 1

    @holdfast.agent
    async def parent() -> int:
        return sum([await (await holdfast.spawn(child)).result() for _ in range(3)])

    here = site(Budget("fan", "runs", 2, "run", alert=(0.5, 1.0)))

    async def main(life: Life) -> Any:
        handle = await life.start(parent, name="a")
        (wait,) = await waits(here, kind="person")
        assert "fan of run a: 2 of 2 runs used" in wait.text
        await life.answer_all(lambda row, wait: ("approve", None))
        return await handle.result()

    assert drive(here, main, parent, child) == 3
    assert here.inner.meters(["used/*", "alert/*"]) == {
        "used/runs/fan/run/-/a": 3, "alert/runs/fan/run/-/a": 2,
    }  # fmt: skip


def test_each_share_is_told_of_once():
    """INVARIANT E75: exactly one finding for each share that is passed, however many runs settle at
    once, and in whatever steps."""
    here = site(daily(2, alert=(0.25, 0.5, 0.9)))

    async def main(life: Life) -> None:
        handles = [await life.start(looker, 0.1, 0.1, 4, name=f"r{n}") for n in range(5)]
        await asyncio.gather(*(handle.result() for handle in handles))
        await at_rest(here.inner)
        findings = [one for one in await all_events(here.inner) if one.kind == "finding.added"]
        told = [decode(one.value or b"") for one in findings]
        assert [one["at"] for one in told] == [500_000, 1_000_000, 1_800_000]
        assert [body_of(one).type for one in findings] == ["budget.alert"] * 3

    drive(here, main, looker)


def test_a_period_ends_and_a_clock_that_goes_back_frees_nothing():
    """INVARIANT E76: each period has its own meter, found again whenever the clock shows it."""
    here = site(daily(1, per="day"))
    clock = here.clock
    assert isinstance(clock, VirtualClock)
    day = 86_400

    async def main(life: Life) -> None:
        for run, shift in (("a", 0), ("b", day), ("c", -day)):
            clock.jump(shift)
            if run == "c":
                await life.start(looker, 0.8, 0.8, 1, name=run)
                await waits(here, "c", kind="person")
                await life.answer_all(lambda row, wait: ("approve", None))
                await life.host.result(run)
            else:
                await finish(life, looker, 0.8, 0.8, 1, name=run)

    drive(here, main, looker)
    assert sorted(meters(here.inner).values()) == [800_000, 1_600_000]


COSTS = st.tuples(st.integers(0, 9), st.integers(-1, 9)).map(
    lambda pair: (pair[0] / 10, min(pair) / 10)
)
RUNS = st.lists(st.lists(COSTS, max_size=5), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=RUNS)
def test_never_overspent_in_any_interleaving(kind: str, runs: Any, tmp_path_factory: Any):
    """INVARIANT E70: whatever runs ask for at once, in two processes, what is used and reserved is
    never more than the limit, unless a person said so (here nobody does)."""
    directory = tmp_path_factory.mktemp("store")
    memory = MemoryStore()
    opened = {"memory": lambda: memory, "sqlite": lambda: SqliteStore(directory)}[kind]
    here = site(daily(1), open_store=opened)
    here.programs[sender.name] = sender

    async def main() -> None:
        lives = [await here.live(), await here.live()]
        handles = [await lives[n % 2].start(sender, costs, name=f"r{n}")
                   for n, costs in enumerate(runs)]  # fmt: skip
        results = [asyncio.ensure_future(handle.result()) for handle in handles]

        async def over() -> bool:
            assert total(here.inner) <= MONEY
            await lives[0].answer_all(lambda row, wait: ("deny", None))
            return all(one.done() for one in results)

        await until(over)
        for one in results:
            one.result()
        assert total(here.inner) <= MONEY
        await at_rest(here.inner)
        for life in lives:
            await life.host.close()

    here.run(main)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_crash_at_every_write(fault: str, kind: str, tmp_path: Path):
    """E70, E72: after a crash at any write, and at the next one, nothing is overspent, and at the
    end nothing is reserved."""
    number = 0
    crashed = True
    while crashed:
        number += 1
        crashed = crash(at(number, fault), kind, tmp_path / f"{number}")
        if fault == "repeated":
            crashed = number < 8


def crash(plan: Any, kind: str, directory: Path) -> bool:
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(directory)
    here = site(daily(2, scope="team", alert=(0.5,)), store=store)
    here.programs.update({one.name: one for one in (sender, looker)})

    async def main() -> bool:
        life = await here.live(plan)
        crashed = False
        while True:
            died = asyncio.ensure_future(life.crashed.wait())
            work = asyncio.ensure_future(both(life))
            await asyncio.wait([died, work], return_when=asyncio.FIRST_COMPLETED)
            assert total(here.inner) <= 2 * MONEY
            if not life.crashed.is_set():
                work.result()
                died.cancel()
                break
            crashed = True
            work.cancel()  # it waits for a dead process
            await asyncio.wait([work])
            life = await here.live()
        await life.host.close()
        await at_rest(here.inner)
        told = [one for one in await all_events(here.inner) if one.kind == "finding.added"]
        (used,) = here.inner.meters(["used/*"]).values()
        assert len(told) == (used >= MONEY)
        await here.inner.close()
        return crashed

    async def both(life: Life) -> None:
        one = await life.start(sender, [(0.5, 0.3), (0.5, -1)], name="one")
        two = await life.start(looker, 0.2, 0.1, 3, name="two")

        async def over() -> bool:
            await life.answer_all(lambda row, wait: ("deny", None))
            rows = await here.inner.runs(RunQuery())
            return all(row.ended for row in rows)

        await until(over)
        await asyncio.gather(one.result(), two.result())

    return here.run(main)


def test_two_processes_of_which_one_is_killed_share_a_budget(tmp_path: Path):
    """INVARIANT E70, between real processes and over ``kill -9``: used and reserved together are
    within the limit after every commit, and meters are what the events say."""
    environment = {**os.environ, "HOLDFAST_TEST_PLACE": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def begin(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.engine.budget_program", name]
        return subprocess.Popen(command, env=environment, cwd=ROOT)

    def effects() -> int:
        file = tmp_path / "effects"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    first, second = begin("a"), begin("b")
    while effects() < 6 and first.poll() is None:
        time.sleep(0.001)
    first.kill()
    first.wait()
    again = begin("a")
    for child in (again, second):
        assert child.wait() == 0
    assert check(tmp_path / "store").sound

    async def look() -> None:
        store = SqliteStore(tmp_path / "store", create=False)
        try:
            events = await all_events(store)
            assert fold_meters(events) == store.meters(["*"])
            sums: dict[str, int] = {}
            for event in events:
                add_up(sums, charged_by(event.kind, event.body))
                taken = [n for name, n in sums.items() if name.startswith("budget/")]
                assert sum(taken) <= budget_program.LIMIT
            assert total(store) > 0
            asked = [one for row in await store.runs(RunQuery()) for one in row.waits]
            assert asked
            assert {one.about for one in asked} == {"budget"}
        finally:
            await store.close()

    asyncio.run(look())


def test_a_payment_that_may_have_happened_is_not_called_refused():
    """INVARIANT E74: doing it again would cost too much, and a person says no: its outcome stays
    unknown, and what the first attempt may have used counts."""

    @holdfast.tool(effect="once")
    async def pay() -> None:
        raise ConnectionResetError

    @holdfast.agent
    async def payer() -> str:
        try:
            await pay()
        except holdfast.OutcomeUnknown:
            return "unknown"
        return "paid"

    here = site(daily(1), tools=[ToolFacts(("pay",), cost=0.7)])

    async def main(life: Life) -> Any:
        handle = await life.start(payer, name="a")
        await waits(here, kind="person")
        await life.answer_all(lambda row, wait: ("approve", None))  # it did not happen: again
        await until(lambda: any(one.about == "budget" for one in bodies_now(here)))
        await life.answer_all(lambda row, wait: ("deny", None))
        result = await handle.result()
        await at_rest(here.inner)
        return result

    assert drive(here, main, payer) == "unknown"
    assert total(here.inner) == 700_000


def bodies_now(here: Site) -> list[Any]:
    """Questions that were asked so far, of a store in memory."""
    assert isinstance(here.inner, MemoryStore)
    return [body_of(one) for one in here.inner.events if one.kind == "approval.asked"]
