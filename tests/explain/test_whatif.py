"""Forks that ask why: they hold, they are compared, and what they came to is kept whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import holdfast
from holdfast import Runtime
from holdfast.explain.compare import compare_runs
from holdfast.explain.outcome import Outcome, differs, outcome_of, wanted_of
from holdfast.explain.pairs import Pair, known, pair
from holdfast.explain.past import chain
from holdfast.explain.rates import wilson
from holdfast.gate import parse_policy
from holdfast.journal.events import body_of, erased
from holdfast.journal.store import RunQuery
from holdfast.journal.views import CAUSED, SCORE
from holdfast.runtime.counterfactual import Changes, fork_with
from holdfast.runtime.pairing import pairs_of
from holdfast.runtime.scoring import add_score, read_score
from holdfast.runtime.whatif import Budget, what_if
from holdfast.testing.lives import ALLOW_ALL
from holdfast.testing.models import scripted
from holdfast.values.canon import decode, encode
from holdfast.values.errors import Misuse
from tests.explain.recorded import Did, fetch, recorded, with_finding

sent: list[tuple[str, str]] = []


@holdfast.tool(effect="read")
async def look(n: int) -> dict[str, int]:
    return {"n": n}


@holdfast.tool(effect="once")
async def send(to: str, text: str) -> None:
    sent.append((to, text))


@holdfast.tool(effect="idempotent")
async def book(text: str) -> str:
    sent.append(("book", text))
    return f"booked {text}"


ask = scripted(
    lambda request: f"{request.body['model']}: {request.body['messages'][-1]['content']}"
)


@holdfast.agent
async def clerk(n: int) -> str:
    seen = (await look(n))["n"]
    reply = await ask(f"say {seen}", system="be brief")
    await send("ada", reply.text)
    return reply.text


@holdfast.agent
async def booker(n: int) -> str:
    return await book(str((await look(n))["n"]))


@holdfast.agent
async def family() -> int:
    children = [await holdfast.spawn(booker, n) for n in range(2)]
    for child in children:
        await child.result()
    return (await look(7))["n"] + len((await holdfast.merge(children[0])).conflicts)


@holdfast.agent
async def asker() -> str:
    seen = (await look(1))["n"]
    return "fine" if seen == 1 else await holdfast.ask("What now?")


def live(work: Callable[[Runtime], Awaitable[Any]], **more: Any) -> Any:
    """``await work(runtime)`` in a store of its own."""
    sent.clear()

    async def main() -> Any:
        async with Runtime(store="memory", policy=ALLOW_ALL, **more) as runtime:
            return await asyncio.wait_for(work(runtime), 60)

    return asyncio.run(main())


async def first(runtime: Runtime, program: Any, *args: Any) -> str:
    handle = await runtime.start(program, *args)
    await handle.result()
    return handle.id


async def came(runtime: Runtime, run: str) -> Outcome:
    return outcome_of(await chain(runtime.store, run), "", runtime.store.get)


async def findings(runtime: Runtime, run: str, kind: str) -> list[Any]:
    return [
        (body_of(event).about, decode(event.value or b"null"))
        for event in await chain(runtime.store, run)
        if event.kind == "finding.added" and body_of(event).type == kind
    ]


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        ("1", Changes(edits={"result.n": 5}), "model: say 5"),
        ("1", Changes(without=("result",)), "model: say 0"),
        ("2", Changes(messages={"1": "say no"}), "model: say no"),
        ("2", Changes(without=("1",)), "model: "),
        ("2", Changes(model="other"), "other: say 3"),
        ("2", Changes(model="scripted:other"), "other: say 3"),
        ("0", Changes(edits={"input.n": 9}), "model: say 9"),
        ("2", Changes(fresh=True), "model: say 3"),
    ],
)
def test_one_thing_is_changed_and_nothing_leaves_the_world(step: str, changes: Changes, said: str):
    """X20: what would be sent is held, unless the run did the same."""

    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, clerk, 3)
        made = await fork_with(runtime, run, step, changes)
        row = await runtime.store.run(made)
        kinds = [body_of(event).status for event in await chain(runtime.store, made)
                 if event.kind == "step.settled"]  # fmt: skip
        return row.holds, (await came(runtime, made)).value, kinds

    holds, value, kinds = live(work)
    assert holds
    assert value == {"status": "done", "value": said}
    assert sent == [("ada", "model: say 3")]
    assert kinds[-1] == ("value" if said == "model: say 3" else "held")


def test_a_fork_that_waits_to_be_published_says_what_it_would_do():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, booker, 3)
        found = await what_if(runtime, run, "1", Changes(edits={"result.n": 4}), times=2)
        same = await what_if(runtime, run, "1", Changes())
        return found, same, await findings(runtime, run, CAUSED), run

    found, same, kept, run = live(work)
    assert sent == [("book", "3")]
    assert [one.outcome.text for one in found.tried] == ["held: book waits to be published"] * 2
    assert (found.flips, found.of, same.flips, same.of) == (2, 2, 0, 1)
    assert found.comparison.a.run == run
    assert "changed by whoever made the fork" in found.comparison.first.reason
    assert kept[0] == (1, {"step": "1", "intervention": "@1: result.n = 4", "flips": 2, "of": 2,
                           "low": found.low, "high": found.high})  # fmt: skip
    assert kept[1][1]["intervention"] == "@1: taken again"


def test_a_fork_that_asks_a_person_is_inconclusive_and_nothing_is_kept():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, asker)
        found = await what_if(runtime, run, "1", Changes(edits={"result.n": 4}))
        return found, await findings(runtime, run, CAUSED)

    found, kept = live(work)
    assert (found.of, found.flips, found.low, found.high) == (0, 0, 0.0, 0.0)
    assert not kept


def test_a_budget_bounds_the_forks():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, clerk, 3)
        found = await what_if(runtime, run, "2", Changes(), times=9, budget=Budget(2))
        return found, len(await runtime.store.runs(RunQuery(100)))

    found, runs = live(work)
    assert (len(found.tried), runs) == (2, 3)
    assert "2 forks" in found.stopped


def test_another_policy_is_asked():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, clerk, 3)
        strict = parse_policy(
            "version: 1\nname: strict\nrules:\n"
            "  - {id: nobody, when: {tool: [send]}, then: deny, reason: nobody sends}\n"
            "  - {id: rest, when: {effect: [read, world, idempotent, once]}, then: allow}\n",
            "strict",
        )
        async with Runtime(store=runtime.store, policy=strict) as other:
            other.programs.add(clerk)
            return await what_if(other, run, "3", Changes(), policy="strict.yaml")

    found = live(work)
    assert found.intervention == "@3: policy strict.yaml"
    assert (found.flips, found.of) == (1, 1)
    assert found.comparison.first.reason == "the gate said allow in A and deny nobody in B"
    assert sent == [("ada", "model: say 3")]


def test_what_cannot_be_changed_is_said():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, clerk, 3)
        said: list[str] = []
        for step, changes in (
            ("1", Changes(messages={"0": "x"})),
            ("2", Changes(messages={"7": "x"})),
            ("2", Changes(without=("system",))),
            ("2", Changes(model="openai:gpt")),
        ):
            with pytest.raises(Misuse) as caught:
                await fork_with(runtime, run, step, changes)
            said.append(str(caught.value))
        async with await runtime.guest("visitor", name="door", door="mcp") as guest:
            guest.result = 1
        with pytest.raises(Misuse) as caught:
            await fork_with(runtime, "door", "0", Changes())
        return [*said, str(caught.value)]

    parts = (
        "asks no model",
        "has 0 to 1",
        "has 0 to 1",
        "asks through scripted",
        "only that client",
    )
    for text, part in zip(live(work), parts, strict=True):
        assert part in text


def test_runs_that_differ_only_in_their_names_do_not_differ():
    """Children are named after their parents, and steps after children."""

    async def work(runtime: Runtime) -> Any:
        runs = [await first(runtime, family) for _ in range(2)]
        made = await fork_with(runtime, runs[0], "3", Changes())
        return [await compare_runs(runtime.store, runs[0], other) for other in (runs[1], made)]

    for found in live(work):
        assert [pair for pair in found.pairs if pair.differs] == []
        assert (found.first, found.moved, found.outcome) == (None, 0, False)


# Outcomes --------------------------------------------------------------------------------------

RUN = recorded([Did("look", {"n": 1}), Did("send", {"to": "eve"}, status="held", effect="once")],
               result={"sum": 3}, given={"n": 1})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("value.sum == 3", True), ("value.sum > 3", False), ('status == "failed"', False),
        ("args.n == 1", True), ("args.n == 'x'", None), ("value.other == 1", None),
        ('steps.exists(s, s.name == "send" && s.args.to == "eve" && s.happened)', True),
        ('steps.exists(s, s.name == "send" && s.args.to == "ada")', False),
        ('steps.filter(s, s.decision == "allow").size() == 2', True),
    ],
)  # fmt: skip
def test_a_condition_says_which_outcomes_are_good(text: str, good: bool | None):
    assert outcome_of(RUN, wanted_of(text), fetch).good is good


@pytest.mark.parametrize("text", ["vaule == 1", "1 + 1", "status ==", "steps.exists(s, t.x)"])
def test_a_condition_that_makes_no_sense_is_refused(text: str):
    with pytest.raises(Misuse, match="--outcome"):
        wanted_of(text)


def test_a_persons_score_counts_before_a_checks_and_the_newest_first():
    good, bad = {"good": True, "score": None, "note": ""}, {"good": False, "note": ""}
    events = with_finding(RUN, SCORE, good, "check:tests")
    assert outcome_of(events, "", fetch).good is True
    events = with_finding(events, SCORE, bad, "ann")
    events = with_finding(events, SCORE, good, "check:tests")
    assert outcome_of(events, "", fetch).good is False
    events = with_finding(events, SCORE, {"good": "yes"}, "eve")  # no score
    assert outcome_of(events, "", fetch).good is False
    assert outcome_of(with_finding(events, SCORE, good, "bob"), "", fetch).good is True


def test_outcomes_are_told_apart():
    one, other, unknown = Outcome(None, "", 1), Outcome(None, "", 2), Outcome(None, "")
    assert [differs(one, one), differs(one, other), differs(one, unknown)] == [False, True, None]
    assert differs(Outcome(True, "", 1), Outcome(True, "", 2)) is False


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_interval_holds_the_share_and_never_leaves_0_to_1(hits: int, of: int):
    hits = min(hits, of)
    low, high = wilson(hits, of)
    assert 0 <= low <= hits / of <= high <= 1
    assert low < high
    mirrored = wilson(of - hits, of)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_the_interval_is_wilsons():
    """As R's prop.test(8, 10, correct = FALSE) gives it."""
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


# Pairs -----------------------------------------------------------------------------------------


def test_pairs_are_in_the_form_that_preference_training_reads():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, clerk, 3)
        made = await fork_with(runtime, run, "2", Changes(model="other"))
        for name, text in ((run, "bad"), (made, "0.5"), (made, "good")):
            await add_score(runtime.store, name, read_score(text), "", by="ann", now_ms=1)
        return run, made, *(await pairs_of(runtime.store, [run], wanted_of("")))

    run, made, found, left = live(work)
    (one,) = found
    assert not left
    assert one.prompt == [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "say 3"},
    ]  # fmt: skip
    assert one.rejected == [{"role": "assistant", "content": "model: say 3"}]
    assert one.chosen == [{"role": "assistant", "content": "other: say 3"}]
    assert one.same_prompt
    assert one.runs == {"chosen": made, "rejected": run}
    assert one.at == {"chosen": f"{made}@2", "rejected": f"{run}@2"}


def test_runs_without_a_model_are_told_as_calls():
    async def work(runtime: Runtime) -> Any:
        run = await first(runtime, booker, 3)
        await fork_with(runtime, run, "2", Changes(edits={"args.text": "4"}))
        good = 'steps.exists(s, s.name == "book" && s.args.text == "4")'
        return await pairs_of(runtime.store, [run], wanted_of(good))

    (one,), _ = live(work)
    (call,) = one.chosen[0]["tool_calls"]
    assert call["function"] == {"name": "book", "arguments": {"text": "4"}}
    assert one.prompt[0]["role"] == "user"
    assert [message["role"] for message in one.prompt[1:]] == ["assistant", "tool"]
    assert one.same_prompt


def test_what_was_erased_is_left_out_and_said():
    steps = [Did("look", {"n": 1}, "secret"), Did("pay", {"n": 1})]
    right = recorded([*steps[:1], Did("pay", {"n": 2}, "gone too")], "b")
    wrong = recorded(steps)
    for events, places in ((right, (1, 2)), (wrong, (1,))):
        for at in places:
            events[at] = structs.replace(events[at], value=erased(events[at].value or b""))
    known_ones = [known(events, wanted_of(""), fetch) for events in (right, wrong)]
    found = pair(known_ones[0], known_ones[1], fetch)
    assert isinstance(found, Pair)
    assert found.erased == 3
    assert b"secret" not in encode(found)
    assert found.prompt[-1] == {"role": "tool", "tool_call_id": "call_1_1", "content": "null"}
