"""Links of spans to sources: late and live spans are the same."""

from __future__ import annotations

import msgspec

from holdfast.explain.carried import carried
from holdfast.explain.spans import Look
from holdfast.explain.traces import Traces
from holdfast.journal.events import Plan, RunEnded, RunStarted, StepPlanned, StepSettled
from holdfast.stores.memory import MemoryStore
from holdfast.values import limits
from tests.stores.scenes import Scene


async def _paid(store: MemoryStore) -> None:
    scene = Scene(store)
    await scene.add("r", RunStarted("boss"), args={"what": "pay the bill"})
    await scene.add("r", StepSettled("1", Plan("find")), args={"n": 1}, value="to 7781-2299 please")
    await scene.add("r", StepPlanned("2", Plan("pay", effect="once")), args={"to": "7781-2299"})
    await scene.add("r", StepSettled("2"), value="paid")
    await scene.add("r", RunEnded("done"))


async def test_x201_late_and_live_spans_have_the_same_links(monkeypatch):
    """X201."""
    store = MemoryStore()
    await _paid(store)
    look = Look(store.get, edges=carried(store.get))
    late = await Traces(store, look).run("r")
    live, traces = [], Traces(store, look)
    for event in await store.tail(0, 100):
        live += await traces.take(event)
    (pay,) = [span for span in late if span.name == "execute_tool pay"]
    (find,) = [span for span in late if span.name == "execute_tool find"]
    assert [(link.to, link.attributes) for link in pay.links] == [
        (find.place, {"why.edge": "carried", "why.path": "to"})
    ]
    assert not find.links
    assert [msgspec.to_builtins(one) for one in live] == [msgspec.to_builtins(one) for one in late]
    monkeypatch.setattr(limits, "EXPORT_WHY_EVENTS", 2)
    assert not any(span.links for span in await Traces(store, look).run("r"))
