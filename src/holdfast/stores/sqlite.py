"""The embedded store: one SQLite file in WAL mode with packs of large content beside it, one
writing thread, any number of processes.

``synchronous="FULL"`` (the default): an append that resolved survives power loss. ``"NORMAL"``: it
survives the process; the machine's last moments may be lost, never the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from holdfast.journal.events import Event
from holdfast.journal.store import Batch
from holdfast.stores import reading
from holdfast.stores.bells import Bell
from holdfast.stores.blobs import BlobTable, Prepared, count
from holdfast.stores.forgetting import forget
from holdfast.stores.ledger import Ledger
from holdfast.stores.reads import Reads
from holdfast.stores.schema import grow_wal, open_store
from holdfast.stores.writer import Writer
from holdfast.values import limits
from holdfast.values.canon import Blobs
from holdfast.values.errors import Misuse, Outside
from holdfast.values.ids import new_id
from holdfast.values.ports import Clock, Dice, SystemClock, SystemDice

_T = TypeVar("_T")

FILE = "journal.db"
"""Name of the journal inside a store's directory."""


class SqliteStore(Reads):
    """Implements `holdfast.journal.store.Store` on ``<directory>/journal.db``.

    ``name`` (a random id) is this process's name as a lease holder. ``grow``: grow the write-ahead
    log at once, for a process that will append much. ``pack``: for `maintain`. Opening
    raises `NotFound` (unless ``create``), `Corrupt`, `Misuse` or `Outside`, each naming the file.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        create: bool = True,
        synchronous: str = "FULL",
        grow: bool = False,
        clock: Clock | None = None,
        dice: Dice | None = None,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise Misuse(f"synchronous={synchronous!r}: choose FULL or NORMAL")
        self.directory = Path(directory)
        super().__init__(self.directory / FILE)
        self.name = new_id(dice or SystemDice())
        self._clock = clock or SystemClock()
        conn = open_store(self.path, create=create, synchronous=synchronous)
        if grow:
            grow_wal(conn)
        # the writer waits for others, and checkpoints, in its thread only
        conn.execute("PRAGMA busy_timeout=0")
        conn.execute("PRAGMA wal_autocheckpoint=0")
        self._bell = Bell(self.directory / "bells", self.name)
        self._ledger = Ledger(self._bell, self._clock)
        self._blobs = BlobTable(self.path, self.name)
        self.pack = self._blobs.end
        self._writer = Writer(
            conn, self.path,
            before=self._begin, after=self._end, settled=self._settled,
            idle=self._ledger.renewal_due, clock=SystemClock(),
        )  # fmt: skip

    def _begin(self, conn: sqlite3.Connection) -> None:
        if self._ledger.begin(conn):
            self._blobs.refresh(conn)
            self._bell.look_around()

    def _end(self, conn: sqlite3.Connection) -> None:
        self._ledger.flush(conn)
        self._blobs.seal(conn)

    def _settled(self, ok: bool) -> None:
        self._blobs.settled(ok)
        self._ledger.settled(ok)

    def append(self, batches: Sequence[Batch], blobs: Blobs) -> asyncio.Future[list[Event]]:
        """See `Store.append`."""
        prepared = self._blobs.prepare(blobs) if blobs else None
        work = self._append_work(batches, prepared)
        loop = asyncio.get_running_loop()
        # a run that begins takes its first step at once
        more = _begins(batches)
        return self._writer.submit(work, loop, _size(prepared), more=more)

    def append_now(self, batches: Sequence[Batch], blobs: Blobs) -> list[Event]:
        """See `Store.append_now`."""
        prepared = self._blobs.prepare(blobs) if blobs else None
        return self._writer.submit_now(self._append_work(batches, prepared), _size(prepared))

    def _append_work(
        self, batches: Sequence[Batch], prepared: Prepared | None
    ) -> Callable[[sqlite3.Connection], list[Event]]:
        def work(conn: sqlite3.Connection) -> list[Event]:
            events = self._ledger.append(conn, batches)
            if prepared is not None:
                self._blobs.put(conn, prepared)
            return events

        return work

    async def put(self, blobs: Blobs) -> None:
        """See `Store.put`."""
        if blobs:
            prepared = self._blobs.prepare(blobs)
            work = self._put_work(prepared)
            await self._writer.submit(work, asyncio.get_running_loop(), _size(prepared))

    def put_now(self, blobs: Blobs) -> None:
        """See `Store.put_now`."""
        if blobs:
            prepared = self._blobs.prepare(blobs)
            self._writer.submit_now(self._put_work(prepared), _size(prepared))

    def _put_work(self, prepared: Prepared) -> Callable[[sqlite3.Connection], None]:
        return lambda conn: self._blobs.put(conn, prepared, early=self._clock.now_ms())

    def adopt(self, events: Sequence[Event]) -> int:
        """Take in sealed events of one run, whose ids the caller has proven; how many were new.

        `Conflict` if a run of that name has another history here, `NotFound` if it forks from what
        is absent, `LeaseLost` if it would grow while a process is running it.
        """
        return self._writer.submit_now(lambda conn: self._ledger.adopt(conn, events))

    def forget(self, run: str, positions: Sequence[int]) -> None:
        """See `Store.forget`."""
        self.maintain(lambda conn: forget(conn, run, positions))

    def maintain(
        self,
        work: Callable[[sqlite3.Connection], _T],
        told: Callable[[sqlite3.Connection], Batch] | None = None,
    ) -> _T:
        """Run ``work``, which may delete rows, in a transaction of the writer's; blocks. ``told``:
        what to append before it, in the same transaction; if it raises, nothing is done."""

        def alone(conn: sqlite3.Connection) -> _T:
            if told is not None:
                self._ledger.append(conn, (told(conn),))
            self._ledger.flush(conn)  # it must see what was appended in this transaction
            try:
                return work(conn)
            finally:
                self._ledger.forget()
                self._blobs.refresh(conn)

        return self._writer.submit_now(alone)

    async def claim(self, run: str, owner: str) -> int:
        """See `Store.claim`. ``owner`` is this store's ``name``."""
        loop = asyncio.get_running_loop()
        return await self._writer.submit(lambda conn: self._ledger.claim(conn, run, owner), loop)

    async def release(self, run: str, epoch: int, seen: int) -> bool:
        """See `Store.release`."""
        loop = asyncio.get_running_loop()
        return await self._writer.submit(
            lambda conn: self._ledger.release(conn, run, epoch, seen), loop
        )

    async def wakeable(self, now_ms: int, limit: int) -> tuple[list[str], int]:
        """See `Store.wakeable`."""
        alive: dict[str, bool] = {"": False, self.name: True}

        def lives(conn: sqlite3.Connection, owner: str) -> bool:
            if owner not in alive:
                alive[owner] = self._ledger.alive(conn, owner)
            return alive[owner]

        return self.ask(lambda conn: reading.wakeable(conn, now_ms, limit, lives))

    def listen(self, bell: Callable[[], None]) -> None:
        """See `Store.listen`."""
        self._bell.listen(bell)
        # INVARIANT S3: others look for new bells when the file has changed, so it must change now
        with contextlib.suppress(Outside):  # a full or read-only disk: nobody writes, nobody rings
            self._writer.submit_now(lambda conn: count(conn, "bells"))
        self._writer.submit_now(self._ledger.hold)  # a write, so that others look around

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        if self._ledger.leased:
            with contextlib.suppress(Exception):  # a lease that is not given back expires
                self._writer.submit_now(self._ledger.let_go)
        self.close_readers()
        self._writer.close()  # last: who closes last moves the log into the database
        self._bell.remove()


def _begins(batches: Sequence[Batch]) -> bool:
    """Whether a run begins with these. (A loop, for every append comes by.)"""
    for batch in batches:  # noqa: SIM110
        if batch.lease:
            return True
    return False


def _size(prepared: Prepared | None) -> int:
    """What the writer is told: bytes for SQLite, or more than it takes on the event loop."""
    if prepared is None:
        return 0
    if prepared.large:  # a second file to write and to sync
        return limits.INLINE_COMMIT_BYTES + 1
    return sum(len(stored) for _, _, stored in prepared.rows)
