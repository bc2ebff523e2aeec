"""A run's recorded past, read in one go or event by event, in the form that commands show.

Arguments may be stored as a continuation of an earlier step's; `Recall` gives them whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from holdfast.engine.history import History, Step, acted_with
from holdfast.explain.telling import Fetch, action, plain, struct
from holdfast.journal.events import ApprovalAsked, Event, body_of
from holdfast.journal.like import is_short
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow, Wait
from holdfast.values import limits
from holdfast.values.errors import NotFound
from holdfast.world import EMPTY


class Moment(msgspec.Struct):
    """One event, with what it means: its decoded body, the history of its segment up to and with
    it, the step it belongs to, and whether the world changed."""

    event: Event
    body: Any
    history: History
    step: Step | None
    moved: bool
    segment: int

    @property
    def args(self) -> bytes | None:
        """The whole arguments, if this event carries any."""
        if self.event.args is None or self.step is None:
            return self.event.args
        return self.step.args


async def in_flight(store: Store) -> list[RunRow]:
    """Rows of the runs that have not ended."""
    found: list[RunRow] = []
    for status in ("running", "waiting"):
        before = 0
        while page := await store.runs(RunQuery(1000, before, status)):
            found += page
            before = page[-1].number
    return found


async def chain(store: Store, run: str) -> list[Event]:
    """The whole chain of a run, through the runs it forked from."""
    stop = (await store.head(run)).pos + 1
    found: list[Event] = []
    for start in range(0, stop, limits.READ_PAGE_EVENTS):
        found += await store.read(run, start, min(stop, start + limits.READ_PAGE_EVENTS))
    return found


def moments(events: list[Event]) -> Iterator[Moment]:
    """Events with their meaning. A new segment begins a new history; a fork's start does not."""
    history, world, segment = History(), "", 0
    for event in events:
        body = body_of(event)
        if event.kind == "run.started" and not body.fork_of:
            history, segment = History(), segment + 1
        history.extend((event,))
        key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")
        step = history.steps.get(key) if key else None
        yield Moment(event, body, history, step, bool(world) and event.world != world, segment)
        world = event.world


async def find_step(store: Store, run: str, key: str) -> tuple[Step, list[Moment]]:
    """The newest step with that key, and the events about it."""
    found: list[Moment] = []
    for moment in moments(await chain(store, run)):
        if moment.step is not None and moment.step.key == key:
            if found and found[-1].step is not moment.step:
                found.clear()
            found.append(moment)
    if not found or found[-1].step is None:
        raise NotFound(f"run {run} has no step {key!r}; `holdfast show {run}` lists them")
    return found[-1].step, found


async def question(store: Store, row: RunRow, wait: Wait) -> ApprovalAsked | None:
    """The whole question of which a row shows the text."""
    start = row.segments[-1] if row.segments else 0
    stop = (await store.head(row.run)).pos + 1
    while stop > start:  # newest first: it was asked lately
        first = max(start, stop - limits.READ_PAGE_EVENTS)
        for event in reversed(await store.read(row.run, first, stop)):
            if event.kind == "approval.asked":
                body: ApprovalAsked = body_of(event)
                if body.key == wait.key and body.digest == wait.digest:
                    return body
        stop = first
    return None


async def world_at(store: Store, row: RunRow, key: str) -> str:
    """The root of a run's world, after step ``key`` or now; before it had one: the empty world."""
    if key in ("0", "start"):
        (event,) = await store.read(row.run, 0, 1)
        world = event.world
    elif key:
        step, about = await find_step(store, row.run, key)
        world = step.world_after or about[-1].event.world
    else:
        world = (await store.head(row.run)).world
    return world or EMPTY


class Recall:
    """Completes arguments that continue an earlier step's, for events that pass by in any order of
    runs; each run's history is read once and caught up with when it is needed again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._histories: dict[str, History] = {}

    async def args(self, event: Event) -> bytes | None:
        """The whole arguments of an event."""
        if event.kind in ("run.started", "run.ended"):
            self._histories.pop(event.run, None)
        if event.args is None or not is_short(event.args):
            return event.args
        history = self._histories.get(event.run)
        if history is None:
            row = await self._store.run(event.run)
            history = self._histories[event.run] = History()
            history.pos = max((pos for pos in row.segments if pos <= event.pos), default=0) - 1
        if history.pos < event.pos:
            history.extend(await self._store.read(event.run, history.pos + 1, event.pos + 1))
        return history.steps[body_of(event).key].args


def event_document(event: Event, args: bytes | None, fetch: Fetch) -> dict[str, Any]:
    """An event as JSON: every field, with payloads whole."""
    return {
        "seq": event.seq,
        "run": event.run,
        "pos": event.pos,
        "id": event.id,
        "kind": event.kind,
        "at": event.at,
        "world": event.world,
        "body": msgspec.json.decode(event.body),
        "args": plain(args, fetch),
        "value": plain(event.value, fetch),
    }


def step_document(
    step: Step,
    about: list[Moment],
    run: str,
    fetch: Fetch,
    shown: Callable[[bytes | None, Fetch], Any] = plain,
) -> dict[str, Any]:
    """A step of a run as JSON: what it asked for, what was decided, and how it ended; ``shown``:
    how payloads are."""
    plan, settled, acted = step.plan, step.settled, acted_with(step)
    bodies = [(moment.event, moment.body) for moment in about]
    verdict = next((b.verdict for _, b in bodies if getattr(b, "verdict", None)), None)
    return {
        "run": run,
        "step": step.key,
        "plan": struct(plan),
        "args": shown(step.args, fetch),
        "action": action(plan),
        "due": step.planned.due if step.planned else 0,
        "status": settled.status if settled else "open",
        "value": shown(step.value, fetch),
        "error": struct(settled.error) if settled else None,
        "verdict": struct(verdict),
        "attempts": [
            {"at": event.at, **msgspec.json.decode(event.body)}
            for event, _ in bodies
            if event.kind == "step.planned"
        ],
        "approvals": [
            {"at": event.at, "kind": event.kind, **msgspec.json.decode(event.body),
             "value": shown(event.value, fetch)}
            for event, _ in bodies
            if event.kind in ("approval.asked", "approval.given")
        ],
        "changed": shown(acted, fetch) if acted is not step.args else None,
        "events": [event.pos for event, _ in bodies],
        "took": settled.took if settled else 0,
        "origin": settled.origin if settled else "",
        "of": settled.of if settled else "",
        "branch": settled.branch if settled else "",
        "settled_at": step.settled_at,
        "world_before": step.world_before,
        "world_after": step.world_after,
    }  # fmt: skip
