"""The steps that a run took, with what comparing them needs: where, when, and what tells them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.engine.history import History, Step
from holdfast.explain.align import Mark
from holdfast.explain.comparison import Place, Side
from holdfast.explain.outcome import ended_value, score_of
from holdfast.explain.past import moments
from holdfast.explain.telling import Fetch
from holdfast.journal.events import Event, RunStarted, body_of
from holdfast.journal.views import CHILD
from holdfast.values.canon import decode, digest
from holdfast.values.errors import Corrupt

_NAMING = ("spawn", "merge", "signal", "publish")
"""Kinds of steps that name runs, which are others in every run though they stand for the same."""
_LATER = ("finding.added", "checkpoint.signed")
"""Events that say nothing of how long a run took."""
_WAITS = ("wait", "signal", "ask")


class Taken(msgspec.Struct):
    """A step of a run. ``first``, ``settled``: positions of its first event and its outcome (-1:
    none); ``began``: time of the first (ms); ``world``: root before it; ``waited``: it waited for
    a person, a signal, a timer or a publication; ``whole``: what tells what it asked for, as its
    `Mark` has it."""

    segment: int
    step: Step
    first: int
    began: int
    world: str
    settled: int = -1
    waited: bool = False
    whole: str = ""

    @property
    def place(self) -> Place:
        """Where it is in its run."""
        done = self.step.settled
        status, origin = ("open", "") if done is None else (done.status, done.origin)
        pos = self.settled if self.settled >= 0 else self.first
        return Place(self.segment, self.step.key, pos, status, origin)


class Past(msgspec.Struct):
    """A run as comparing reads it: its steps in the order they were begun. ``input``: what its
    program was given; ``started``: the newest start, of the run itself or of its segment."""

    run: str
    steps: list[Taken]
    history: History
    started: RunStarted
    names: re.Pattern[bytes]
    world: str = ""
    span_ms: int = 0
    newest: int = 0

    def mark(self, taken: Taken) -> Mark:
        """What tells a step, but for the names of this very run; noted in it."""
        step = taken.step
        plan = step.plan
        action = "" if plan is None else f"{plan.kind} {plan.name}"
        if plan is not None and (plan.kind == "merge" or plan.name.startswith(CHILD)):
            action = self.names.sub(b"*", action.encode()).decode()
        taken.whole = digest(b"\0".join((action.encode(), self.content(step, step.args))))
        return Mark((taken.segment, step.key.rpartition(".")[0]), action, taken.whole)

    def content(self, step: Step, skeleton: bytes | None) -> bytes:
        """Arguments or value, but for the names of this very run."""
        if skeleton is None or step.plan is None or step.plan.kind not in _NAMING:
            return skeleton or b""
        return self.names.sub(b"*", skeleton)

    def ended(self, step: Step) -> Any:
        """How a step ended, to be compared."""
        settled = step.settled
        if settled is None:
            held = step.planned is not None and step.planned.held
            return "held" if held else "open"
        value = self.content(step, step.value)
        plan = step.plan
        if plan is not None and (plan.kind == "spawn" or plan.name.startswith(CHILD)):
            return settled.status, settled.error, _of_child(value)
        return settled.status, settled.error, value


def read(events: Sequence[Event]) -> Past:
    """Read the whole chain of a run; `Corrupt` if it has no beginning."""
    if not events or events[0].kind != "run.started":
        raise Corrupt("a run without its beginning cannot be compared")
    found: dict[tuple[int, str], Taken] = {}
    past, world = History(), ""
    span = newest = 0
    for moment in moments(list(events)):
        event, step = moment.event, moment.step
        past = moment.history
        if step is not None:
            taken = found.get((moment.segment, step.key))
            if taken is None or taken.step is not step:
                taken = Taken(moment.segment, step, event.pos, event.at, world)
                found[moment.segment, step.key] = taken
            _take(taken, event, moment.body)
        world = event.world
        if event.kind not in _LATER:
            begun = event.kind == "run.started" and moment.body.fork_of
            # INVARIANT X24: the time between what a fork shares and the fork itself is nobody's
            span += 0 if begun or not newest else max(0, event.at - newest)
            newest = event.at
    names = sorted({event.run for event in events}, key=len, reverse=True)
    pattern = b"(?<![\\w.-])(?:" + b"|".join(re.escape(name.encode()) for name in names)
    started: RunStarted = past.started or body_of(events[0])
    return Past(
        events[-1].run, list(found.values()), past, started, re.compile(pattern + b")(?![\\w-])"),
        world, span, newest,
    )  # fmt: skip


def _take(taken: Taken, event: Event, body: Any) -> None:
    kind = event.kind
    plan = taken.step.plan
    taken.waited |= kind == "approval.asked" or (plan is not None and plan.kind in _WAITS)
    taken.waited |= kind == "step.planned" and bool(body.due or body.held)
    if kind == "step.settled":
        taken.settled = event.pos


def _of_child(value: bytes) -> Any:
    """What a step says of a child, but for what hangs on who looked: in a fork the child holds, and
    its news is looked for, with its label."""
    plain = decode(value) if value else None
    if not isinstance(plain, dict):
        return value
    return {name: one for name, one in plain.items() if name not in ("holds", "label", "narrow")}


def side(past: Past, events: Sequence[Event], fetch: Fetch) -> Side:
    """One run of a comparison."""
    ended = past.history.ended
    used: dict[str, float] = {}
    work = 0
    for taken in past.steps:
        settled = taken.step.settled
        if settled is not None:
            work += settled.took
            for unit, much in settled.usage.items():
                used[unit] = used.get(unit, 0) + much
    forks = [body for event in events
             if event.kind == "run.started" and event.run == past.run
             and (body := body_of(event)).fork_of]  # fmt: skip
    fork = forks[0] if forks else None
    return Side(
        run=past.run,
        agent=past.started.agent,
        status=ended.status if ended is not None else "open",
        steps=len(past.steps),
        value=ended_value(past.history, fetch) if ended is not None else None,
        used=used,
        work_us=work,
        waited_ms=_waited(past),
        span_ms=past.span_ms,
        holds=past.started.holds,
        fork_of=fork.fork_of if fork is not None else "",
        fork_pos=fork.fork_pos if fork is not None else 0,
        score=score_of(events, fetch),
    )


def _waited(past: Past) -> int:
    """How long at least one step waited: waits that overlap count once."""
    spans = sorted(
        (one.began, one.step.settled_at if one.step.settled is not None else past.newest)
        for one in past.steps
        if one.waited
    )
    total, until = 0, 0
    for start, stop in spans:
        total += max(0, stop - max(start, until))
        until = max(until, stop)
    return total
