"""Reading runs, their events and steps, and comparing them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.api.shown import EventLine, EventWhole, event_lines, event_whole, whole
from holdfast.api.ways import Ask, RunId, Way
from holdfast.engine.answers import ending
from holdfast.engine.held import Held, held_by
from holdfast.explain.compare import compare_runs
from holdfast.explain.comparison import Comparison
from holdfast.explain.past import find_step, step_document
from holdfast.journal.record import OWN
from holdfast.journal.store import RunQuery
from holdfast.journal.views import RunRow
from holdfast.values import limits
from holdfast.values.errors import NotFound

Limit = Annotated[int, Meta(ge=1, le=limits.API_ROWS)]
Place = Annotated[int, Meta(ge=0, le=2**53)]
Status = Literal["", "running", "waiting", "done", "failed", "cancelled", "branch"]


class RunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs. ``before``: the cursor of the page before."""

    agent: Annotated[str, Meta(max_length=200)] = ""
    status: Status = ""
    parent: Annotated[str, Meta(max_length=80)] = ""
    before: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    limit: Limit = 50


class Runs(msgspec.Struct, frozen=True):
    """A page of runs, newest first. ``next``: what to give as ``before`` for the next one, null
    at the end."""

    runs: list[RunRow]
    next: int | None


class RunWhole(msgspec.Struct, frozen=True):
    """A run. ``events``: how many there are; ``world``: the root of its world, "" for none;
    ``held``: what it holds; ``result``: what it returned, if it is done."""

    run: RunRow
    events: int
    world: str
    held: list[Held]
    result: Any


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events of a run: from position ``start`` on."""

    start: Place = 0
    limit: Limit = 100


class TailQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events of all runs: those behind ``after`` in the order of the store."""

    after: Place = 0
    limit: Limit = 100


class Events(msgspec.Struct, frozen=True):
    """A page of events, oldest first. ``next``: what to give as ``start`` (of all runs: as
    ``after``) for the next page, null at the end."""

    events: list[EventLine]
    next: int | None


class StepWhole(msgspec.Struct, frozen=True):
    """A step: what it asked for, what was decided by whom, how it ended. Times are ms, ``took``
    microseconds; ``changed``: arguments that a person put in the place of ``args``; ``events``:
    positions of the events about it."""

    run: str
    step: str
    plan: dict[str, Any] | None
    args: Any
    action: str
    due: int
    status: str
    value: Any
    error: dict[str, Any] | None
    verdict: dict[str, Any] | None
    attempts: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    changed: Any
    events: list[int]
    took: int
    origin: str
    of: str
    branch: str
    settled_at: int
    world_before: str
    world_after: str


class DiffQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The run to compare with."""

    other: RunId


async def _runs(ask: Ask) -> Any:
    query: RunsQuery = ask.query
    rows = await ask.site.store.runs(
        RunQuery(query.limit, query.before or 0, query.status, query.agent, query.parent)
    )
    shown = [row for row in rows if query.agent or row.run not in OWN]
    return Runs(shown, rows[-1].number if len(rows) == query.limit else None)


async def _run(ask: Ask) -> Any:
    store = ask.site.store
    row = await store.run(ask.path["run"])
    head = await store.head(row.run)
    held = await held_by(store, row.run) if row.holds or row.waits else ()
    result = None
    if row.status == "done":
        result = whole((await ending(store, row.run)).value, store.get)
    return RunWhole(row, head.pos + 1, head.world, list(held)[: limits.API_ROWS], result)


async def _events(ask: Ask) -> Any:
    store, query, run = ask.site.store, ask.query, ask.path["run"]
    last = (await store.head(run)).pos
    stop = min(last + 1, query.start + query.limit)
    events = await store.read(run, query.start, stop) if query.start <= last else []
    return Events(await event_lines(store, events), stop if stop <= last else None)


async def _tail(ask: Ask) -> Any:
    store, query = ask.site.store, ask.query
    events = await store.tail(query.after, query.limit)
    more = len(events) == query.limit
    return Events(await event_lines(store, events), events[-1].seq if more else None)


async def _event(ask: Ask) -> Any:
    store, run, pos = ask.site.store, ask.path["run"], ask.path["pos"]
    last = (await store.head(run)).pos
    if pos > last:
        raise NotFound(f"run {run} has no event #{pos}: its last is #{last}")
    (event,) = await store.read(run, pos, pos + 1)
    return await event_whole(store, event)


async def _step(ask: Ask) -> Any:
    store = ask.site.store
    row = await store.run(ask.path["run"])
    step, about = await find_step(store, row.run, ask.path["step"])
    return step_document(step, about, row.run, store.get, whole)


async def _diff(ask: Ask) -> Any:
    found = await compare_runs(ask.site.store, ask.path["run"], ask.query.other)
    differing = [pair for pair in found.pairs if pair.differs][: limits.API_ROWS]
    return msgspec.structs.replace(found, pairs=tuple(differing))


WAYS = [
    Way("GET", "/runs", "viewer", _runs, "List runs, newest first.", Runs, RunsQuery),
    Way("GET", "/runs/{run}", "viewer", _run, "One run.", RunWhole),
    Way("GET", "/runs/{run}/events", "viewer", _events, "Events of a run.", Events, EventsQuery),
    Way("GET", "/runs/{run}/events/{pos}", "viewer", _event, "One event, whole.", EventWhole),
    Way("GET", "/runs/{run}/steps/{step}", "viewer", _step, "One step, whole.", StepWhole),
    Way("GET", "/runs/{run}/diff", "viewer", _diff,
        "Compare two runs: the first steps that differ.", Comparison, DiffQuery),
    Way("GET", "/events", "viewer", _tail, "Events of all runs, as committed.", Events, TailQuery),
]  # fmt: skip
