"""Where the time of runs went: work, and waiting by cause.

A run does several things at once. Each millisecond of it belongs to the first of these that goes
on: a step that changes only the world (work), a model, a tool, a person, a signal, a timer, the
queue; what is left is the program's own work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from holdfast.journal.events import Event, Plan, StepPlanned, StepSettled

CAUSES: Final = ("model", "tool", "person", "signal", "timer", "queue")
"""What runs wait for, in the order in which they come first."""
_WORK = -1
_QUEUE = CAUSES.index("queue")
_PERFORMED = {"tool": CAUSES.index("tool"), "model": CAUSES.index("model")}
_WAITED = {"wait": CAUSES.index("timer"), "signal": CAUSES.index("signal")}
_PERSON = CAUSES.index("person")


class Times(msgspec.Struct, frozen=True):
    """The time of one run (ms) from its start to its end. ``work``: the program's own, with steps
    that change only its world; ``waits``: by cause; all of them together are ``wall`` exactly."""

    run: str
    wall: int
    work: int
    waits: dict[str, int]


class Wait(msgspec.Struct, frozen=True):
    """Waiting for one cause. ``ms``: in all runs; ``runs``: how many waited for it; ``share``: of
    their wall time."""

    cause: str
    ms: int
    runs: int
    share: float


class Handling(msgspec.Struct, frozen=True):
    """Handling time of runs that ended (ms). ``wall`` = ``work`` + all ``waits``; ``median`` and
    ``p95``: of a run's wall time."""

    runs: int
    wall: int
    work: int
    waits: tuple[Wait, ...]
    median: int
    p95: int


class _Open(msgspec.Struct, gc=False):
    """A step that has not settled: since when it is ``planned`` for, with its ``kind`` and when it
    is ``due``, since when a person is ``asked``, since when it could go on (``ready``)."""

    kind: str = ""
    planned: int = 0
    due: int = 0
    asked: int = 0
    ready: int = 0
    held: bool = False


class Spans(msgspec.Struct):
    """What went on in a run, and when, collected event by event. ``found``: start, end, and index
    of the cause; ``signals``: when those came, by position."""

    found: list[tuple[int, int, int]] = msgspec.field(default_factory=list)
    open: dict[str, _Open] = msgspec.field(default_factory=dict)
    signals: dict[int, int] = msgspec.field(default_factory=dict)

    def planned(self, event: Event, body: StepPlanned) -> None:
        """A step, a retry of it or a wait begins."""
        one = self.open.setdefault(body.key, _Open())
        self._answered(one, event.at)
        cause = _PERFORMED.get(body.plan.kind)
        if cause is not None and not body.held:
            if one.planned and body.attempt > 1:
                self._add(one.planned, event.at, cause)
            self._add(event.at, body.due, cause)  # until it is asked again
        one.kind, one.due, one.held = body.plan.kind, body.due, body.held
        one.planned = max(event.at, body.due) if cause is not None else event.at

    def asked(self, event: Event, body: Any) -> None:
        """A person is asked."""
        one = self.open.setdefault(body.key, _Open())
        if one.ready:
            self._answered(one, event.at)
        one.asked = one.asked or event.at

    def given(self, event: Event, body: Any) -> None:
        """A person answered; of several answers, the last one that counts is the decisive one."""
        one = self.open.get(body.key)
        if one is not None and one.asked:
            one.ready = event.at

    def settled(self, event: Event, body: StepSettled, plan: Plan) -> None:
        """A step has its outcome."""
        one = self.open.pop(body.key, None)
        if one is not None:
            self._answered(one, event.at)
            waited = _WAITED["signal"] if one.held else _WAITED.get(one.kind)
            if waited is not None:
                come = self.signals.get(body.cause, event.at) if body.cause else event.at
                if one.due and (not body.cause or waited == _WAITED["wait"]):
                    come = min(come, one.due)
                self._add(one.planned, come, waited)
                self._add(max(come, one.planned), event.at, _QUEUE)
            elif one.planned:
                self._add(one.planned, event.at, _QUEUE)
        if body.took >= 1000 and body.origin not in ("fork", "edit", "publish"):
            cause = _WORK if plan.effect == "world" else _PERFORMED.get(plan.kind, _WORK)
            self._add(event.at - body.took // 1000, event.at, cause)

    def ended(self, event: Event) -> None:
        """The run is over: what is open was waited for until now."""
        for one in self.open.values():
            self._answered(one, event.at)
            waited = _WAITED["signal"] if one.held else _WAITED.get(one.kind)
            if waited is not None:
                self._add(one.planned, event.at, waited)
        self.open = {}

    def _answered(self, one: _Open, now: int) -> None:
        """A step goes on, for which a person was asked."""
        if one.asked:
            self._add(one.asked, one.ready or now, _PERSON)
            if one.ready:
                self._add(one.ready, now, _QUEUE)
            one.asked = one.ready = 0

    def _add(self, start: int, end: int, cause: int) -> None:
        if end > start:
            self.found.append((start, end, cause))

    def divide(self, run: str, start: int, end: int) -> Times:
        """The time of a run from ``start`` to ``end``, divided.

        INVARIANT X82: work and all waits together are the wall time, to the millisecond.
        """
        end = max(start, end)
        marks: list[tuple[int, int, int]] = []
        for since, until, cause in self.found:
            first, last = max(start, since), min(end, until)
            if last > first:
                marks += ((first, 1, cause), (last, -1, cause))
        marks.sort()
        going, waits, at = [0] * (len(CAUSES) + 1), [0] * len(CAUSES), start
        for now, change, cause in marks:
            if now > at:
                top = next((each for each in range(-1, len(CAUSES)) if going[each]), _WORK)
                if top != _WORK:
                    waits[top] += now - at
                at = now
            going[cause] += change
        wall = end - start
        told = {cause: ms for cause, ms in zip(CAUSES, waits, strict=True) if ms}
        return Times(run, wall, wall - sum(waits), told)


def handling(times: Iterable[Times]) -> Handling:
    """The times of many runs together."""
    found = list(times)
    walls = sorted(one.wall for one in found)
    wall = sum(walls)
    waits: list[Wait] = []
    for cause in CAUSES:
        each = [one.waits[cause] for one in found if cause in one.waits]
        if each:
            waits.append(Wait(cause, sum(each), len(each), sum(each) / wall if wall else 0.0))
    waits.sort(key=lambda one: -one.ms)
    median = walls[(len(walls) - 1) // 2] if walls else 0
    p95 = walls[min(len(walls) - 1, len(walls) * 95 // 100)] if walls else 0
    return Handling(len(found), wall, sum(one.work for one in found), tuple(waits), median, p95)
