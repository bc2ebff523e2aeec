"""Waiting: signals, questions, approvals, cancellation; and leaving memory meanwhile."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import holdfast
from holdfast.engine.answers import answer, cancel
from holdfast.gate import DEFAULT_POLICY, parse_policy
from holdfast.journal.events import ApprovalGiven, Draft
from holdfast.journal.store import Batch
from holdfast.testing.lives import Life, Site
from holdfast.values.errors import Misuse, NotFound, Refused, RunFailed
from tests.engine.support import again, bodies, drive, run, until, waits


@holdfast.agent
async def listens(name: str, times: int) -> list[Any]:
    return [await holdfast.wait_for(name) for _ in range(times)]


async def said(life: Life, decision: str, value: Any = None, key: str = "") -> None:
    now = life.site.clock.now_ms()
    await answer(life.store, "a", key, decision, by="ann", now_ms=now, value=value, note="a note")


# ---- signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("linger", [0.0, 1.0])
def test_signals_before_and_after_the_wait(before: bool, linger: float):
    @holdfast.agent
    async def main() -> list[str]:
        await holdfast.sleep(5)
        return [await holdfast.wait_for("x"), await holdfast.wait_for("x")]

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        await asyncio.sleep(1 if before else 20)
        await life.signal("a", "x", "one")
        await life.signal("a", "y", "another name")
        await life.signal("a", "x", "two")
        return await handle.result()

    assert drive(Site(linger=linger), work, main) == ["one", "two"]


def test_two_waiters_get_one_signal_each():
    @holdfast.agent
    async def main() -> list[str]:
        return list(await asyncio.gather(holdfast.wait_for("x"), holdfast.wait_for("x")))

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        for value in ("one", "two"):
            await asyncio.sleep(3)
            await life.signal("a", "x", value)
        return await handle.result()

    assert sorted(drive(Site(), work, main)) == ["one", "two"]


def test_a_signal_wakes_a_parked_run_at_once():
    """Waking is pushed, not polled: no time passes."""

    async def work(life: Life) -> float:
        handle = await life.start(listens, "x", 1, name="a")
        await asyncio.sleep(100.37)
        assert life.host.resident_count() == 0
        await life.signal("a", "x", 1)
        await handle.result()
        return life.site.clock.ticks_ns() / 1e9

    assert 100.37 <= drive(Site(), work, listens) < 100.38


def test_signals_need_a_run_that_goes_on():
    async def work(life: Life) -> None:
        with pytest.raises(NotFound):
            await life.signal("nobody", "x")
        handle = await life.start(listens, "x", 0, name="a")
        await handle.result()
        with pytest.raises(Misuse, match="is done"):
            await life.signal("a", "x")

    drive(Site(), work, listens)


def test_a_waiting_run_leaves_memory(undisturbed: None):
    """Suspension frees the memory: one row remains."""

    async def work(life: Life) -> Any:
        handle = await life.start(listens, "x", 1, name="a")
        inside = weakref.ref(life.host.residents["a"].run)
        await until(lambda: life.host.resident_count() == 0)
        await asyncio.sleep(0.01)
        gc.collect()
        assert inside() is None
        assert (await life.store.run("a")).status == "waiting"
        assert await handle.status() == "waiting"
        await life.signal("a", "x", 5)
        return await handle.result()

    assert drive(Site(linger=0.5), work, listens) == [5]


def test_an_answer_that_comes_while_a_run_leaves_memory_cuts_nothing_off():
    """E145."""

    paid: list[int] = []

    @holdfast.tool(effect="once")
    async def pay() -> str:
        await asyncio.sleep(1)
        paid.append(1)
        return "paid"

    @holdfast.agent
    async def payer() -> str:
        return await pay()

    async def work(life: Life) -> Any:
        handle = await life.start(payer, name="a")
        resident = life.host.residents["a"]
        release = life.store.release

        async def meanwhile(run: str, epoch: int, seen: int) -> bool:
            life.store.release = release
            await said(life, "approve")
            resident.hear(await life.store.read("a", seen + 1))
            await asyncio.sleep(0.5)  # in which the step could begin
            return await release(run, epoch, seen)

        life.store.release = meanwhile
        return await handle.result()

    site = Site(linger=0.5, policy=DEFAULT_POLICY)
    assert drive(site, work, payer) == "paid"
    assert paid == [1]
    assert [one.about for one in bodies(site, "approval.asked")] == ["action"]


def test_a_step_that_comes_to_wait_while_its_run_leaves_memory_holds_up_nobody():
    """E145."""
    tries: list[int] = []

    @holdfast.tool(effect="read", retries=3, backoff=5.0)
    async def flaky() -> str:
        tries.append(1)
        await asyncio.sleep(0.2)
        if len(tries) < 2:
            raise ConnectionError("not now")
        return "seen"

    @holdfast.tool(effect="once")
    def pay() -> str:
        return "paid"

    @holdfast.agent
    async def payer() -> list[str]:
        looking = asyncio.ensure_future(flaky())
        await asyncio.sleep(0)
        return [pay(), await looking]

    async def work(life: Life) -> Any:
        handle = await life.start(payer, name="a")
        await until(lambda: life.host.resident_count() == 0)
        await said(life, "approve")
        life.host.ring()
        return await handle.result()

    assert drive(Site(linger=0.5, policy=DEFAULT_POLICY), work, payer) == ["paid", "seen"]


def test_programs_that_swallow_everything_are_parked_all_the_same():
    """Control flow of ours can be caught by `except BaseException`; it must not hang anybody."""
    rounds: list[int] = []

    @holdfast.tool(effect="read")
    def look() -> int:
        return 1

    @holdfast.agent
    async def stubborn() -> str:
        while True:
            rounds.append(1)
            if len(rounds) > 500:
                return "hung"
            try:
                return await holdfast.wait_for("x")
            except BaseException:  # noqa: BLE001
                look()

    async def work(life: Life) -> Any:
        handle = await life.start(stubborn, name="a")
        await asyncio.sleep(10)
        await life.signal("a", "x", "woken")
        return await handle.result()

    assert drive(Site(linger=0), work, stubborn) == "woken"
    assert len(rounds) < 20


def test_cleaning_up_at_suspension_touches_nothing_outside():
    """`finally` runs when a run leaves memory; what it calls must not happen then."""
    site = Site(linger=0)

    @holdfast.tool(effect="idempotent")
    def unlock() -> None:
        site.outside.did("idempotent", "unlock", 1)

    @holdfast.agent
    async def main() -> str:
        try:
            return await holdfast.wait_for("x")
        finally:
            unlock()

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        await asyncio.sleep(10)
        assert site.outside.effects == []
        await life.signal("a", "x", "woken")
        return await handle.result()

    assert drive(site, work, main) == "woken"
    assert len(site.outside.effects) == 1
    assert site.outside.effects[0].run == "a"


# ---- people -----------------------------------------------------------------------------------


@holdfast.agent
async def asks() -> str:
    try:
        return await holdfast.ask("Which?", choices=["left", "right"])
    except Refused as error:
        return f"refused: {error}"


@pytest.mark.parametrize(
    ("decision", "value", "found"),
    [("answer", "left", "left"), ("deny", None, "refused: ann declined to answer: a note")],
)
def test_questions(decision: str, value: Any, found: str):
    async def work(life: Life) -> Any:
        handle = await life.start(asks, name="a")
        (wait,) = await waits(life.site, kind="person")
        assert (wait.about, wait.text) == ("question", "Which?")
        with pytest.raises(Misuse, match="answer or deny"):
            await said(life, "approve")
        await said(life, decision, value)
        return await handle.result()

    assert drive(Site(), work, asks) == found


def pays(site: Site) -> Any:
    @holdfast.tool(effect="once")
    async def pay(n: int) -> int:
        site.outside.did("once", "pay", n)
        return n

    @holdfast.agent
    async def main(n: int) -> str:
        try:
            return f"paid {await pay(n)}"
        except Refused as error:
            return f"refused: {error}"

    return main


WAY = "actions that only read, or change only the world, run without asking"


@pytest.mark.parametrize(
    ("decision", "found", "count"),
    [("approve", "paid 5", 1), ("deny", f"refused: pay: refused by ann: a note; {WAY}", 0)],
)
def test_approvals(decision: str, found: str, count: int):
    site = Site(policy=DEFAULT_POLICY)
    main = pays(site)

    async def work(life: Life) -> Any:
        handle = await life.start(main, 5, name="a")
        (wait,) = await waits(site, kind="person")
        assert wait.about == "action"
        assert "pay(n=5)" in wait.text
        assert site.outside.effects == []
        with pytest.raises(Misuse, match="approve or deny"):
            await said(life, "answer", 1)
        await said(life, decision)
        return await handle.result()

    assert drive(site, work, main) == found
    assert site.outside.count("once", "pay", 5) == count


def test_answers_count_once_and_only_for_what_was_asked():
    """E5: another digest, another step, a second answer: all without effect."""
    site = Site(policy=DEFAULT_POLICY)
    main = pays(site)

    async def work(life: Life) -> Any:
        handle = await life.start(main, 5, name="a")
        (wait,) = await waits(site, kind="person")

        async def give(decision: str, key: str, digest: str) -> None:
            body = ApprovalGiven(key, digest, decision, by="x")
            await life.store.append((Batch("a", (Draft(body, 0),)),), {})
            await asyncio.sleep(5)

        await give("approve", wait.key, "0" * 64)
        await give("approve", "7", wait.digest)
        assert site.outside.effects == []
        (still,) = await waits(site, kind="person")
        assert still == wait
        await give("deny", wait.key, wait.digest)
        found = await handle.result()
        await give("approve", wait.key, wait.digest)
        return found

    assert drive(site, work, main).startswith("refused")
    assert site.outside.effects == []


def test_nobody_is_asked_twice_about_the_same():
    site = Site(policy=DEFAULT_POLICY)
    main = pays(site)

    async def work(life: Life) -> None:
        handle = await life.start(main, 5, name="a")
        await waits(site, kind="person")
        await said(life, "approve")
        with pytest.raises(Misuse, match="asks nobody"):
            await said(life, "deny")
        await handle.result()

    drive(site, work, main)


def test_a_denied_action_is_recorded_and_not_performed():
    """E4."""
    policy = parse_policy(
        "version: 1\nname: strict\nrules:\n"
        "  - {id: never, when: {tool: pay}, then: deny, reason: no money, way: ask ann}\n",
        "no.yaml",
    )
    site = Site(policy=policy)
    main = pays(site)
    found = run(site, main, 5)
    assert "never" in found
    assert "no money; ask ann" in found
    assert site.outside.effects == []
    (settled,) = bodies(site, "step.settled")
    assert settled.status == "refused"
    assert settled.verdict.rules == ("never",)


def test_world_steps_that_need_approval_are_asked_about_together(undisturbed: None):
    policy = parse_policy(
        "version: 1\nname: strict\nrules:\n"
        "  - {id: world, when: {effect: world}, then: escalate, reason: careful}\n",
        "no.yaml",
    )

    @holdfast.tool(effect="world")
    async def change(n: int) -> int:
        return n

    @holdfast.agent
    async def main() -> list[int]:
        return list(await asyncio.gather(change(1), change(2)))

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        await until(lambda: life.host.resident_count() == 0)
        for wait in await waits(life.site, kind="person"):
            await said(life, "approve", key=wait.key)
        return await handle.result()

    assert drive(Site(policy=policy), work, main) == [1, 2]


# ---- open outcomes ----------------------------------------------------------------------------


@pytest.mark.parametrize("decision", ["approve", "answer", "deny"])
@pytest.mark.parametrize("look_up", ["none", "fails"])
def test_a_person_decides_about_an_open_outcome(decision: str, look_up: str):
    """E6: never performed again unasked."""
    site = Site()

    def broken(n: int) -> int:
        raise holdfast.Outside("the look-up is down")

    @holdfast.tool(effect="once", reconcile=broken if look_up == "fails" else None)
    async def pay(n: int) -> int:
        site.outside.did("once", "pay", n)
        if len(site.outside.effects) == 1:
            raise ConnectionError("the reply was lost")
        return n

    @holdfast.agent
    async def main() -> Any:
        try:
            return await pay(5)
        except holdfast.OutcomeUnknown:
            return "unknown"

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        (wait,) = await waits(site, kind="person")
        assert wait.about == "unknown"
        assert "Did pay(n=5) happen?" in wait.text
        assert ("look-up is down" in wait.text) == (look_up == "fails")
        await said(life, decision, 77)
        return await handle.result()

    found = drive(site, work, main, check=False)
    assert found == {"approve": 5, "answer": 77, "deny": "unknown"}[decision]
    assert len(site.outside.effects) == (2 if decision == "approve" else 1)
    assert len({one.key for one in site.outside.effects}) == 1
    assert again(site, main).steps == 1


@pytest.mark.parametrize("happened", [True, False])
def test_reconcile_finds_out(happened: bool):
    site = Site()

    @holdfast.tool(
        effect="once",
        timeout=1,
        reconcile=lambda n: n if site.outside.effects else holdfast.NOT_DONE,
    )
    async def pay(n: int) -> int:
        if happened or holdfast.attempt() > 1:
            site.outside.did("once", "pay", n)
        if holdfast.attempt() == 1:
            await asyncio.sleep(100)
        return n

    @holdfast.agent
    async def main() -> int:
        return await pay(5)

    assert run(site, main) == 5
    assert len(site.outside.effects) == 1
    assert bodies(site, "step.settled")[0].origin == ("reconcile" if happened else "")


# ---- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("linger", [0.0, 100.0])
def test_cancel_reaches_the_program_where_it_waits(linger: float):
    @holdfast.tool(effect="read")
    async def clean() -> str:
        return "cleaned"

    cleaned: list[str] = []

    @holdfast.agent
    async def main() -> None:
        try:
            await holdfast.wait_for("never")
        finally:
            cleaned.append(await clean())

    async def work(life: Life) -> None:
        handle = await life.start(main, name="a")
        await asyncio.sleep(5)
        await cancel(life.store, "a", by="ann", now_ms=life.site.clock.now_ms())
        with pytest.raises(RunFailed, match="cancelled"):
            await handle.result()
        assert await handle.status() == "cancelled"

    site = Site(linger=linger)
    drive(site, work, main)
    assert cleaned[0] == "cleaned"
    assert not again(site, main).in_flight


def test_a_program_may_go_on_after_it_was_cancelled_and_be_cancelled_again():
    @holdfast.agent
    async def main() -> list[str]:
        log: list[str] = []
        for _ in range(2):
            try:
                await holdfast.wait_for("never")
            except asyncio.CancelledError:
                log.append("no")
        log.append(await holdfast.wait_for("x"))
        return log

    async def work(life: Life) -> Any:
        handle = await life.start(main, name="a")
        for _ in range(2):
            await asyncio.sleep(5)
            await cancel(life.store, "a", by="ann", now_ms=life.site.clock.now_ms())
        await asyncio.sleep(5)
        await life.signal("a", "x", "yes")
        return await asyncio.wait_for(handle.result(), 100)

    assert drive(Site(), work, main) == ["no", "no", "yes"]


def test_cancelling_twice_at_once_is_cancelling_once():
    @holdfast.agent
    async def main() -> None:
        await asyncio.gather(holdfast.wait_for("a"), holdfast.wait_for("b"))

    async def work(life: Life) -> None:
        handle = await life.start(main, name="a")
        await asyncio.sleep(0.01)
        for _ in range(3):
            await cancel(life.store, "a", by="ann", now_ms=life.site.clock.now_ms())
        with pytest.raises(RunFailed, match="cancelled"):
            await handle.result()

    drive(Site(linger=10), work, main)


def test_a_task_left_behind_cannot_keep_a_finished_run():
    """The program has returned; what it left behind is stopped, and gets no new steps."""

    @holdfast.agent
    async def main() -> str:
        async def stubborn() -> None:
            try:
                await holdfast.wait_for("never")
            except asyncio.CancelledError:
                await holdfast.ask("may I stay?")

        straggler = asyncio.create_task(stubborn())
        await holdfast.sleep(1)
        return f"over, {straggler.done()}"

    async def work(life: Life) -> Any:
        return await asyncio.wait_for((await life.start(main, name="a")).result(), 100)

    assert drive(Site(), work, main) == "over, False"
