"""Recorded answers of models, by exactly what was asked: for tests that call nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.engine.history import History, Step
from holdfast.engine.verbs import spent
from holdfast.journal.store import RunQuery, Store
from holdfast.values import limits
from holdfast.values.canon import digest, encode, unpack

_ASIDE = frozenset({"stream", "stream_options"})
"""Of a request, what says only how its answer is to be sent."""
_UNFIT = frozenset({"broken", "error", "recorded"})
"""Of an answer, what says that it is none, or was played back itself."""


class Recorded(NamedTuple):
    """One recorded answer: the step's place, and its value."""

    place: str
    value: dict[str, Any]

    def perform(self, args: dict[str, Any]) -> dict[str, Any]:
        """Play it back, as a step of its own: it uses nothing."""
        del args
        spent(tokens=0, money=0)
        return {**self.value, "recorded": self.place}


class Tape:
    """Answers by request. One that was asked several times is answered in the recorded order, and
    the last answer stays."""

    def __init__(self) -> None:
        self._answers: dict[str, deque[Recorded]] = {}

    def add(self, args: Mapping[str, Any], value: Any, place: str) -> None:
        """Note an answer, if it is a whole one."""
        # INVARIANT D41: only whole, successful answers are played back, to exactly their request
        if isinstance(value, dict) and value.get("status") == 200 and not value.keys() & _UNFIT:
            self._answers.setdefault(key_of(args), deque()).append(Recorded(place, value))

    def take(self, args: Mapping[str, Any]) -> Recorded | None:
        """The next answer to this request; None if none was recorded."""
        found = self._answers.get(key_of(args))
        if not found:
            return None
        return found.popleft() if len(found) > 1 else found[0]

    def __len__(self) -> int:
        return sum(map(len, self._answers.values()))


def key_of(args: Mapping[str, Any]) -> str:
    """Equal for requests that ask the same of the same model in the same dialect."""
    request = args.get("request")
    asked = request if isinstance(request, dict) else {}
    bare = {key: value for key, value in asked.items() if key not in _ASIDE}
    return digest(encode([args.get("dialect"), args.get("model"), bare]))


async def read_tape(store: Store, run: str = "") -> Tape:
    """The answers of one run, or of all runs of a store, oldest first; `NotFound`."""
    tape = Tape()
    names = [run] if run else await _runs(store)
    for name in names:
        history = History()
        history.extend(await store.read(name))
        for key, step in history.steps.items():
            _note(tape, store, step, f"{name}@{key}")
    return tape


async def _runs(store: Store) -> list[str]:
    names: list[str] = []
    before = 0
    while rows := await store.runs(RunQuery(limit=limits.READ_PAGE_ROWS, before=before)):
        names += [row.run for row in rows]
        before = rows[-1].number
    return names[::-1]


def _note(tape: Tape, store: Store, step: Step, place: str) -> None:
    if step.plan is None or step.plan.kind != "model" or step.value is None or step.args is None:
        return
    tape.add(unpack(step.args, store.get), unpack(step.value, store.get), place)
