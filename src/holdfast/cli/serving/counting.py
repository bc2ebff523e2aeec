"""Tools that look over many runs: what was spent, and where something occurs."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

import msgspec

from holdfast.cli.serving.shape import Asked, Cursor, Given, Next, Rows, brief, place
from holdfast.explain import telling
from holdfast.explain.text import one_line
from holdfast.journal.events import Event, body_of
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.runtime.maintenance import budget_lines
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.values.masking import masked


class Spend(Asked):
    """Spend of what: each of the newest runs, their agents, or the budgets of the policy."""

    by: Literal["run", "agent", "budget"] = "budget"
    run: Annotated[str, msgspec.Meta(description="Only this run (by: run)")] = ""
    agent: Annotated[str, msgspec.Meta(description="Only runs of this agent")] = ""
    cursor: Cursor = ""


class SpendLine(Given):
    """What one run, agent or budget used, by unit (money in the policy's currency); of a budget
    also what is reserved, its limit and what is left."""

    of: str
    used: dict[str, float]
    steps: int = 0
    runs: int = 0
    reserved: float | None = None
    limit: float | None = None
    left: float | None = None
    period: str = ""
    scope: str = ""


class Spent(Given):
    """``looked``: how many runs and events were read for it: `next` goes on with older ones."""

    lines: list[SpendLine]
    looked_runs: int
    looked_events: int
    next: Next = ""


async def spend(store: Store, asked: Spend, *, policy: str) -> Spent:
    """What was used, by run, agent or budget."""
    if asked.by == "budget":
        return _budgets(store, policy, asked.cursor)
    if asked.run:
        rows, more = [await find_run(store, asked.run)], False
    else:
        query = RunQuery(limits.SERVE_ROWS + 1, place(asked.cursor), "", asked.agent)
        found = await store.runs(query)
        rows, more = found[: limits.SERVE_ROWS], len(found) > limits.SERVE_ROWS
    events = 0
    lines: dict[str, SpendLine] = {}
    last = rows[-1].number if rows else 0
    for at, row in enumerate(rows):
        if at and events >= limits.SERVE_SEARCH_EVENTS:
            more, last = True, rows[at - 1].number
            rows = rows[:at]
            break
        used, looked = await _used(store, row)
        events += looked
        name = row.run if asked.by == "run" else brief(row.agent)
        before = lines.get(name)
        if before is not None:
            used = used + Counter(before.used)
        lines[name] = SpendLine(
            of=name, used=dict(used), steps=row.steps + (before.steps if before else 0),
            runs=1 + (before.runs if before else 0),
        )  # fmt: skip
    return Spent(
        lines=list(lines.values()), looked_runs=len(rows), looked_events=events,
        next=str(last) if more else "",
    )  # fmt: skip


async def _used(store: Store, row: RunRow) -> tuple[Counter[str], int]:
    """What a run's own steps used, by unit, and how many events say so."""
    used: Counter[str] = Counter()
    start = row.fork_pos + 1 if row.fork_of else 0
    stop = (await store.head(row.run)).pos + 1
    for first in range(start, stop, limits.READ_PAGE_EVENTS):
        for event in await store.read(row.run, first, min(stop, first + limits.READ_PAGE_EVENTS)):
            if event.kind == "step.settled":
                for unit, amount in body_of(event).usage.items():
                    used[unit] += amount
    return used, max(0, stop - start)


def _budgets(store: Store, policy: str, cursor: str) -> Spent:
    every = budget_lines(store, policy)
    start = place(cursor)
    taken = every[start : start + limits.SERVE_ROWS]
    end = start + len(taken)
    return Spent(
        lines=[_budget(one) for one in taken], looked_runs=0, looked_events=0,
        next=str(end) if end < len(every) else "",
    )  # fmt: skip


def _budget(line: dict[str, Any]) -> SpendLine:
    return SpendLine(
        of=brief(f"{line['budget']} of {line['of']}"), used={line["unit"]: line["used"]},
        reserved=line["reserved"], limit=line["limit"], left=line["left"], period=line["period"],
        scope=line["scope"],
    )  # fmt: skip


# Searching ----------------------------------------------------------------------------------------
class Search(Asked):
    """What to look for: a text that occurs, whatever its case."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    agent: Annotated[str, msgspec.Meta(description="Only runs of this agent")] = ""
    limit: Rows = 20
    cursor: Cursor = ""


class Match(Given):
    """Where it occurs: in which run, at which step and event, in what (``run``, ``tool``, ``args``,
    ``value`` or ``text``), with what stands around it."""

    run: str
    where: str
    excerpt: str
    step: str = ""
    event: int = 0


class Matches(Given):
    """What was found among the runs and events that were looked at, newest runs first. Of each
    value only the first ``value_chars`` characters were looked at. While ``next`` is not empty
    there is more to look at."""

    matches: list[Match]
    looked_runs: int
    looked_events: int
    value_chars: int = limits.SERVE_SEARCH_CHARS
    next: Next = ""


class _Look:
    """A search that goes on: where it is, and what it found."""

    def __init__(self, asked: Search) -> None:
        self.wanted = one_line(asked.text).casefold()
        self.limit = asked.limit
        self.found: list[Match] = []
        self.runs = 0
        self.events = 0

    @property
    def full(self) -> bool:
        """Whether this call has looked, or found, enough."""
        return len(self.found) >= self.limit or self.events >= limits.SERVE_SEARCH_EVENTS

    def note(self, run: str, where: str, text: str, *, step: str = "", event: int = 0) -> bool:
        """Note it if the text occurs; whether it does."""
        plain = one_line(text[: limits.SERVE_SEARCH_CHARS])
        if self.wanted not in plain.casefold():
            return False
        plain = masked(plain)  # what is masked cannot be guessed letter by letter either
        at = plain.casefold().find(self.wanted)
        if at < 0:
            return False
        start = max(0, at - limits.SERVE_BRIEF_CHARS // 3)
        excerpt = ("…" if start else "") + plain[start:]
        self.found.append(
            Match(run=run, where=where, excerpt=brief(excerpt), step=step, event=event)
        )
        return True


async def search(store: Store, asked: Search) -> Matches:
    """Where a text occurs in past runs: their ids and agents, their tools, what these were called
    with and gave, questions and errors."""
    look = _Look(asked)
    if not look.wanted:
        raise Misuse("search: say a text")
    number, pos = _place(asked.cursor)
    before = number + 1 if number else 0
    while page := await store.runs(RunQuery(limits.SERVE_ROWS, before, "", asked.agent)):
        for row in page:
            resumed = pos if row.number == number else 0
            stopped = await _through(store, row, look, resumed)
            if stopped is not None:
                return _matches(look, f"{row.number}:{stopped}")
            look.runs += 1
        before = page[-1].number
    return _matches(look, "")


def _matches(look: _Look, more: str) -> Matches:
    return Matches(matches=look.found, looked_runs=look.runs, looked_events=look.events, next=more)


def _place(cursor: str) -> tuple[int, int]:
    number, colon, pos = cursor.partition(":")
    if cursor and not colon:
        raise Misuse(f"cursor {cursor[:40]!r}: give what the page before gave as next")
    return place(number), place(pos)


async def _through(store: Store, row: RunRow, look: _Look, start: int) -> int | None:
    """Look through a run, from 0: its beginning, or N: event N - 1, on; where to go on, None at its
    end."""
    first = max(start - 1, row.fork_pos + 1 if row.fork_of else 0)
    if not start:
        look.note(row.run, "run", f"{row.run} {row.agent} {row.status}")
    stop = (await store.head(row.run)).pos + 1
    while first < stop:
        if look.full:
            return first + 1
        last = min(stop, first + limits.SERVE_ROWS)
        for event in await store.read(row.run, first, last):
            if look.full:
                return event.pos + 1
            look.events += 1
            _event(store, event, look)
        first = last
    return None


def _event(store: Store, event: Event, look: _Look) -> None:
    """Note an event once, at the first of its parts in which the text occurs."""
    body = body_of(event)
    key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")
    plan, error = getattr(body, "plan", None), getattr(body, "error", None)
    said = [getattr(body, "text", ""), getattr(body, "note", ""), getattr(body, "reason", "")]
    if error is not None:
        said.append(f"{error.type}: {error.text}")
    if (verdict := getattr(body, "verdict", None)) is not None:
        said += [*verdict.rules, verdict.reason]
    room = limits.SERVE_SEARCH_CHARS
    texts = {
        "tool": plan.name if plan is not None else "",
        "text": " ".join(one for one in said if isinstance(one, str)),
        "args": telling.brief_args(event.args, store.get, room),
        "value": telling.brief(event.value, store.get, room),
    }
    for where, text in texts.items():
        if text and look.note(event.run, where, text, step=key, event=event.pos):
            return
