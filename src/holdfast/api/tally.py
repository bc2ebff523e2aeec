"""What is counted while a server runs, from the journal and from its own answers."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from holdfast.journal.events import Event, body_of
from holdfast.journal.store import Store
from holdfast.journal.views import ANOMALY
from holdfast.values import limits

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Series = tuple[str, tuple[tuple[str, str], ...]]
"""A name, and its labels."""


class Tally:
    """Counters since the server began, as Prometheus takes them."""

    def __init__(self) -> None:
        self.counts: dict[Series, float] = defaultdict(float)
        self.last = -1
        self._lock = asyncio.Lock()

    def answered(self, method: str, status: int) -> None:
        """A request was answered."""
        told = method if method in _METHODS else "other"
        self._add("http_requests_total", method=told, status=str(status))

    async def catch_up(self, store: Store) -> None:
        """Count what was appended since the last time; the first time, only find the place."""
        async with self._lock:
            if self.last < 0:
                self.last = await store.last_seq()
            while events := await store.tail(self.last, limits.READ_PAGE_EVENTS):
                for event in events:
                    self._event(event)
                self.last = events[-1].seq
                await asyncio.sleep(0)  # others' requests have their turn between pages

    def _add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.counts[name, tuple(labels.items())] += amount

    def _event(self, event: Event) -> None:
        self._add("events_total", kind=event.kind)
        if event.kind not in ("step.planned", "step.settled", "run.ended", "finding.added"):
            return
        body = body_of(event)
        verdict = getattr(body, "verdict", None)
        if verdict is not None:
            self._add("verdicts_total", decision=verdict.decision)
        if event.kind == "step.settled":
            kind = body.plan.kind if body.plan is not None else "planned"
            self._add("steps_total", kind=kind, status=body.status)
            for unit, amount in body.usage.items():
                self._add("used_total", float(amount), unit=unit)
        elif event.kind == "run.ended":
            self._add("runs_ended_total", status=body.status)
        elif event.kind == "finding.added" and body.type == ANOMALY:
            self._add("alarms_total")
