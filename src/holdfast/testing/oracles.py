"""What must hold of every journal, whatever happened.

`Watch` looks at each event as it is committed and at each effect as it happens; `everything` looks
at a store at rest.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from holdfast.engine.declare import Agent
from holdfast.engine.replay import replay
from holdfast.journal.events import Event, body_of, event_id, payload_hash
from holdfast.journal.like import is_short
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow, fold_run
from holdfast.testing.outside import Effect, Outside
from holdfast.values.errors import HoldfastError

LATER = frozenset({"signal.received", "approval.given", "finding.added", "branch.merged"})
"""What may follow the end of a run."""


class Watch:
    """``problems`` grows with every broken promise, each said in a sentence."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.rows: dict[str, RunRow] = {}
        self._heads: dict[str, Event] = {}
        self._ids: set[str] = set()
        self._settled: set[tuple[str, int, str]] = set()
        self._segment: dict[str, int] = defaultdict(int)
        self._plans: dict[tuple[str, int, str], int] = {}
        self._once: set[tuple[str, int, str, int]] = set()
        self._seq = 0

    def see(self, event: Event) -> None:
        """One more event, in commit order."""
        self._chain(event)
        self._outcome(event)
        self._fold(event)
        self._heads[event.run] = event
        self._ids.add(event.id)

    def did(self, effect: Effect) -> None:
        """An effect happens now: a plan for it must be durable, and a ``once`` plan unused."""
        if effect.kind not in ("idempotent", "once") or not effect.run:
            return
        segment, _, key = effect.step.rpartition(":")  # "3.1", or "2:3.1" in segment 2
        place = (effect.run, int(segment or 1), key)
        if self._plans.get(place, 0) < effect.attempt:
            self.problems.append(f"{effect} was performed without a durable plan")
        if effect.kind == "once":
            if (*place, effect.attempt) in self._once:
                self.problems.append(f"{effect} was performed twice under one plan")
            self._once.add((*place, effect.attempt))

    def _chain(self, event: Event) -> None:
        """Each event names the one before it, is named by its own hash, without gaps."""
        where = f"{event.run}#{event.pos}"
        if self._seq and event.seq != self._seq + 1:
            self.problems.append(f"{where}: seq {event.seq} follows {self._seq}")
        self._seq = event.seq
        before = self._heads.get(event.run)
        if before is not None and (event.parent, event.pos) != (before.id, before.pos + 1):
            self.problems.append(f"{where} does not follow #{before.pos}")
        if before is None and event.parent and event.parent not in self._ids:
            self.problems.append(f"{where} begins at an unknown event")
        if event.args is None or not is_short(event.args):
            wanted = event_id(event, payload_hash(event.args), payload_hash(event.value))
            if wanted != event.id:
                self.problems.append(f"{where}: its hash is {wanted}, it is named {event.id}")

    def _outcome(self, event: Event) -> None:
        """At most one outcome for each step of a segment; nothing of a run's own after its end."""
        run, where = event.run, f"{event.run}#{event.pos}"
        row = self.rows.get(run)
        if row is not None and row.ended and event.kind not in LATER:
            self.problems.append(f"{where}: {event.kind} after the end")
        if event.kind == "run.started":
            self._segment[run] += 1
        elif event.kind == "step.planned":
            body = body_of(event)
            self._plans[run, self._segment[run], body.key] = body.attempt
            if body.of:  # it publishes what was held there, as the effect of that step
                first, _, place = body.of.partition("@")
                segment, _, key = place.rpartition(":")
                at = (first, int(segment or 1), key)
                self._plans[at] = max(self._plans.get(at, 0), body.attempt)
        elif event.kind == "step.settled":
            place = (run, self._segment[run], body_of(event).key)
            if place in self._settled:
                self.problems.append(f"{where}: step {place[2]} has a second outcome")
            self._settled.add(place)

    def _fold(self, event: Event) -> None:
        row = self.rows.get(event.run)
        if row is None and event.kind == "run.started" and body_of(event).fork_of:
            row = self.rows.get(body_of(event).fork_of)
        new = fold_run(row, event)
        if new is not None:
            self.rows[event.run] = new

    async def compare(self, store: Store) -> None:
        """The rows that the store keeps are the rows that folding its events gives."""
        for run, row in self.rows.items():
            kept, folded = _comparable(await store.run(run)), _comparable(row)
            if kept != folded:
                self.problems.append(f"row of {run}: the store has {kept}, its events say {folded}")


def _comparable(row: RunRow) -> RunRow:
    """A row without its lease and number, which the store keeps and does not fold."""
    return msgspec.structs.replace(row, owner="", epoch=0, number=0)


async def all_events(store: Store) -> list[Event]:
    """Everything that was ever committed, in commit order, each with its parent."""
    found: list[Event] = []
    for row in await store.runs(RunQuery(limit=1_000_000)):
        start = row.fork_pos + 1 if row.fork_of else 0
        found += await store.read(row.run, start)
    return sorted(found, key=lambda event: event.seq)


async def replays(store: Store, programs: dict[str, Agent[..., Any]]) -> list[str]:
    """Every run reproduces from its journal under its program."""
    problems: list[str] = []
    for row in await store.runs(RunQuery(limit=1_000_000)):
        if row.door:
            continue  # nothing replays a guest
        try:
            await replay(store, row.run, programs[row.agent])
        except HoldfastError as error:
            diff = getattr(error, "diff", "")
            problems.append(f"replay of {row.run}: {type(error).__name__}: {error} {diff}")
    return problems


async def everything(
    store: Store, outside: Outside, programs: dict[str, Agent[..., Any]]
) -> list[str]:
    """What is broken in a store at rest: chains, outcomes, rows, promises about effects, replay."""
    watch = Watch()
    for event in await all_events(store):
        watch.see(event)
    await watch.compare(store)
    return [*watch.problems, *outside.broken_promises(), *await replays(store, programs)]
