"""What a thread of a framework holds: a fold over the findings of its run.

Some findings save a state, some what a task wrote at one, some say which states are no more. The
fold keeps places, not contents.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from holdfast.journal.events import Event, FindingAdded, body_of, is_erased
from holdfast.journal.views import DROPPED, STATE, WRITES
from holdfast.values import limits
from holdfast.values.canon import digest

Place = tuple[str, str]
"""Namespace and id of a state."""


Follow = Callable[[Any], Any]


class Write(NamedTuple):
    """Where one write is: in the finding at ``pos``, ``row``. In the order of a step's tasks."""

    path: str
    task: str
    number: int
    pos: int
    row: int


class Saved(NamedTuple):
    """Where a state is, and the id of the one before it."""

    pos: int
    parent: str


def run_of(thread: str) -> str:
    """The run of a thread. Threads have any names, runs only some."""
    return f"thread-{digest(thread.encode('utf-8', 'surrogatepass'))[:32]}"


class Thread:
    """The places of one thread's states and writes. ``next``: position of the first event that it
    has not seen; ``left``: findings that were dropped but not forgotten."""

    def __init__(self) -> None:
        self.next = 0
        self.left: set[int] = set()
        self._states: dict[Place, Saved] = {}
        self._writes: dict[Place, dict[tuple[str, int], Write]] = {}
        self._found: dict[Place, list[int]] = {}
        self._lock = threading.Lock()

    def fold(self, events: Iterable[Event], follow: Follow) -> None:
        """Take in what came since; events seen before are passed over. ``follow``: the value of
        a part."""
        with self._lock:
            for event in events:
                if event.pos == self.next:
                    self.next += 1
                    if event.kind == "finding.added" and event.value is not None:
                        self._take(event, follow)

    def _take(self, event: Event, follow: Follow) -> None:
        body: FindingAdded = body_of(event)
        if body.type not in (STATE, WRITES, DROPPED) or is_erased(event.value):
            return
        value = msgspec.json.decode(event.value or b"")
        if body.type == DROPPED:
            gone = [(ns, name) for ns, name in follow(value["places"])]
            for place in gone or list(self._found):
                self._states.pop(place, None)
                self._writes.pop(place, None)
                self.left.update(self._found.pop(place, ()))
            return
        place = (follow(value["ns"]), follow(value["id"]))
        self._found.setdefault(place, []).append(event.pos)
        if body.type == STATE:
            self._states[place] = Saved(event.pos, follow(value["parent"]))
            return
        task, path = follow(value["task"]), follow(value["path"])
        writes = self._writes.setdefault(place, {})
        for row, (number, *_) in enumerate(value["writes"]):
            # INVARIANT D53: a task's write that came twice is one; only what LangGraph itself
            # marks (errors, interrupts, answers to them: below 0) takes the place of what was
            if number < 0 or (task, number) not in writes:
                writes[task, number] = Write(path, task, number, event.pos, row)

    def find(self, ns: str, name: str | None) -> Place | None:
        """The state of that name, or the newest in the namespace."""
        with self._lock:
            if name:
                return (ns, name) if (ns, name) in self._states else None
            return max((place for place in self._states if place[0] == ns), default=None)

    def places(self) -> list[Place]:
        """All states, in no order."""
        with self._lock:
            return list(self._states)

    def saved(self, place: Place) -> Saved | None:
        """Where a state is; None if it is no more."""
        return self._states.get(place)

    def writes(self, place: Place) -> list[Write]:
        """What was written at a state, in the order in which a step's tasks count."""
        with self._lock:
            return sorted(self._writes.get(place, {}).values())

    def findings(self, places: Iterable[Place]) -> list[int]:
        """The findings that say something of these states, in their order; none named: all that
        was found, also what a task wrote at a state that was never saved."""
        with self._lock:
            named = list(places) or list(self._found)
            return sorted(pos for place in named for pos in self._found.get(place, ()))


class Threads:
    """The threads that this process used last."""

    def __init__(self) -> None:
        self._kept: dict[str, Thread] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Thread:
        """The thread of that name, as far as it is known."""
        with self._lock:
            found = self._kept.pop(name, None) or Thread()
            self._kept[name] = found
            if len(self._kept) > limits.KNOWN_THREAD_RUNS:
                del self._kept[next(iter(self._kept))]
            return found
