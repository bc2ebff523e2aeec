"""Spans of runs in a store: late from their whole chains, or live from events as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from holdfast.explain.past import chain
from holdfast.explain.spans import Around, Edge, Edges, Look, Trail
from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.values.errors import NotFound
from holdfast.values.spans import Place, Span

_KEPT = 1000


class Traces:
    """Makes spans; remembers where the spans of lately read runs are, for what refers to them."""

    def __init__(self, store: Store, look: Look) -> None:
        self._store = store
        self._look = look
        self._read: dict[str, _Known] = {}
        self._live: dict[str, tuple[Trail, int]] = {}

    async def run(self, run: str) -> list[Span]:
        """All spans of a run, with that of the run itself as far as it came."""
        trail, spans = await self._follow(run, None, self._look.edges)
        self._remember(run, trail)
        return spans + trail.rest()

    async def take(self, event: Event) -> list[Span]:
        """The spans that a new event ends. Events of one run must come in order."""
        trail, seen = self._live.pop(event.run, (None, -1))
        if trail is None:
            trail, _ = await self._follow(event.run, event.pos)
        elif event.pos <= seen:
            return []
        sources: Iterable[Edge] = ()
        if self._look.edges is not None and trail.leaves(event):
            events = await chain(self._store, event.run)
            sources = self._look.edges([one for one in events if one.pos <= event.pos])
        spans = trail.take(event, sources)
        if event.kind != "run.ended":  # later news reads the run again
            self._live[event.run] = (trail, event.pos)
        while len(self._live) > _KEPT:
            del self._live[next(iter(self._live))]
        return spans

    async def _follow(
        self, run: str, stop: int | None, edges: Edges | None = None
    ) -> tuple[Trail, list[Span]]:
        trail = Trail(run, await self._around(run), self._look)
        spans: list[Span] = []
        events = await chain(self._store, run)
        for at, event in enumerate(events):
            if stop is not None and event.pos >= stop:
                break
            sources: Iterable[Edge] = ()
            if edges is not None and trail.leaves(event):
                sources = edges(events[: at + 1])
            spans += trail.take(event, sources)
        return trail, spans

    async def _around(self, run: str) -> Around:
        row = await self._store.run(run)
        try:
            if row.fork_of:
                source = await self._known(row.fork_of, row.fork_pos)
                return Around(None, {pos: place for pos, place in source.places.items()
                                     if pos <= row.fork_pos})  # fmt: skip
            if row.parent:
                parent = await self._known(row.parent, row.parent_key)
                begun = parent.places.get(min(parent.places, default=-1))
                return Around(parent.steps.get(row.parent_key, begun))
        except NotFound:
            pass  # it was deleted: what it spawned stands alone
        return Around()

    async def _known(self, run: str, wanted: int | str) -> _Known:
        """Where the spans of a run are, with that of event or step ``wanted``: a run that goes on
        is read again for what it did not have yet."""
        found = self._read.get(run)
        if found is None or (wanted not in found.places and wanted not in found.steps):
            trail, _ = await self._follow(run, None)
            found = self._remember(run, trail)
        return found

    def _remember(self, run: str, trail: Trail) -> _Known:
        found = self._read[run] = _Known(
            dict(trail.places), {key: place for key, (_, place) in trail.steps.items()}
        )
        while len(self._read) > _KEPT:
            del self._read[next(iter(self._read))]
        return found


class _Known(NamedTuple):
    """Where the spans of a run are: by position, by step."""

    places: dict[Any, Place]
    steps: dict[Any, Place]
