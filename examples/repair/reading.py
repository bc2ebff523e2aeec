"""What the journal says about a run of the demo: all that is shown is read from there."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.repair import suite
from examples.repair.agent import notes
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
from holdfast.runtime import Runtime
from holdfast.tools.sql import open_at
from holdfast.values.canon import digest, unpack
from holdfast.world import Stage, diff, unified

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
    """Whether that candidate passes the tests that failed."""


@dataclass
class Journal:
    """The events of a run and of the runs that it spawned, read as they come."""

    runtime: Runtime
    run: str
    events: list[Event] = field(default_factory=list[Event])
    _seq: int = 0
    _names: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    _merging: str = ""
    """The run whose world is being merged, from its merge into a branch on."""

    @property
    def store(self) -> Store:
        """Where it is read from."""
        return self.runtime.store

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
        elif isinstance(body, BranchMerged) and not body.source.startswith("@"):
            self._merging = body.source
            said = (body.key, "merge", f"the world of {body.source}, into a branch to be checked")
        elif isinstance(body, BranchMerged) and not body.into:
            said = (body.key, "merge", f"checked: the world is now that of {self._merging}")
        elif isinstance(body, RunEnded):
            said = ("", "end", body.status)
        elif isinstance(body, SignalReceived) and body.name.startswith("$child:"):
            yield from self._trial(event, body.name.partition(":")[2])
        if said is not None:
            yield Line(event.at, event.seq, *said)

    def _settled(self, event: Event, body: StepSettled, name: str) -> tuple[str, str, str] | None:
        if name not in COUNTED or (body.status == "refused" and body.origin == "person"):
            return None  # the person's answer has said so already
        if _was_dropped(body):
            return None  # the check of a candidate, when another one had been found
        if body.error is not None:
            return body.key, name, body.error.text.splitlines()[0].removeprefix(f"{name}: ")
        if body.status == "held":
            return body.key, name, "held until that merge stands"
        origin = {"reconcile": " (found by looking: it had happened before the crash)"}
        extra = origin.get(body.origin, "")
        value = self._value(event.value)
        words: dict[str, Callable[[Any], str]] = {
            "run_tests": lambda result: self._tests(result, body.branch),
            "propose": lambda made: f"{len(made)} candidate edits, most plausible first",
            "ask_model": lambda text: f"an answer of {len(text)} characters",
            "publish": lambda stat: "a commit: " + stat.splitlines()[-1].strip(),
        }
        return body.key, name, words[name](value) + extra

    def _tests(self, result: dict[str, Any], branch: str) -> str:
        report = suite.read(result["stdout"])
        where = " on the merged candidate" if self._merging else " on a candidate"
        text = f"{len(report.outcomes)} tests ran{where if branch else ''}"
        if report.lines:
            text += " with coverage"
        failed = f"{len(report.failing)} failed"
        if report.broken:
            failed = f"{report.broken[0]} cannot be imported"
        return f"{text}, {failed}; sandbox: {result['sandbox']}"

    def _trial(self, event: Event, child: str) -> Iterator[Line]:
        news = self._value(event.value)
        if news["status"] == "cancelled":
            return  # another one had been found
        passed = news["status"] == "done" and bool(news["value"]["passes"])
        edit = self._inputs[child]["edit"]
        text = f"{edited(edit['old'], edit['new'])} ({child})"
        yield Line(event.at, event.seq, "", "candidate", text, trial=True, passed=passed)

    def _value(self, payload: bytes | None) -> Any:
        return None if payload is None else unpack(payload, self.store.get)

    # ---- counting ----------------------------------------------------------------------------

    def trials(self) -> int:
        """How many candidates have been tried to the end."""
        ended = [e for e in self.events if e.kind == "run.ended" and e.run != self.run]
        return sum(body_of(event).status != "cancelled" for event in ended)

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

    def recorded(self) -> frozenset[str]:
        """The idempotency keys of the steps of counted tools that were performed and recorded."""
        names: dict[tuple[str, str], str] = {}
        keys: dict[tuple[str, str], str] = {}
        found: set[str] = set()
        for event in self.events:
            if event.kind not in ("step.settled", "step.planned", "approval.asked"):
                continue
            body = body_of(event)
            place = (event.run, body.key)
            if body.plan is not None:
                names[place] = body.plan.name
            if event.args is not None:
                keys[place] = f"{event.run} {body.key} {digest(event.args)}"
            if getattr(body, "of", "") and place in keys:  # published as what was held
                keys[place] = f"{body.of.replace('@', ' ')} {keys[place].rpartition(' ')[2]}"
            if isinstance(body, StepSettled) and names.get(place) in COUNTED and _was_done(body):
                found.add(digest(keys[place].encode())[:32])
        return frozenset(found)

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

    def preview(self) -> str:
        """What publishing was said to change when it was tried in the fork that was merged."""
        mine = [e for e in self.events if (e.run, e.kind) == (self._merging, "step.settled")]
        found = [event.value for event in mine if body_of(event).origin == "preview"]
        return str(self._value(found[0])) if found else ""

    async def changes(self) -> str:
        """What the agent did to the files of its world from beginning to end, as a patch."""
        first = await self.runtime.world(self.run, "start")
        now = await self.runtime.world(self.run)
        stage = Stage(self.store.get)
        changed = [one for one in diff(stage, first.root, now.root) if one.path != notes.path]
        return unified(stage, changed)

    async def noted(self) -> list[str]:
        """The runs whose notes are in the agent's own world now."""
        now = await self.runtime.world(self.run)
        if notes.path not in now.list():
            return []
        with open_at(Stage(self.store.get), now.root, notes.path) as database:
            return [str(run) for (run,) in database.execute("select run from trials")]

    async def text(self, path: str) -> str:
        """A file of the agent's world as it is now."""
        return (await self.runtime.world(self.run)).text(path)

    def kept(self, before: Sequence[Event]) -> bool:
        """Whether every event of an earlier reading is still there, the same to the last bit."""
        now = {(event.run, event.pos): event.id for event in self.events}
        return all(now.get((event.run, event.pos)) == event.id for event in before)


def _was_done(body: StepSettled) -> bool:
    """Whether its tool itself was performed, to its end: not refused, held or previewed."""
    performed_here = body.status in ("value", "error") and body.origin != "preview"
    return performed_here and not _was_dropped(body)


def _was_dropped(body: StepSettled) -> bool:
    """Whether the program gave it up, before it began or on the way."""
    return body.error is not None and body.error.type == "CancelledError"


def performed(count: Path) -> dict[str, list[str]]:
    """The idempotency keys with which tools were really performed, by process."""
    found: dict[str, list[str]] = {}
    if count.is_file():
        for line in count.read_text().splitlines():
            _, key, process = line.split()
            found.setdefault(process, []).append(key)
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
