"""Proving a journal from its bytes alone: ids recomputed, links followed, outcomes counted.

Pure: whoever reads a file (`holdfast.stores.fsck`, an archive, a test) hands over events in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from holdfast.journal.events import (
    FORMAT,
    KINDS,
    NO_HEAD,
    Event,
    Head,
    body_decoder,
    payload_hash,
)
from holdfast.journal.like import is_short, restore
from holdfast.journal.views import RunRow, fold_run
from holdfast.values import limits
from holdfast.values.errors import Corrupt

_BLOB = re.compile(rb'\{"\$(blob|raw)":"([0-9a-f]{64})"\}')
"""A reference. Inside a JSON string its quotes would be escaped, so nothing else looks like it."""
_STARTED, _PLANNED, _SETTLED = (
    KINDS.index(kind) for kind in ("run.started", "step.planned", "step.settled")
)
_ASKED = KINDS.index("approval.asked")
_ARGUED = frozenset({_PLANNED, _SETTLED, _ASKED})
_NOTED = _ARGUED | {_STARTED}
_FOLDED = frozenset(
    KINDS.index(kind)
    for kind in KINDS
    if kind not in ("step.settled", "branch.merged", "checkpoint.signed")
)
_DECODE = tuple(body_decoder(kind).decode for kind in KINDS)
_KINDS = len(KINDS)
_BEGIN = f'[{FORMAT},"'
_MIDDLE = tuple(f'","{kind}",' for kind in KINDS)
"""What stands before and after an event's parent in what is hashed: see `seal`."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. ``kind``: hash, position, fork, outcome, payload, body, blob, world,
    row, pack or file; ``place``: run#position, a blob, a run or a file."""

    kind: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Raw(NamedTuple):
    """An event as stores keep it: hashes as bytes, kind as a number, text as UTF-8."""

    pos: int
    code: int
    at: int
    id: bytes
    world: bytes | None
    body: bytes
    args: bytes | None
    value: bytes | None


def raw(event: Event) -> Raw:
    """The stored form of an event."""
    return Raw(
        event.pos, KINDS.index(event.kind), event.at, bytes.fromhex(event.id),
        bytes.fromhex(event.world) or None, event.body, event.args, event.value,
    )  # fmt: skip


def references(skeleton: bytes) -> list[tuple[bytes, str]]:
    """What a skeleton names directly: (b"blob" or b"raw", hash). Only a b"blob" names more."""
    if b'{"$' not in skeleton:
        return []
    return [(tag, name.decode()) for tag, name in _BLOB.findall(skeleton)]


class Named:
    """Which blobs payloads name, directly and through other blobs, and which of them are there.

    Blobs and events may be shown in any order; ``missing`` is asked at the end.
    """

    def __init__(self) -> None:
        self.present: set[str] = set()
        self._places: dict[str, str] = {}
        self._deep: set[str] = set()
        self._below: dict[str, list[tuple[bytes, str]]] = {}

    def show(self, skeleton: bytes, place: str) -> None:
        """A payload of the event at ``place``."""
        for tag, name in references(skeleton):
            self._places.setdefault(name, place)
            if tag == b"blob":
                self._deep.add(name)

    def hold(self, name: str, content: bytes) -> None:
        """A blob that is there. What it names counts only if something names it as a value: a byte
        string may look as if it named something."""
        self.present.add(name)
        if b'{"$' in content and (below := references(content)):
            self._below[name] = below

    def missing(self) -> list[tuple[str, str]]:
        """Blobs that are named and not there, each with the place of an event that needs it."""
        return [item for item in self.named().items() if item[0] not in self.present]

    def named(self) -> dict[str, str]:
        """Every blob that is named, with the place of an event that needs it."""
        stack = [name for name in self._deep if name in self._below]
        while stack:
            outer = stack.pop()
            for tag, name in self._below.get(outer, ()):
                self._places.setdefault(name, self._places[outer])
                if tag == b"blob" and name not in self._deep:
                    self._deep.add(name)
                    stack.append(name)
        return self._places


class _Segment:
    """Steps of one segment: positions of outcomes, and arguments that others may continue."""

    __slots__ = ("args", "before", "cut", "settled", "start")

    def __init__(self, start: int, before: _Segment | None = None, cut: int = 0) -> None:
        self.start = start
        self.before = before
        self.cut = cut
        self.settled: dict[str, int] = {}
        self.args: dict[str, tuple[int, bytes]] = {}

    def settled_at(self, key: str, limit: int) -> int | None:
        """Position of a step's outcome, if it is at most ``limit``."""
        pos = self.settled.get(key)
        if pos is not None and pos <= limit:
            return pos
        return self.before.settled_at(key, min(limit, self.cut)) if self.before else None

    def whole_args(self, key: str, limit: int) -> bytes:
        """The whole arguments of an earlier step."""
        found = self.args.get(key)
        if found is not None and found[0] <= limit:
            return found[1]
        if self.before is None:
            raise Corrupt(f"continues the arguments of step {key}, which are absent")
        return self.before.whole_args(key, min(limit, self.cut))


class Chain:
    """The proof of one run, event by event.

    ``head``: what the next event must follow; ``row``: the folded row; ``roots``: worlds named;
    ``whole``: the last event's arguments, restored; ``hashes``: of its arguments and value.
    """

    __slots__ = (
        "_hex", "_segments", "_settled", "_world", "fork_of", "fork_pos", "hashes", "head_id",
        "pos", "roots", "row", "run", "whole",
    )  # fmt: skip

    def __init__(self, run: str) -> None:
        self.run = run
        self.pos = -1
        self.head_id = ""
        self.row: RunRow | None = None
        self.fork_of = ""
        self.fork_pos = 0
        self.whole: bytes | None = None
        self.hashes = ("", "")
        self.roots: set[bytes] = set()
        self._segments: list[_Segment] = []
        self._settled: dict[str, int] | None = None  # of a segment that shares none
        self._world: bytes | None = None
        self._hex = ""

    @property
    def head(self) -> Head:
        """The newest event."""
        return Head(self.pos, self.head_id, self._hex)

    def fork_from(self, base: Chain, pos: int, head: Head) -> None:
        """Begin at event ``pos`` of ``base`` (whose hash and world are ``head``)."""
        self.pos, self.head_id, self.row = head.pos, head.id, base.row
        for segment in reversed(base._segments):
            if segment.start <= pos:
                self._segments = [_Segment(segment.start, segment, pos)]
                self._settled = None
                return
        self._segments = [_Segment(pos + 1)]
        self._settled = self._segments[-1].settled

    def take(self, event: Raw) -> tuple[str, str] | None:
        """Prove the next event and move on to it; what is wrong as (kind, text), or None."""
        pos, code, at, name, world, body, args, value = event
        wrong: tuple[str, str] | None = None
        if pos != self.pos + 1:
            wrong = "position", f"follows #{self.pos}: events in between are missing"
        if not 0 <= code < _KINDS:
            return self._move(event, ("body", f"is of an unknown kind ({code})"))
        if world != self._world:
            self._world = world
            self._hex = world.hex() if world else ""
            if world:
                self.roots.add(world)
        args_hash = value_hash = ""
        self.whole = args
        if args is not None:
            if args[:3] != b'{"$':
                args_hash = sha256(args).hexdigest()
            else:
                args_hash, wrong = self._special(args, wrong)
        if value is not None:
            value_hash = sha256(value).hexdigest() if value[:3] != b'{"$' else payload_hash(value)
        self.hashes = args_hash, value_hash
        text = (
            f'{_BEGIN}{self.run}",{pos},"{self.head_id}{_MIDDLE[code]}{at},'
            f'"{self._hex}","{args_hash}","{value_hash}",'
        )
        if sha256(text.encode() + body + b"]").digest() != name:
            wrong = wrong or ("hash", "its hash does not match: it was changed, or what it follows")
        try:
            decoded = _DECODE[code](body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return self._move(event, wrong or ("body", f"cannot be read: {error}"))
        problem, settled = None, self._settled
        if code == _SETTLED and settled is not None and self.whole is args:
            # nearly every event: an outcome that no fork shares, with arguments of its own
            if decoded.key in settled or (args is not None and len(args) >= limits.LIKE_MIN_BYTES):
                problem = self._note(code, pos, decoded)
            else:
                settled[decoded.key] = pos
        elif code in _NOTED:
            problem = self._note(code, pos, decoded)
        self.pos, self.head_id = pos, name.hex()
        row = self.row
        if code in _FOLDED or (row is not None and row.waits):
            self.row = fold_run(row, self._event(event))
        return wrong or problem

    def _move(self, event: Raw, wrong: tuple[str, str] | None) -> tuple[str, str] | None:
        self.pos, self.head_id = event[0], event[3].hex()
        return wrong

    def _special(
        self, args: bytes, wrong: tuple[str, str] | None
    ) -> tuple[str, tuple[str, str] | None]:
        """The hash of arguments that are a continuation, or erased, or begin like one."""
        if not is_short(args):
            return payload_hash(args), wrong
        try:
            if not self._segments:
                raise Corrupt("continues the arguments of a step before the run's beginning")
            self.whole = restore(args, lambda key: self._segments[-1].whole_args(key, self.pos))
        except (Corrupt, ValueError, TypeError, KeyError) as error:
            return "", wrong or ("payload", f"its arguments cannot be restored: {error}")
        return payload_hash(self.whole), wrong

    def _note(self, code: int, pos: int, body: Any) -> tuple[str, str] | None:
        """Take note of a segment, an outcome, or arguments that later ones may continue."""
        if code == _STARTED:
            if not self._segments or not body.fork_of:
                self._segments.append(_Segment(pos))
                self._settled = self._segments[-1].settled
            if self.row is None or self.row.run != self.run:
                self.fork_of, self.fork_pos = body.fork_of, body.fork_pos
            return None
        if not self._segments:
            return "position", "stands before the run's beginning"
        segment, key = self._segments[-1], body.key
        if self.whole is not None and len(self.whole) >= limits.LIKE_MIN_BYTES:
            segment.args[key] = (pos, self.whole)
        if code != _SETTLED:
            return None
        if key not in segment.settled and segment.before is None:
            segment.settled[key] = pos
            return None
        before = segment.settled_at(key, pos)
        segment.settled.setdefault(key, pos)
        if before is not None:
            return "outcome", f"step {key} has an outcome already, at #{before}"
        return None

    def _event(self, event: Raw) -> Event:
        pos, code, at, name, _, body, args, value = event
        return Event(
            0, self.run, pos, name.hex(), "", KINDS[code], at, self._hex, body, args, value
        )


def prove(events: Iterable[Event]) -> list[Problem]:
    """What is wrong with a chain as `Store.read` returns it from its beginning, through forks."""
    found: list[Problem] = []
    chain = Chain("")
    parent = NO_HEAD.id
    for event in events:
        chain.run = event.run
        wrong = chain.take(raw(event))
        if event.parent != parent:
            wrong = wrong or ("hash", "it does not name the event before it")
        if wrong is not None:
            found.append(Problem(wrong[0], f"{event.run}#{event.pos}", wrong[1]))
        parent = event.id
    return found
