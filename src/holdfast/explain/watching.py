"""What goes on in a store now: runs in flight with their newest step and spend, and questions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from holdfast.engine.inbox import Open, open_questions
from holdfast.explain import lines
from holdfast.explain.past import in_flight
from holdfast.explain.telling import Fetch
from holdfast.explain.text import cut, one_line
from holdfast.journal.events import Event, body_of
from holdfast.journal.like import is_short
from holdfast.journal.store import Store
from holdfast.values import limits

_RECENT = 10_000
"""The rate of events is that of the last so many ms."""
_KINDS = frozenset({"run.started", "step.planned", "step.settled", "approval.asked", "run.ended"})


class Going(msgspec.Struct, frozen=True):
    """A run in flight. ``last``: its newest step on one line, ``at``: when that was, ms since 1970;
    ``tokens``, ``money``: what its steps used."""

    run: str
    agent: str
    status: str
    started: int
    last: str
    at: int
    tokens: float
    money: float


class Asked(msgspec.Struct, frozen=True):
    """A question that waits for a person. ``about``: action, question, unknown or budget."""

    run: str
    step: str
    agent: str
    about: str
    text: str
    since: int
    expires: int
    digest: str


class Now(msgspec.Struct, frozen=True):
    """What goes on. ``at``: ms since 1970; ``rate``: events per second, lately; ``runs``: those
    that changed last before others; ``questions``: the longest waiting first."""

    at: int
    rate: float
    seq: int
    runs: tuple[Going, ...]
    questions: tuple[Asked, ...]


class _Told(msgspec.Struct):
    """What is known of a run from its events."""

    last: str = ""
    at: int = 0
    tokens: float = 0.0
    money: float = 0.0


class Watch:
    """Follows a store: each event is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after = -1
        self._told: dict[str, _Told] = {}
        self._recent: deque[int] = deque()

    async def look(self, now_ms: int) -> Now:
        """What goes on, with everything that was committed until now."""
        if self._after < 0:
            self._after = await self._store.last_seq()
        while events := await self._store.tail(self._after, limits.READ_PAGE_EVENTS):
            self._take(events)
            self._after = events[-1].seq
        while self._recent and self._recent[0] <= now_ms - _RECENT:
            self._recent.popleft()
        runs = [await self._going(row.run, row.agent, row.status, row.started)
                for row in await in_flight(self._store)]  # fmt: skip
        living = {one.run for one in runs}
        self._told = {run: told for run, told in self._told.items() if run in living}
        return Now(
            now_ms,
            len(self._recent) * 1000 / _RECENT,
            self._after,
            tuple(sorted(runs, key=lambda one: (-one.at, one.run))),
            tuple(map(_asked, await open_questions(self._store))),
        )

    async def _going(self, run: str, agent: str, status: str, started: int) -> Going:
        told = self._told.get(run)
        if told is None:
            told = self._told[run] = _Told()
            stop = (await self._store.head(run)).pos + 1
            for start in range(0, stop, limits.READ_PAGE_EVENTS):
                page = await self._store.read(
                    run, start, min(stop, start + limits.READ_PAGE_EVENTS)
                )
                _add(told, (one for one in page if one.run == run and one.seq <= self._after),
                     self._store.get)  # fmt: skip
        return Going(run, agent, status, started, told.last, told.at, told.tokens, told.money)

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._recent.append(event.at)
            if told := self._told.get(event.run):
                _add(told, (event,), self._store.get)


def _add(told: _Told, events: Iterable[Event], fetch: Fetch) -> None:
    newest = None
    for event in events:
        if event.kind == "step.settled":
            usage = body_of(event).usage
            told.tokens += usage.get("tokens", 0.0)
            told.money += usage.get("money", 0.0)
        if event.kind in _KINDS:
            newest = event
    if newest is None:
        return
    body = body_of(newest)
    args = None if newest.args is None or is_short(newest.args) else newest.args
    about = lines.subject(newest, body, args, fetch, 80)
    ended = lines.outcome(newest, body, fetch, 60)
    key = getattr(body, "key", "")
    said = f"{f'@{key} ' if key else ''}{about}  {ended if isinstance(ended, str) else ended[0]}"
    told.last, told.at = cut(one_line(said), 200), newest.at


def _asked(found: Open) -> Asked:
    row, wait = found.row, found.wait
    return Asked(row.run, wait.key, row.agent, wait.about, one_line(wait.text), wait.since,
                 wait.due, wait.digest)  # fmt: skip
