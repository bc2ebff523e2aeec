"""The loop: what it does with answers and tools, where it stops, and that crashes do not show."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pydantic
import pytest

import holdfast
from holdfast import Misuse, Runtime
from holdfast.gate import parse_policy
from holdfast.journal.store import Store
from holdfast.models.loop import Ended, Stop, loop
from holdfast.testing.faults import FAULTS, at
from holdfast.testing.lives import Site
from holdfast.testing.models import recorded, scripted
from holdfast.testing.scripted import Request
from holdfast.values import limits
from holdfast.values.canon import digest
from tests.engine.scenarios import Case, carry_out
from tests.engine.support import until

ASK_ONCE = parse_policy(
    """
version: 1
rules:
  - {id: rest, when: {effect: [read, world, idempotent]}, then: allow}
  - {id: ask, when: {effect: once}, then: escalate}
  - {id: never, when: {tool: forbidden}, then: deny, reason: not on Sundays}
""",
    "ASK_ONCE",
)


class Sum(pydantic.BaseModel):
    total: int


@holdfast.tool(effect="read")
async def double(n: int) -> int:
    """Doubles."""
    return 2 * n


@holdfast.tool(effect="read")
async def breaks(n: int) -> int:
    raise ValueError(f"no {n}")


@holdfast.tool(effect="read")
async def forbidden() -> str:
    return "never seen"


@holdfast.tool(effect="read")
def long(size: int) -> str:
    """Blocks, and says much."""
    return "".join(f"{n:07d} " for n in range(size // 8))


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def results(ended: Ended) -> list[str]:
    return [one["content"] for one in ended.messages if one["role"] == "tool"]


# ---- what it does ----------------------------------------------------------------------------


async def test_it_calls_tools_side_by_side_until_it_is_done():
    both = asyncio.Barrier(2)

    @holdfast.tool(effect="read")
    async def meet() -> str:
        await both.wait()  # one after the other would never end
        return "met"

    ask = scripted([{"calls": [call("meet"), call("meet")]}, {"text": "done"}])
    ended = await asyncio.wait_for(loop(ask, [meet], "go", system="Be brief."), 20)
    assert (ended.stop, ended.text, ended.done) == (Stop.DONE, "done", True)
    assert [one["role"] for one in ended.messages] == [
        "system", "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert ended.used["turns"] == 2
    assert ended.used["calls"] == 2
    assert "money" not in ended.used  # nobody knows the price


async def test_what_fails_or_is_refused_comes_back_to_the_model():
    """D67"""
    calls = [
        call("breaks", n=3), call("double", n="x"), call("nope"), call("double", n=2),
        {"name": "double", "arguments": "{"}, call("forbidden"),
    ]  # fmt: skip
    ask = scripted([{"calls": calls}, "I see"])

    @holdfast.agent
    async def worker() -> Ended:
        return await loop(ask, [breaks, double, forbidden], "go")

    async with Runtime(store="memory", policy=ASK_ONCE) as runtime:
        ended = await (await runtime.start(worker)).result()
    found = results(ended)
    assert found[0] == "it failed: no 3"
    assert "argument n: Input should be a valid integer" in found[1]
    assert found[2] == "there is no tool 'nope'; there are breaks, double, forbidden, recall"
    assert found[3] == "4"
    assert found[4] == "the arguments are no JSON object"
    assert found[5].startswith("refused, and not performed: ")
    assert "not on Sundays" in found[5]
    errors = [one.get("error", False) for one in ended.messages if one["role"] == "tool"]
    assert errors == [True, True, True, False, True, True]
    assert ended.text == "I see"


async def test_a_structured_answer_that_does_not_fit_is_asked_for_again():
    ask = scripted(['{"total": "x"}', {"calls": [call("double", n=2)]}, '{"total": 4}'])
    ended = await loop(ask, [double], "go", output=Sum)
    assert ended.output == Sum(total=4)
    assert "does not fit: total" in ended.messages[2]["content"]
    ended = await loop(scripted([{"text": "{}", "again": True}]), [], "go", output=Sum)
    assert ended.stop is Stop.UNFIT
    assert ended.used["turns"] == 1 + limits.LOOP_FIXES_ATTEMPTS


@pytest.mark.parametrize(
    ("script", "more", "stop", "why", "turns"),
    [
        (None, {"max_turns": 3}, Stop.TURNS, "3 of 3 turns used", 3),
        (None, {"budget": {"tokens": 500}}, Stop.BUDGET, "of 500 tokens used", 2),
        (None, {"budget": {"calls": 2}}, Stop.BUDGET, "2 of 2 calls used", 2),
        (None, {"budget": {"calls": 0.5}}, Stop.BUDGET, "and 1 more are asked for", 1),
        (None, {"budget": {"money": 1}}, Stop.BUDGET, "nobody knows what scripted:m costs", 1),
        ({"text": "w", "finish": "length"}, {}, Stop.LENGTH, "limit of length", 1),
        ({"text": "w", "finish": "content_filter"}, {}, Stop.FILTER, "filter", 1),
        ({"calls": [call("double", n=1)], "finish": "length"}, {}, Stop.LENGTH, "limit of", 1),
    ],
)
async def test_it_stops_honestly(script: Any, more: Any, stop: Stop, why: str, turns: int):
    used = {"input": 200, "output": 50}
    answer = script or {"calls": [call("double", n=1)], "usage": used}
    ask = scripted([{**answer, "again": True}], name="scripted:m")
    ended = await loop(ask, [double], "go", **more)
    assert ended.stop is stop
    assert why in ended.why
    assert ended.used["turns"] == turns
    asked = [one["id"] for message in ended.messages for one in message.get("calls", ())]
    answered = [one["id"] for one in ended.messages if one["role"] == "tool"]
    assert asked == answered  # or no provider takes the conversation to go on from
    assert bool(asked) is ("calls" in answer)


async def test_money_counts_where_the_price_is_known():
    many = {"calls": [call("double", n=1)], "again": True, "usage": {"input": 10**6}}
    ask = scripted([many], name="openai:gpt-4o-mini")
    ended = await loop(ask, [double], "go", budget={"money": 0.4})
    assert ended.stop is Stop.BUDGET
    assert ended.used["turns"] == 3  # at 0.15 USD each
    assert ended.used["money"] > 0.4


async def test_a_refused_request_ends_it():
    policy = parse_policy(
        "version: 1\nrules: [{id: shut, when: {kind: model}, then: deny, reason: closed}]", "policy"
    )

    @holdfast.agent
    async def worker() -> Ended:
        return await loop(scripted(["x"]), [], "go")

    async with Runtime(store="memory", policy=policy) as runtime:
        ended = await (await runtime.start(worker)).result()
    assert ended.stop == Stop.REFUSED
    assert "closed" in ended.why


async def test_an_endpoint_that_fails_is_raised():
    with pytest.raises(holdfast.Outside, match="status 500"):
        await loop(scripted([{"error": 500}]), [], "go")
    with pytest.raises(Misuse, match="budget is of"):
        await loop(scripted(["x"]), [], "go", budget={"euros": 1})


# ---- context ---------------------------------------------------------------------------------


async def test_long_results_stand_by_reference_and_can_be_read_back():
    """D68"""
    whole = long(50_000)
    reference = digest(whole.encode())[:16]

    def answer(request: Request) -> Any:
        if request.number == 1:
            return {"calls": [call("long", size=50_000)]}
        if request.number < 5:
            size = limits.LOOP_RESULT_CHARS - 200
            start = (request.number - 2) * size
            return {"calls": [call("recall", reference=reference, start=start)]}
        return {"calls": [call("recall", reference="ff")]} if request.number == 5 else "done"

    ended = await loop(scripted(answer), [long], "go")
    found = results(ended)
    assert found[0].endswith(f"recall(reference='{reference}') reads them]")
    pages = [one.partition("\n[")[0] for one in found[1:4]]
    assert "".join(pages) == whole
    assert "no reference 'ff'" in found[4]


async def test_older_results_are_left_out_once_it_is_too_long():
    """D68"""
    sizes: list[int] = []

    def answer(request: Request) -> Any:
        sizes.append(sum(len(str(one["content"])) for one in request.body["messages"]))
        return {"calls": [call("long", size=8_000)]} if request.number < 12 else "done"

    ended = await loop(scripted(answer), [long], "go", context=50_000)
    assert ended.done
    assert max(sizes) < 60_000
    stubs = [one.startswith("[left out: 8,000 characters") for one in results(ended)]
    assert stubs == sorted(stubs, reverse=True)  # the oldest
    assert stubs.count(False) >= limits.LOOP_KEPT_ITEMS


# ---- crashes ---------------------------------------------------------------------------------


def durable(store: Store | None, tmp: Path) -> Case:
    """A loop with parallel calls, a once tool that a person approves, a failure and compaction."""
    site = Site(store=store, caches=str(tmp), policy=ASK_ONCE)

    async def was_paid(n: int) -> Any:
        done = [one for one in site.outside.effects if one.value == n]
        return f"paid {n}" if done else holdfast.NOT_DONE

    @holdfast.tool(effect="once", reconcile=was_paid)
    async def pay(n: int) -> str:
        site.outside.did("once", "pay", n)
        return f"paid {n}"

    @holdfast.tool(effect="idempotent")
    async def note(n: int) -> str:
        await asyncio.sleep(0.1 / n)
        site.outside.did("idempotent", "note", n)
        return f"noted {n} " + "." * 3_000

    def answer(request: Request) -> Any:
        asked = [
            {"calls": [call("note", n=n) for n in (1, 2, 3)]},
            {"calls": [call("forbidden"), call("breaks", n=1), call("note", n=4)]},
            {"calls": [call("pay", n=7), call("note", n=5)]},
            {"calls": [call("note", n=6)]},
        ]
        return asked[request.number - 1] if request.number <= 4 else '{"total": 7}'

    @holdfast.agent
    async def worker() -> list[Any]:
        tools = [pay, note, breaks, forbidden]
        ended = await loop(scripted(answer), tools, "go", output=Sum, context=10_000)
        return [ended.stop.value, ended.output.total, ended.messages, ended.used]

    site.programs[worker.name] = worker

    async def drive(life: Any) -> Any:
        run = asyncio.ensure_future((await life.start(worker, name="a")).result())

        async def answered() -> bool:
            await life.answer_all(lambda *_: ("approve", None))
            return run.done()

        await until(answered)
        return await run

    return Case(site, drive, {})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_crash_at_every_write_does_not_show(fault: str, tmp_path: Path):
    clean = carry_out(durable, [], None, tmp_path / "clean")
    assert clean.problems == []
    assert clean.result[:2] == ["done", 7]
    assert "left out" in str(clean.result[2])
    assert [len(clean.effects[kind]) for kind in ("idempotent", "once")] == [6, 1]
    for number in range(1, clean.appends[0] + 1):
        found = carry_out(durable, [at(number, fault)], None, tmp_path / str(number))
        where = f"{fault} append {number} of {clean.appends[0]}"
        assert found.problems == [], where
        assert (found.result, found.statuses) == (clean.result, clean.statuses), where
        assert found.effects == clean.effects, where


async def test_in_a_guest_it_goes_on_where_it_was_stopped(tmp_path: Path):
    asked: list[int] = []

    def answer(request: Request) -> Any:
        asked.append(request.number)
        return {"calls": [call("double", n=n) for n in (1, 2)]} if request.number < 3 else "done"

    settings = holdfast.Settings(store=str(tmp_path))

    async def life(turns: int, *, stops: bool) -> Ended:
        async with Runtime(settings) as runtime, await runtime.guest("helper", name="g"):
            ended = await loop(scripted(answer), [double], "go", max_turns=turns)
            if stops:
                raise KeyboardInterrupt
            return ended

    with pytest.raises(KeyboardInterrupt):
        await life(2, stops=True)
    ended = await life(9, stops=False)
    assert ended.done
    assert asked == [1, 2, 3]


async def test_loops_side_by_side_in_a_guest_do_not_swap_places(tmp_path: Path):
    """INVARIANT D196: each is counted under its name, whichever is asked first; two of one name
    are refused, for after a crash one could take the other's answers."""
    settings = holdfast.Settings(store=str(tmp_path))
    answers = scripted(lambda request: {"calls": [call("double", n=1)]}
                       if request.number < 3 else "done")  # fmt: skip

    async def life(*names: str, late: str, ends: bool) -> list[Any]:
        async def one(name: str) -> Ended:
            if name == late:
                await started.wait()
            started.set()
            return await loop(answers, [double], f"I am {name}", max_turns=1, name=name)

        started = asyncio.Event()
        async with Runtime(settings) as runtime, await runtime.guest("helper", name="g"):
            found = await asyncio.gather(*map(one, names), return_exceptions=True)
            if not ends:
                raise KeyboardInterrupt
            return [each if isinstance(each, Ended) else str(each) for each in found]

    with pytest.raises(KeyboardInterrupt):
        await life("a", "b", late="b", ends=False)
    found = await life("a", "b", late="a", ends=True)
    assert [each.messages[0]["content"] for each in found] == ["I am a", "I am b"]
    assert [each.stop for each in found] == [Stop.TURNS] * 2
    async with Runtime(settings) as runtime:
        async with await runtime.guest("helper", name="h"):
            both = asyncio.gather(*(loop(answers, [double], "go") for _ in range(2)))
            with pytest.raises(holdfast.Misuse, match="give each a name of its own"):
                await both
        async with await runtime.guest("helper", name="i"):
            for _ in range(2):  # one after the other is as it ever was
                assert (await loop(scripted(["x"]), [], "go")).done


# ---- recorded models -------------------------------------------------------------------------


async def test_a_recording_is_made_once_and_repeats_exactly(tmp_path: Path):
    path = tmp_path / "answers.json"
    asked: list[int] = []

    def answer(request: Request) -> Any:
        asked.append(request.number)
        return {"calls": [call("double", n=3)]} if request.number == 1 else "six"

    first = await loop(recorded(scripted(answer), path), [double], "go")
    text = path.read_text("utf-8")
    second = await loop(recorded(scripted(answer), path), [double], "go")
    assert first == second
    assert first.text == "six"
    assert asked == [1, 2]
    assert path.read_text("utf-8") == text
    assert '"content": "go"' in text  # readable
    with pytest.raises(Misuse, match="no answer is recorded to this request of scripted:model"):
        await loop(recorded(scripted(answer), path), [double], "go elsewhere")
    await loop(recorded(scripted(answer), path, record=True), [double], "go elsewhere")
    assert asked == [1, 2, 1, 2]
    heard: list[str] = []
    for _ in range(2):
        reply = await recorded(scripted(["well"]), tmp_path / "b.json")("hi", on_text=heard.append)
        assert reply.text == "well"
    assert "".join(heard) == "wellwell"


async def test_a_damaged_recording_is_said_to_be_one(tmp_path: Path):
    path = tmp_path / "answers.json"
    for text in ("{", '[{"model": "x"}]'):
        path.write_text(text)
        with pytest.raises(holdfast.Corrupt, match=r"answers\.json"):
            recorded(scripted([]), path)
