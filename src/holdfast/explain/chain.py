"""A run's chain of events, decoded only where it is looked at.

`engine.history` folds a whole segment, which is what replay needs. A question about one step needs
a few dozen of ten thousand events: here bodies, payloads and arguments are read when asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.journal.events import (
    ApprovalAsked,
    Event,
    Plan,
    RunStarted,
    StepPlanned,
    StepSettled,
    body_of,
    is_erased,
)
from holdfast.journal.like import is_short
from holdfast.journal.views import place_of
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt, HoldfastError

Fetch = Callable[[str], bytes]

_FIRST: Final = b'{"key":"'
"""How most bodies of steps begin."""
_STEPS: Final = frozenset(("step.planned", "step.settled", "approval.asked", "approval.given"))


class Lost(msgspec.Struct, frozen=True):
    """Content that cannot be read, and why: erased, or deleted."""

    why: str


class Found(NamedTuple):
    """A step as its events tell it. ``begun``: position of the first of them."""

    key: str
    segment: int
    events: list[Event]
    bodies: list[Any]
    plan: Plan | None
    settled: StepSettled | None

    @property
    def begun(self) -> int:
        """Position of its first event."""
        return self.events[0].pos

    @property
    def last(self) -> Event:
        """The event that settled it, else its newest."""
        for event in self.events:
            if event.kind == "step.settled":
                return event
        return self.events[-1]

    @property
    def place(self) -> str:
        """How people name it."""
        return f"{self.last.run}@{place_of(self.segment, self.key)}"


class Chain:
    """The events of one chain from its first, and what they mean, on demand."""

    def __init__(self, events: Sequence[Event], fetch: Fetch) -> None:
        self.events = events
        self.fetch = fetch
        self._bodies: dict[int, Any] = {}

    def body(self, pos: int) -> Any:
        """The decoded body of the event at ``pos``."""
        found = self._bodies.get(pos)
        if found is None:
            found = self._bodies[pos] = body_of(self.events[pos])
        return found

    @functools.cached_property
    def starts(self) -> list[int]:
        """Positions of the starts of runs, forks and segments."""
        return [event.pos for event in self.events if event.kind == "run.started"]

    @functools.cached_property
    def segments(self) -> list[int]:
        """Positions at which segments begin, oldest first; a fork begins none."""
        return [pos for pos in self.starts if not self.body(pos).fork_of]

    def segment_at(self, pos: int) -> int:
        """The number of the segment of an event, from 1."""
        return max(1, sum(start <= pos for start in self.segments))

    def started(self, pos: int) -> RunStarted:
        """The start that an event stands below, of its own run."""
        run = self.events[pos].run
        own = [at for at in self.starts if at <= pos and self.events[at].run == run]
        return self.body(own[-1] if own else self.starts[0])

    @functools.cached_property
    def keys_at(self) -> list[bytes | None]:
        """By position, the key of the step that an event is about; None for other events."""
        found: list[bytes | None] = []
        for event in self.events:
            if event.kind not in _STEPS:
                found.append(None)
                continue
            body, key = event.body, b"\\"
            if body.startswith(_FIRST):
                key = body[8 : body.index(b'"', 8)]
            # INVARIANT X224: a key that is written otherwise is that of the decoded body
            found.append(_key_in(body) if b"\\" in key else key)
        return found

    @functools.cached_property
    def _by_key(self) -> tuple[dict[bytes | None, int], dict[bytes | None, list[int]]]:
        """Position of the first event of each key; and, of those that have several (most keys of
        long runs have one), the positions of all."""
        keys = self.keys_at
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        every: dict[bytes | None, list[int]] = {}
        for pos, key in enumerate(keys):
            if first[key] != pos:
                every.setdefault(key, [first[key]]).append(pos)
        return first, every

    @functools.cached_property
    def _joined(self) -> bytes:
        return b"\n".join([event.body for event in self.events])

    def holding(self, mark: bytes) -> list[Event]:
        """The events whose bodies hold these bytes; little is done if there are none."""
        return [one for one in self.events if mark in one.body] if mark in self._joined else []

    def positions(self, key: str) -> list[int]:
        """Positions of the events of all steps with that key, over all segments."""
        name, (first, every) = key.encode(), self._by_key
        if name not in first:
            return []
        return every.get(name) or [first[name]]

    def step(self, key: str) -> Found | None:
        """The newest step with that key; ``2:1.3`` names one of a segment."""
        named, _, bare = key.rpartition(":")
        every = self.positions(bare if named.isdigit() else key)
        if named.isdigit():
            every = [pos for pos in every if self.segment_at(pos) == int(named)]
            key = bare
        if not every:
            return None
        segment = self.segment_at(every[-1])
        return self._gathered(key, segment, [p for p in every if self.segment_at(p) == segment])

    def step_at(self, pos: int) -> Found:
        """The step that the event at ``pos`` is about."""
        key = self.body(pos).key
        segment = self.segment_at(pos)
        every = [p for p in self.positions(key) if self.segment_at(p) == segment]
        return self._gathered(key, segment, every)

    def _gathered(self, key: str, segment: int, every: list[int]) -> Found:
        events = [self.events[pos] for pos in every]
        bodies = [self.body(pos) for pos in every]
        plan = settled = None
        for body in bodies:
            if isinstance(body, StepPlanned | StepSettled | ApprovalAsked) and body.plan:
                plan = body.plan
            if isinstance(body, StepSettled):
                settled = body
        return Found(key, segment, events, bodies, plan, settled)

    def keys(self, newest: int) -> list[str]:
        """Keys of the newest steps, oldest first."""
        found: list[str] = []
        for event in reversed(self.events):
            if event.kind in ("step.settled", "step.planned", "approval.asked"):
                key = place_of(self.segment_at(event.pos), self.body(event.pos).key)
                if key not in found:
                    found.append(key)
            if len(found) >= newest:
                break
        return found[::-1]

    # Payloads ---------------------------------------------------------------------------------

    def args(self, step: Found) -> Any:
        """The arguments that a step was asked with, `Lost` if they are gone; None for none."""
        stored = next((event.args for event in reversed(step.events) if event.args), None)
        try:
            return self.plain(None if stored is None else self._whole(stored, step.begun))
        except Corrupt as error:
            return Lost(str(error))

    def _whole(self, stored: bytes, before: int) -> bytes:
        """Arguments that continue an earlier step's, written out; linear in what is kept."""
        if not is_short(stored):
            return stored
        pieces: list[bytes] = []
        need = -1
        while is_short(stored):
            form = msgspec.json.decode(stored)
            (key, kept), rest = form["$like"], form["then"].encode()
            if need < 0 or need > kept:
                pieces.append(rest if need < 0 else rest[: need - kept])
                need = kept
            segment = self.segment_at(before)
            every = [
                pos for pos in self.positions(key)
                if pos < before and self.events[pos].args and self.segment_at(pos) == segment
            ]  # fmt: skip
            if not every:
                raise Corrupt(f"arguments continue those of step {key}, which are absent")
            before = every[-1]
            stored = self.events[before].args or b""
        pieces.append(stored[:need])
        return b"".join(reversed(pieces))

    def plain(self, skeleton: bytes | None) -> Any:
        """The value of a skeleton; `Lost` for what was erased or deleted."""
        if skeleton is None:
            return None
        if is_erased(skeleton):
            return Lost("erased")
        try:
            return unpack(skeleton, self.fetch)
        except HoldfastError as error:
            return Lost("erased" if "erased" in str(error) else "deleted")

    @functools.cached_property
    def _models(self) -> list[int]:
        """Positions of the events that settled model steps."""
        marked = {self.keys_at[event.pos] for event in self.holding(b'"kind":"model"')}
        if not marked:
            return []
        return [
            event.pos for event, key in zip(self.events, self.keys_at, strict=True)
            if key in marked and event.kind == "step.settled"
        ]  # fmt: skip

    def models_before(self, pos: int) -> Iterator[Found]:
        """Model steps that settled before ``pos`` in its segment, newest first."""
        first = max((start for start in self.segments if start < pos), default=0)
        for at in reversed(self._models):
            if first < at < pos:
                step = self.step_at(at)
                if step.plan is not None and step.plan.kind == "model":
                    yield step


def _key_in(body: bytes) -> bytes | None:
    try:
        return _keyed.decode(body).key.encode()
    except msgspec.DecodeError:
        return None  # whoever looks at the event says what is wrong with it


class _Keyed(msgspec.Struct):
    key: str


_keyed: Final = msgspec.json.Decoder(_Keyed)
