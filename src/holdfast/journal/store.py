"""The port that every store implements. `holdfast.testing.conformance` holds them together.

Content first, publish last: blobs may be put early and twice; the conditional append is the only
commit. An append either happens whole (all its batches, across runs) or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

from holdfast.journal.events import Draft, Event, Head
from holdfast.journal.views import RunRow
from holdfast.values.canon import Blobs

NO_CAPS: Mapping[str, int] = MappingProxyType({})
"""No meter has a cap."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Drafts to append to one run.

    ``expect``: position that the run's head must have, or None for "whatever it is" (-1: the run
    must not exist). ``epoch``: the lease under which its owner writes; 0 for anybody else (only
    signals, approvals and findings are written so). ``lease``: owner that is to hold a new run.
    ``serial``: how many-th append of its owner this is under this lease (0: not said); one that is
    delivered twice, or out of order, is refused. ``caps``: what meters may come to at most by the
    append that this is part of (`holdfast.journal.meters`); an append that is refused for them has
    used up its ``serial``, so that those delivered after it are not out of order.
    """

    run: str
    drafts: tuple[Draft, ...]
    expect: int | None = None
    epoch: int = 0
    lease: str = ""
    serial: int = 0
    caps: Mapping[str, int] = NO_CAPS


class RunQuery(msgspec.Struct, frozen=True):
    """Which runs to list, newest first: ``before`` pages by number, ``status`` "" means any."""

    limit: int = 50
    before: int = 0
    status: str = ""
    agent: str = ""
    parent: str = ""


class Store(Protocol):
    """Durable truth. Appends resolve when the events are as durable as the store promises."""

    def append(self, batches: Sequence[Batch], blobs: Blobs) -> Awaitable[list[Event]]:
        """Commit all or nothing, in the order called. Raises `Conflict` if a head is not as
        expected, `Exceeded` if a meter would pass a cap, `LeaseLost` if an epoch is over,
        `NotFound` for an unknown run, `Outside` if the disk refuses."""
        ...

    def append_now(self, batches: Sequence[Batch], blobs: Blobs) -> list[Event]:
        """`append`, but block the calling thread until it is durable."""
        ...

    def forget(self, run: str, positions: Sequence[int]) -> None:
        """Put hashes in the place of the values of findings of a run, as erasing does; what they
        referred to goes with the next collection of garbage. Blocks. `Misuse` for other events."""
        ...

    async def put(self, blobs: Blobs) -> None:
        """Store content early. Idempotent."""
        ...

    def put_now(self, blobs: Blobs) -> None:
        """`put`, but block the calling thread."""
        ...

    def get(self, name: str) -> bytes:
        """A blob by its SHA-256, verified; `Corrupt` if it is absent or damaged."""
        ...

    def meters(self, names: Sequence[str]) -> dict[str, int]:
        """Values of meters, by exact name or, for ``start*``, of all whose names start so. Those
        that are 0 are left out."""
        ...

    async def head(self, run: str) -> Head:
        """The newest event of a run; `NotFound`."""
        ...

    async def read(self, run: str, start: int = 0, stop: int | None = None) -> list[Event]:
        """Events of a run's chain with start <= pos < stop, through the runs it forked from."""
        ...

    async def tail(self, after: int, limit: int = 1000) -> list[Event]:
        """Events of all runs with seq > after, in commit order without gaps."""
        ...

    async def last_seq(self) -> int:
        """The newest seq, 0 for an empty store."""
        ...

    async def run(self, run: str) -> RunRow:
        """The row of one run; `NotFound`."""
        ...

    async def runs(self, query: RunQuery) -> list[RunRow]:
        """Rows of runs, newest first."""
        ...

    async def claim(self, run: str, owner: str) -> int:
        """Take the lease of a run that nobody alive holds; the new epoch, or `LeaseLost`."""
        ...

    async def release(self, run: str, epoch: int, seen: int) -> bool:
        """Give the lease back if the head is still at ``seen``; False if something arrived."""
        ...

    async def wakeable(self, now_ms: int, limit: int) -> tuple[list[str], int]:
        """Runs that nobody alive holds and that can go on now (woken, due, or left by a dead
        owner), and the time of the next timer (0 = none)."""
        ...

    def listen(self, bell: Callable[[], None]) -> None:
        """Call ``bell`` on the event loop soon after another process commits."""
        ...

    async def close(self) -> None:
        """Commit what waits, give up leases, release files. Idempotent."""
        ...
