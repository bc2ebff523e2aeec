"""Runs as events, written down without running anything: what readings are given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from holdfast.journal.events import (
    Event,
    Failure,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    StepSettled,
    Verdict,
    encode_body,
    kind_of,
)
from holdfast.values.canon import digest, encode
from holdfast.values.errors import NotFound


@dataclass(frozen=True)
class Did:
    """A step that a run took."""

    name: str
    args: Any = field(default_factory=dict)
    value: Any = None
    kind: str = "tool"
    decision: Any = "allow"
    status: Any = "value"
    task: str = ""
    usage: dict[str, float] = field(default_factory=dict)
    effect: str = "read"


def fetch(name: str) -> bytes:
    """Nothing is stored apart."""
    raise NotFound(f"no content {name}")


def recorded(
    steps: Iterable[Did], run: str = "a", *, result: Any = None, given: Any = None
) -> list[Event]:
    """The events of a run that took these steps, each with the next key of its task."""
    found: list[Event] = []

    def add(body: Any, args: Any = None, value: Any = None, *, bare: bool = False) -> None:
        pos = len(found)
        found.append(
            Event(
                pos, run, pos, digest(f"{run}{pos}".encode()), "", kind_of(body), 1000 + pos, "",
                encode_body(body), None if args is None else encode(args),
                None if bare else encode(value),
            )
        )  # fmt: skip

    add(RunStarted("agent", ref="agents.py:agent"), given or {}, bare=True)
    counts: dict[str, int] = {}
    for one in steps:
        counts[one.task] = counts.get(one.task, 0) + 1
        key = f"{one.task}.{counts[one.task]}" if one.task else str(counts[one.task])
        verdict = Verdict(one.decision, ("rule",), policy="p") if one.decision else None
        error = None if one.status in ("value", "held") else Failure("Oops", "it broke")
        plan = Plan(one.name, one.kind, one.effect)
        body = StepSettled(key, plan, verdict, one.status, error, took=5, usage=one.usage)
        add(body, one.args, one.value, bare=one.status != "value")
    add(RunEnded("done", steps=len(found) - 1), value=result)
    return found


def with_finding(events: list[Event], kind: str, value: Any, by: str) -> list[Event]:
    """The events, and one more: a finding about the last."""
    pos, run = len(events), events[-1].run
    body = FindingAdded(pos - 1, kind, by)
    event = Event(pos, run, pos, f"{pos}", "", "finding.added", 2000 + pos, "",
                  encode_body(body), None, encode(value))  # fmt: skip
    return [*events, event]
