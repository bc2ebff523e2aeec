"""Guest runs: programs that are elsewhere. See docs/decisions/0012-doors.md."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.engine.described import Described, journal_name
from holdfast.engine.guest import met
from holdfast.engine.receiving import receive
from holdfast.gate import parse_policy
from holdfast.journal.events import body_of
from holdfast.runtime.programs import Programs
from holdfast.testing.faults import FAULTS, at
from holdfast.testing.lives import Life, Site
from holdfast.values.canon import unpack
from holdfast.values.errors import (
    Conflict,
    Diverged,
    LeaseLost,
    Misuse,
    Refused,
    Suspended,
    ToolError,
)
from tests.engine.support import bodies, drive, events, until, waits

ASK_ONCE = parse_policy(
    """
version: 1
rules:
  - {id: rest, when: {effect: [read, world, idempotent]}, then: allow}
  - {id: ask, when: {effect: once}, then: escalate}
  - {id: never, when: {tool: forbidden}, then: deny}
""",
    "ASK_ONCE",
)


def spy(site: Site, name: str, effect: str, result: Any = None) -> Described:
    """A described tool that leaves a trace outside."""

    async def perform(args: dict[str, Any]) -> Any:
        site.outside.did(effect, name, args.get("n", 0))
        await asyncio.sleep(0.1)
        return result if result is not None else {"made": args}

    return Described(name, perform, effect=effect, schema={"type": "object"})


def times(site: Site, name: str) -> int:
    return sum(one.name == name for one in site.outside.effects)


async def guest(life: Life, **more: Any) -> Any:
    asked: dict[str, Any] = {"door": "mcp", "name": "a", **more}
    return await receive(life.host, "client", **asked)


def test_a_guests_calls_are_steps_of_one_run():
    site = Site()
    look, send = spy(site, "look", "read"), spy(site, "files.send", "once")

    async def main(life: Life) -> Any:
        async with await guest(life) as one:
            first = await one.step(look, {"n": 1})
            second = await one.step(send, {"n": 2, "to": "ada"})
            one.result = [first.value, second.value]
        assert (first.step, first.replayed, second.step) == ("a@1", False, "a@2")
        return await life.host.result("a")

    assert drive(site, main) == [{"made": {"n": 1}}, {"made": {"n": 2, "to": "ada"}}]
    kinds = [type(one).__name__ for one in bodies(site, "run.started")]
    assert kinds == ["RunStarted"]
    assert [one.plan.name for one in bodies(site, "step.planned")] == ["files.send"]
    assert bodies(site, "run.ended")[0].status == "done"
    assert bodies(site, "run.started")[0].ref == "door:mcp"


def test_what_clients_call_themselves_is_recorded_once_cleaned_and_bounded():
    """INVARIANT D193: whatever they say, and though the run is left and gone on with."""
    site = Site()
    look = spy(site, "look", "read")
    says: list[Any] = [
        {"name": "code", "version": "1.2", "title": "not this"}, {"name": "code", "version": "1.2"},
        {"name": "a\nb\x1b[2Jc " + "x" * 9000, "version": 7}, {"name": "token=hush"},
        {"version": ""}, {}, None, 5,
    ]  # fmt: skip

    async def main(life: Life) -> None:
        for _ in range(2):
            one = await guest(life)
            for each in says:
                met(one, each)
            await one.step(look, {"n": 1})
            await one.leave()
        one = await guest(life)
        for n in range(50):
            met(one, {"name": f"client-{n}"})
        await one.step(look, {"n": 2})
        await one.end()

    drive(site, main)
    found = [one for one in events(site, "a", "finding.added") if body_of(one).type == "client"]
    assert {body_of(one).about for one in found} == {0}
    values = [unpack(one.value or b"", site.inner.get) for one in found]
    assert values[0] == {"name": "code", "version": "1.2"}
    assert list(values[1]) == ["name"]
    assert values[1]["name"].startswith("a b [2Jc xxx")
    assert len(values[1]["name"]) == 300
    assert values[2] == {"name": "token=[masked]"}
    assert [one["name"] for one in values[3:]] == [f"client-{n}" for n in range(17)]


def test_an_error_of_the_client_fails_the_run_and_errors_of_tools_are_raised_as_recorded():
    site = Site()

    async def broken(args: dict[str, Any]) -> Any:
        raise ValueError("no such thing")

    tool = Described("broken", broken, effect="once")

    async def client(life: Life) -> None:
        async with await guest(life) as one:
            with pytest.raises(ToolError, match="no such thing") as error:
                await one.step(tool, {})
            assert isinstance(error.value, ValueError)
            raise RuntimeError("the client is gone")

    async def main(life: Life) -> None:
        with pytest.raises(RuntimeError):
            await client(life)

    drive(site, main)
    assert bodies(site, "run.ended")[0].error.text == "the client is gone"


def test_an_identical_call_is_answered_once_by_an_outcome_that_reached_nobody():
    """E120: a lost answer is not a second effect; a second call on purpose is."""
    site = Site()
    send, look = spy(site, "send", "once"), spy(site, "look", "read")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            first = await one.step(send, {"n": 1})
            one.lost(first.key)
            again = await one.step(send, {"n": 1})
            assert again == (*first[:3], True)
            one.delivered(again.key)
            other = await one.step(send, {"n": 1})
            assert other.key != first.key
            assert not other.replayed
            read = await one.step(look, {"n": 1})
            one.lost(read.key)
            assert (await one.step(look, {"n": 1})).key != read.key

    drive(site, main, check=False)
    assert (times(site, "send"), times(site, "look")) == (2, 2)


def test_identical_calls_side_by_side_are_two():
    site = Site()
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            both = await asyncio.gather(one.step(send, {"n": 1}), one.step(send, {"n": 1}))
            assert both[0].key != both[1].key

    drive(site, main, check=False)
    assert times(site, "send") == 2


def test_what_a_client_got_is_known_after_a_crash_and_what_it_did_not_get_is_answered():
    """E120: across processes, too."""
    site = Site()
    send, look = spy(site, "send", "once"), spy(site, "look", "read")

    async def main(life: Life) -> None:
        one = await guest(life)
        one.delivered((await one.step(send, {"n": 1})).key)
        one.delivered((await one.step(look, {"n": 0})).key)  # with it, the mark is written
        lost = await one.step(send, {"n": 2})
        life.kill()
        life = await site.live()
        async with await guest(life) as one:
            assert await one.step(send, {"n": 2}) == (*lost[:3], True)
            assert not (await one.step(send, {"n": 1})).replayed
        await life.host.close()

    site.run(lambda: _first(site, main))
    assert times(site, "send") == 3


async def _first(site: Site, main: Any) -> None:
    await main(await site.live())


def test_a_delivery_is_written_though_no_call_follows():
    site = Site()
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        one = await guest(life)
        one.delivered((await one.step(send, {"n": 1})).key)
        await asyncio.sleep(5)
        life.kill()
        life = await site.live()
        async with await guest(life) as one:
            assert not (await one.step(send, {"n": 1})).replayed
        await life.host.close()

    site.run(lambda: _first(site, main))


def test_a_client_that_goes_away_interrupts_no_effect_and_its_outcome_answers_the_retry():
    site = Site()
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            call = asyncio.ensure_future(one.step(send, {"n": 1}))
            await until(lambda: times(site, "send") == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            joined = await one.step(send, {"n": 1})  # while it is performed still
            one.lost(joined.key)
            assert (await one.step(send, {"n": 1})).replayed

    drive(site, main)
    assert times(site, "send") == 1


def test_out_of_patience_the_step_stays_open_and_only_a_retry_goes_on_with_it():
    site = Site(policy=ASK_ONCE)
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            with pytest.raises(Suspended, match="holdfast approve a@1"):
                await one.step(send, {"n": 1}, patience=0.0)
            with pytest.raises(Suspended):  # the same question, not another
                await one.step(send, {"n": 1}, patience=3.0)
            await life.answer_all(lambda *_: ("approve", None))
            await asyncio.sleep(5)
            assert times(site, "send") == 0
            taken = await one.step(send, {"n": 1}, patience=0.0)
            assert (taken.key, taken.value) == ("1", {"made": {"n": 1}})

    drive(site, main)
    assert times(site, "send") == 1
    assert len(bodies(site, "approval.asked")) == 1


def test_a_question_waits_in_the_process_and_its_refusal_is_raised():
    site = Site(policy=ASK_ONCE)
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            call = asyncio.ensure_future(one.step(send, {"n": 1}))
            await waits(site)
            await life.answer_all(lambda *_: ("deny", None))
            with pytest.raises(Refused):
                await call
            with pytest.raises(Refused):
                await one.step(spy(site, "forbidden", "read"), {})

    drive(site, main)
    assert site.outside.effects == []


def test_a_cancelled_call_that_waits_for_a_person_stays_open():
    site = Site(policy=ASK_ONCE)
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            call = asyncio.ensure_future(one.step(send, {"n": 1}))
            await waits(site)
            call.cancel()
            await asyncio.wait([call])
            await life.answer_all(lambda *_: ("approve", None))
            await asyncio.sleep(5)
            assert times(site, "send") == 0
            assert (await one.step(send, {"n": 1})).key == "1"

    drive(site, main)
    assert times(site, "send") == 1


def test_a_key_names_one_call():
    site = Site()
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            first = await one.step(send, {"n": 1}, key="call-7")
            assert await one.step(send, {"n": 1}, key="call-7") == (*first[:3], True)
            with pytest.raises(Diverged):
                await one.step(send, {"n": 2}, key="call-7")

    drive(site, main)
    assert times(site, "send") == 1


def framework(site: Site) -> Any:
    """Code of a framework: starts from the top after each crash, in the order it likes."""

    def find(n: int) -> Any:
        return n if site.outside.count("once", "pay", n) else holdfast.NOT_DONE

    @holdfast.tool(effect="once", reconcile=find)
    async def pay(n: int) -> int:
        site.outside.did("once", "pay", n)
        await asyncio.sleep(0.1)
        return n

    @holdfast.tool(effect="idempotent")
    async def tell(n: int) -> int:
        site.outside.did("idempotent", "tell", n)
        return n

    look = spy(site, "look", "read", result=[3, 4])

    async def work() -> list[int]:
        found = await holdfast.step(look, {"of": "numbers"})
        made = await asyncio.gather(*(pay(n) for n in found))
        return [*made, await tell(sum(made)), await holdfast.call(pay, 9)]

    return work


async def one_life(life: Life, work: Any) -> Any:
    """What the code returns, or None if its process died meanwhile."""

    async def body() -> Any:
        async with await guest(life, door="python", rerun=True) as one:
            one.result = await work()
        return await life.host.result("a")

    main, dead = asyncio.ensure_future(body()), asyncio.ensure_future(life.crashed.wait())
    await asyncio.wait([main, dead], return_when=asyncio.FIRST_COMPLETED)
    if life.crashed.is_set():
        main.cancel()
        return None
    dead.cancel()
    found = await main
    await life.host.close()
    return found


async def ended(life: Life) -> Any:
    """The result of the run, if an earlier life came so far."""
    try:
        return await life.host.result("a") if (await life.site.inner.run("a")).ended else None
    except holdfast.NotFound:
        return None


def crashing(number: int, fault: str) -> tuple[int, Site]:
    """Run the code with a fault at one append; how many there were."""
    site = Site(seed=number)
    work = framework(site)

    async def all_of_it() -> int:
        first = life = await site.live(at(number, fault))
        while (found := await ended(life) or await one_life(life, work)) is None:
            life = await site.live()
        assert found == [3, 4, 7, 9], f"{fault} append {number}"
        return first.store.appends

    return site.run(all_of_it), site


@pytest.mark.parametrize("fault", FAULTS)
def test_code_of_a_framework_goes_on_after_a_crash_at_every_write(fault: str):
    """E6, E120: recorded steps are not repeated, what may have happened is looked up."""
    appends, _ = crashing(0, fault)
    assert appends > 8
    for number in range(1, appends + 1):
        _, site = crashing(number, fault)
        payments = [one.value for one in site.outside.effects if one.name == "pay"]
        assert sorted(payments) == [3, 4, 9], f"{fault} append {number}"


def test_observing_records_what_would_have_been_and_lets_it_happen():
    """E121: but what a person stopped stays stopped."""
    site = Site(policy=ASK_ONCE)
    send, forbidden = spy(site, "send", "once"), spy(site, "forbidden", "read")

    async def main(life: Life) -> None:
        async with await guest(life, observes=True) as one:
            assert one.observes
            await one.step(send, {"n": 1})
            await one.step(forbidden, {"n": 1})

    drive(site, main)
    planned = bodies(site, "step.planned")[0].verdict
    settled = bodies(site, "step.settled")[-1].verdict
    assert (planned.decision, planned.observed) == ("allow", "escalate")
    assert (settled.decision, settled.observed, settled.rules[0]) == ("allow", "deny", "never")


def test_one_process_has_a_guest_and_its_name_is_taken():
    site = Site()
    send = spy(site, "send", "once")

    @holdfast.agent(name="own")
    async def own() -> int:
        return 1

    async def main(life: Life) -> None:
        one = await guest(life)
        with pytest.raises(Conflict, match="open here"):
            await guest(life)
        other = await site.live()
        with pytest.raises(LeaseLost):
            await guest(other)
        await one.leave()
        with pytest.raises(Misuse, match="open a guest again"):
            await one.step(send, {"n": 1})
        with pytest.raises(holdfast.NotFound):
            await (await other.host.resume("a")).result()
        async with await guest(other):
            pass
        with pytest.raises(Conflict, match="has ended"):
            await guest(other)
        await (await life.start(own, name="b")).result()
        with pytest.raises(Misuse, match="program of its own"):
            await guest(life, name="b")
        await other.host.close()

    drive(site, main, own)


def test_what_the_person_said_is_theirs_and_is_said_once():
    site = Site(
        policy=parse_policy(
            """
version: 1
rules:
  - {id: hers, when: {tool: send}, if: 'origin.to == "person"', then: allow}
""",
            "WORDS",
        )
    )
    send = spy(site, "send", "once")

    async def main(life: Life) -> None:
        async with await guest(life) as one:
            with pytest.raises(Refused):
                await one.step(send, {"to": "ada@example.org"})
            await one.said("please write to ada@example.org")
            await one.said("please write to ada@example.org")
            await one.step(send, {"to": "ada@example.org"})

    drive(site, main)
    said = [one for one in bodies(site, "step.settled") if one.plan and one.plan.name == "said"]
    assert len(said) == 1


def test_names_of_others_become_names_of_the_journal():
    assert journal_name("files", "read_file") == "files.read_file"
    odd = [journal_name("s", name) for name in ("a/b", "a b", "-x", "é", "x" * 300, "")]
    assert len(set(odd)) == len(odd)
    for name in odd:
        assert Described(name, lambda _: None, effect="read").name == name


def test_outside_of_any_run_a_described_tool_is_performed():
    async def double(args: dict[str, Any]) -> int:
        return args["n"] * 2

    tool = Described("double", double, effect="read")

    async def main() -> None:
        assert await tool(n=2) == 4
        assert await holdfast.step(tool, {"n": 3}) == 6
        assert await holdfast.step(tool, {"n": 3}, perform=lambda args: args["n"]) == 3

    asyncio.run(main())


def test_a_step_inside_an_agents_run_is_a_step_of_that_run():
    site = Site()
    look = spy(site, "look", "read")

    @holdfast.agent(name="own")
    async def own() -> Any:
        return await holdfast.step(look, {"n": 1})

    async def main(life: Life) -> Any:
        return await (await life.start(own, name="a")).result()

    assert drive(site, main, own) == {"made": {"n": 1}}


def test_the_program_of_a_guest_cannot_be_loaded(tmp_path: Path):
    with pytest.raises(holdfast.NotFound, match="claude is a client behind door mcp"):
        Programs(tmp_path).find("claude", "door:mcp")
