"""A run as spans: what they say, that they are the same every time, and what never leaves."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from holdfast.explain.past import chain
from holdfast.explain.spans import Around, Edge, Look, Trail
from holdfast.explain.traces import Traces
from holdfast.journal.store import RunQuery
from holdfast.stores.memory import MemoryStore
from holdfast.values.spans import Place, Span
from tests.explain.family import SAID, recorded
from tests.stores.scenes import rich


async def made(**look) -> tuple[MemoryStore, list[Span]]:
    store = MemoryStore()
    runs = await recorded(store)
    traces = Traces(store, Look(store.get, **look))
    return store, [span for run in runs for span in await traces.run(run)]


def told(spans: list[Span]) -> list[tuple]:
    by_id = {one.place.span: one.name for one in spans}
    return [
        (one.name, by_id.get(one.parent, one.parent), one.error, [mark.name for mark in one.marks])
        for one in spans
    ]


async def test_a_recorded_family():
    _, spans = await made()
    assert told(spans) == snapshot(
        [
            ("chat gpt-x", "invoke_agent boss", "", []),
            ("spawn kid", "invoke_agent boss", "", []),
            (
                "execute_tool pay",
                "invoke_agent boss",
                "",
                ["holdfast.verdict", "holdfast.approval.asked", "holdfast.approval.given"],
            ),
            ("invoke_agent boss", "", "", []),
            ("evaluation", "chat gpt-x", "", ["gen_ai.evaluation.result"]),
            ("execute_tool look", "invoke_agent kid", "ValueError", []),
            ("invoke_agent kid", "spawn kid", "ValueError", []),
            ("tool pay", "invoke_agent boss", "", []),
            ("invoke_agent boss", "", "", []),
        ]
    )


async def test_attributes_of_a_model_and_an_approval():
    _, spans = await made(openinference=True)
    by_name = {one.name: one for one in spans if one.attributes.get("holdfast.run") == "boss"}
    found = dict(by_name["chat gpt-x"].attributes)
    assert len(found.pop("holdfast.journal.hash")) == 64
    assert found == snapshot(
        {
            "gen_ai.conversation.id": "boss",
            "holdfast.run": "boss",
            "holdfast.step": "1",
            "holdfast.status": "value",
            "holdfast.effect": "read",
            "holdfast.usage.money": 0.01,
            "holdfast.usage.tokens": 19.0,
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-x",
            "gen_ai.request.max_tokens": 9,
            "gen_ai.response.model": "gpt-x-1",
            "gen_ai.response.id": "r-1",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.response.time_to_first_chunk": 0.12,
            "gen_ai.usage.input_tokens": 15,
            "gen_ai.usage.output_tokens": 4,
            "gen_ai.usage.cache_read.input_tokens": 5,
            "gen_ai.usage.cache_creation.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 2,
            "llm.token_count.prompt": 15,
            "llm.token_count.completion": 4,
            "llm.token_count.total": 19,
            "llm.token_count.prompt_details.cache_read": 5,
            "llm.token_count.prompt_details.cache_write": 0,
            "llm.token_count.completion_details.reasoning": 2,
            "llm.model_name": "gpt-x",
            "llm.provider": "openai",
            "gen_ai.operation.name": "chat",
            "openinference.span.kind": "LLM",
        }
    )
    pay = by_name["execute_tool pay"]
    assert pay.attributes["openinference.span.kind"] == "TOOL"
    assert [mark.attributes for mark in pay.marks] == snapshot(
        [
            {
                "holdfast.decision": "escalate",
                "holdfast.rules": ("money", "late"),
                "holdfast.policy": "abc",
                "holdfast.risk": 0.4,
            },
            {"holdfast.about": "action", "holdfast.needs": 1},
            {"holdfast.decision": "approve", "holdfast.by": "ann"},
        ]
    )
    score = by_name["evaluation"]
    assert score.marks[0].attributes == snapshot(
        {
            "gen_ai.evaluation.name": "ann",
            "gen_ai.evaluation.score.value": 0.9,
            "gen_ai.evaluation.score.label": "pass",
        }
    )
    assert score.parent == by_name["chat gpt-x"].place.span


async def test_x160_the_same_journal_gives_the_same_spans():
    store, spans = await made()
    again = Traces(store, Look(store.get))
    assert [one for run in ("boss", "boss.1", "fork") for one in await again.run(run)] == spans
    (first,) = await store.read("boss", 0, 1)
    assert spans[0].place.trace == first.id[:32]


async def test_x160_live_is_late():
    store, spans = await made()
    live = Traces(store, Look(store.get))
    found = [span for event in await store.tail(0) for span in await live.take(event)]
    # what has not ended is told late only
    late = [one for one in spans if "open" not in one.attributes.values()]
    assert sorted(found, key=repr) == sorted(late, key=repr)


async def test_x161_content_leaves_only_if_it_is_wanted():
    _, spans = await made(openinference=True)
    assert SAID not in msgspec.json.encode(spans).decode()
    _, spans = await made(content=True, openinference=True)
    by_name = {one.name: one.attributes for one in spans}
    assert SAID in by_name["chat gpt-x"]["gen_ai.input.messages"]
    assert SAID in by_name["chat gpt-x"]["gen_ai.output.messages"]
    assert SAID in by_name["execute_tool look"]["gen_ai.tool.call.arguments"]
    assert SAID in by_name["execute_tool pay"]["output.value"]


async def test_a_fork_is_linked_and_a_child_nested():
    _, spans = await made()
    roots = {one.attributes["gen_ai.conversation.id"]: one for one in spans
             if one.name.startswith("invoke_agent")}  # fmt: skip
    spawn = next(one for one in spans if one.name == "spawn kid")
    assert roots["boss.1"].parent == spawn.place.span
    assert roots["boss.1"].place.trace == roots["boss"].place.trace
    (link,) = roots["fork"].links
    assert link.to == spawn.place  # the fork event is the one that settled it
    assert roots["fork"].place.trace != roots["boss"].place.trace


async def test_sources_of_a_step_are_links():
    store = MemoryStore()
    await recorded(store)

    def edges(events):
        found = [Edge(1, "carried", "to"), Edge(99, "saw")]
        return found if b'"key":"3"' in events[-1].body else []

    spans = await Traces(store, Look(store.get, edges=edges)).run("boss")
    by_name = {one.name: one for one in spans}
    (link,) = by_name["execute_tool pay"].links
    assert link.to == by_name["chat gpt-x"].place
    assert link.attributes == {"why.edge": "carried", "why.path": "to"}


def check(spans: list[Span]) -> None:
    """INVARIANT X162: every parent is there, or the span is a root."""
    places = {one.place for one in spans}
    assert len(places) == len(spans)
    for one in spans:
        assert not one.parent or Place(one.place.trace, one.parent) in places
        assert one.start <= one.end
        assert len(one.place.trace) == 32
        assert len(one.place.span) == 16


async def test_x162_every_parent_is_there():
    _, spans = await made()
    check(spans)
    store = MemoryStore()
    await rich(store, scale=2)
    traces = Traces(store, Look(store.get))
    runs = [row.run for row in await store.runs(RunQuery(limit=1000))]
    check([span for run in runs for span in await traces.run(run)])


@pytest.mark.hypothesis
@settings(deadline=None, max_examples=30)
@given(cut=st.integers(0, 200), which=st.integers(0, 50))
async def test_x162_of_runs_cut_off_anywhere(cut: int, which: int):
    store = MemoryStore()
    await recorded(store)
    await rich(store)
    runs = [row.run for row in await store.runs(RunQuery(limit=1000))]
    run = runs[which % len(runs)]
    trail = Trail(run, Around(), Look(store.get))
    spans: list[Span] = []
    for event in (await chain(store, run))[: cut + 1]:
        spans += trail.take(event)
    check(spans + trail.rest())


async def test_what_a_deleted_parent_spawned_stands_alone():
    store = MemoryStore()
    await recorded(store)
    trail = Trail("boss.1", Around(), Look(store.get))
    spans = [span for event in await chain(store, "boss.1") for span in trail.take(event)]
    check(spans + trail.rest())
