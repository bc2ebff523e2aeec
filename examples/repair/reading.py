"""What the journal says about a run of the demo: all that is shown is read from there."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.repair import suite
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    BranchMerged,
    Event,
    RunEnded,
    SignalReceived,
    StepPlanned,
    StepSettled,
    Verdict,
    body_of,
)
from holdfast.journal.store import Store
from holdfast.values.canon import unpack
from holdfast.world import Stage, diff, read_file, unified

COUNTED = frozenset({"run_tests", "propose", "ask_model", "publish"})
"""Tools that note in a file beside the journal when they are really performed."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened: when (ms), where in the run, which action, in words."""

    at: int
    seq: int
    key: str
    name: str
    text: str
    trial: bool = False
    """Whether it is the end of a candidate."""
    passed: bool = False
    """Whether that candidate passes all tests."""


@dataclass
class Journal:
    """The events of a run and of the runs that it spawned, read as they come."""

    store: Store
    run: str
    events: list[Event] = field(default_factory=list[Event])
    _seq: int = 0
    _names: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _inputs: dict[str, Any] = field(default_factory=dict[str, Any])

    async def news(self) -> list[Line]:
        """Read on; what is new, in words."""
        lines: list[Line] = []
        while events := await self.store.tail(self._seq):
            self._seq = events[-1].seq
            mine = [one for one in events if one.run.partition(".")[0] == self.run]
            self.events += mine
            lines += [line for event in mine for line in self._lines(event)]
        return lines

    def _lines(self, event: Event) -> Iterable[Line]:
        body = body_of(event)
        if event.run != self.run:
            if event.kind == "run.started":
                self._inputs[event.run] = self._value(event.args)
            return
        said: tuple[str, str, str] | None = None
        if isinstance(body, StepSettled | StepPlanned) and body.plan is not None:
            self._names[event.run, body.key] = body.plan.name
        if isinstance(body, StepSettled):
            name = self._names.get((event.run, body.key), "")
            said = self._settled(event, body, name)
        elif isinstance(body, ApprovalAsked):
            verdict = body.verdict or Verdict("escalate")
            self._names[event.run, body.key] = body.plan.name if body.plan else ""
            rules = ", ".join(verdict.rules)
            text = f"rule {rules} says {verdict.decision}: a person is asked"
            said = (body.key, self._names[event.run, body.key], text)
        elif isinstance(body, ApprovalGiven):
            name = self._names.get((event.run, body.key), "")
            word = {"approve": "approved", "deny": "refused"}.get(body.decision, body.decision)
            said = (body.key, name, f"{word} by {body.by}")
        elif isinstance(body, BranchMerged):
            said = (body.key, "merge", f"the world of {body.source} is now this run's world")
        elif isinstance(body, RunEnded):
            said = ("", "end", body.status)
        elif isinstance(body, SignalReceived) and body.name.startswith("$child:"):
            yield self._trial(event, body.name.partition(":")[2])
        if said is not None:
            yield Line(event.at, event.seq, *said)

    def _settled(self, event: Event, body: StepSettled, name: str) -> tuple[str, str, str] | None:
        if name not in COUNTED or (body.status == "refused" and body.origin == "person"):
            return None  # the person's answer has said so already
        if body.error is not None:
            return body.key, name, body.error.text.splitlines()[0].removeprefix(f"{name}: ")
        origin = {"reconcile": " (found by looking: it had happened before the crash)"}
        extra = origin.get(body.origin, "")
        value = self._value(event.value)
        words: dict[str, Callable[[Any], str]] = {
            "run_tests": lambda text: _tests(suite.read(text)),
            "propose": lambda made: f"{len(made)} candidate edits, most plausible first",
            "ask_model": lambda text: f"an answer of {len(text)} characters",
            "publish": lambda commit: f"commit {commit[:12]}",
        }
        return body.key, name, words[name](value) + extra

    def _trial(self, event: Event, child: str) -> Line:
        news = self._value(event.value)
        passed = news["status"] == "done" and bool(news["value"]["whole"])
        asked = self._inputs.get(child) or {}
        edit = edited(str(asked.get("old", "")), str(asked.get("new", "")))
        text = f"{asked.get('path', '')}: {edit} (run {child})"
        return Line(event.at, event.seq, "", "candidate", text, trial=True, passed=passed)

    def _value(self, payload: bytes | None) -> Any:
        return None if payload is None else unpack(payload, self.store.get)

    # ---- counting ----------------------------------------------------------------------------

    def trials(self) -> int:
        """How many candidates have been tried to the end."""
        return sum(event.kind == "run.ended" and event.run != self.run for event in self.events)

    def runs(self) -> int:
        """How many runs there are: the agent's own and one for each candidate."""
        return sum(event.kind == "run.started" for event in self.events)

    def steps(self) -> Counter[str]:
        """How many steps have an outcome, by the name of their action."""
        names: dict[tuple[str, str], str] = {}
        counted: Counter[str] = Counter()
        for event in self.events:
            if event.kind in ("step.settled", "step.planned", "approval.asked"):
                body = body_of(event)
                if body.plan is not None:
                    names[event.run, body.key] = body.plan.name
                if isinstance(body, StepSettled):
                    counted[names.get((event.run, body.key), "")] += 1
        return counted

    def performed_steps(self) -> int:
        """How many steps of counted tools were performed and recorded."""
        found = self.steps()
        return sum(found[name] for name in COUNTED) - self._not_performed()

    def _not_performed(self) -> int:
        """Steps of counted tools whose outcome came from elsewhere: a refusal."""
        return sum(
            body.status == "refused"
            for body in map(body_of, self.events)
            if isinstance(body, StepSettled)
        )

    def verdict(self) -> Verdict | None:
        """The verdict on what a person was asked about."""
        asked = [b for b in map(body_of, self.events) if isinstance(b, ApprovalAsked)]
        return asked[-1].verdict if asked else None

    def question(self) -> tuple[str, dict[str, Any]]:
        """The action that a person was asked about: its name and its arguments."""
        asked = [event for event in self.events if event.kind == "approval.asked"]
        if not asked:
            return "", {}
        plan = body_of(asked[-1]).plan
        return plan.name if plan else "", self._value(asked[-1].args) or {}

    def open_question(self) -> bool:
        """Whether the agent waits for a person."""
        kinds = [one.kind for one in self.events if one.run == self.run]
        return kinds.count("approval.asked") > kinds.count("approval.given")

    def end(self) -> tuple[RunEnded, Any] | None:
        """How the agent's run ended, and with what; None while it has not."""
        for event in self.events:
            if event.kind == "run.ended" and event.run == self.run:
                return body_of(event), self._value(event.value)
        return None

    async def changes(self) -> str:
        """What the agent did to its world from beginning to end, as a patch."""
        stage = Stage(self.store.get)
        first = (await self.store.read(self.run, 0, 1))[0].world
        return unified(stage, diff(stage, first, (await self.store.head(self.run)).world))

    async def text(self, path: str) -> str:
        """A file of the agent's world as it is now."""
        root = (await self.store.head(self.run)).world
        return read_file(Stage(self.store.get), root, path).decode()

    def kept(self, before: Sequence[Event]) -> bool:
        """Whether every event of an earlier reading is still there, the same to the last bit."""
        now = {(event.run, event.pos): event.id for event in self.events}
        return all(now.get((event.run, event.pos)) == event.id for event in before)


def _tests(report: suite.Report) -> str:
    ran = f"{len(report.outcomes)} tests ran"
    traced = " with coverage" if report.lines else ""
    if report.broken:
        return f"{report.broken[0]} cannot be imported"
    return f"{ran}{traced}, {len(report.failing)} failed"


def performed(count: Path) -> Counter[str]:
    """How often tools were really performed, by process."""
    found: Counter[str] = Counter()
    if count.is_file():
        found.update(line.split()[2] for line in count.read_text().splitlines() if line)
    return found


def edited(old: str, new: str) -> str:
    """What an edit does, shown by the lines that differ."""
    before, after = old.splitlines(), new.splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    was, became = (" / ".join(line.strip() for line in lines) for lines in (before, after))
    if not was:
        return f"`{became}` inserted"
    return f"`{was}` -> `{became}`" if became else f"`{was}` removed"


def journal_bytes(store: Path) -> int:
    """Size of the journal (without its write-ahead log, which is used over and over, and without
    checkouts, which may be deleted at any time)."""
    with contextlib.closing(sqlite3.connect(store / "journal.db")) as database:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)
