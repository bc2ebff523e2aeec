"""What the writing thread knows: heads, rows and leases, and how an append changes them.

Everything here runs inside the writer's transaction. Rows are remembered between transactions and
forgotten as soon as another process has written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from holdfast.journal.events import KINDS, Event, Head
from holdfast.journal.placing import Slot, graft, lineage, place, refused
from holdfast.journal.store import Batch
from holdfast.journal.views import RunRow
from holdfast.stores import reading
from holdfast.stores.bells import Bell
from holdfast.stores.blobs import counter
from holdfast.stores.metering import Metering
from holdfast.stores.terse import terse
from holdfast.values import limits
from holdfast.values.errors import Exceeded, LeaseLost, NotFound
from holdfast.values.ports import Clock

_CODES = {kind: code for code, kind in enumerate(KINDS)}
_REMEMBERED = 100_000
_encoder = msgspec.json.Encoder()


class Look(NamedTuple):
    """How what `place` must know is looked up through one connection."""

    conn: sqlite3.Connection
    slot_of: Callable[[str], Slot | None]
    head_at: Callable[[str, int], Head]
    value_of: Callable[[str], int]


class Ledger:
    """Heads, rows and leases of one SQLite store, as its writer sees them."""

    def __init__(self, bell: Bell, clock: Clock) -> None:
        self._bell = bell
        self._clock = clock
        self._version = -1
        self._seq = 0
        self._number = 0
        self._slots: dict[str, Slot] = {}
        self._meters = Metering()
        self._look: Look | None = None
        self._inserts: list[tuple[Any, ...]] = []
        self._news = False
        self._renew_at = 0
        self.leased = False

    def begin(self, conn: sqlite3.Connection) -> bool:
        """A transaction starts: forget what another process may have changed. True if one has."""
        version = conn.execute("PRAGMA data_version").fetchone()[0]
        moved = version != self._version
        if moved or len(self._slots) > _REMEMBERED:
            self._version = version
            self._slots.clear()
            self._meters.forget()
            self._seq = reading.last_seq(conn)
            newest = conn.execute("SELECT coalesce(max(n),0) FROM run").fetchone()[0]
            self._number = max(newest, counter(conn, "run"))
        if self.leased and self.renewal_due():
            self.hold(conn)
        return moved

    def flush(self, conn: sqlite3.Connection) -> None:
        """Write the events of this transaction."""
        if self._inserts:
            inserts, self._inserts, self._news = self._inserts, [], True
            conn.executemany(
                "INSERT INTO event(seq,n,pos,kind,at,id,world,body,args,value) "
                "VALUES(?,?,?,?,?,?,?,?,?,?)",
                inserts,
            )
        self._meters.flush(conn)

    def settled(self, ok: bool) -> None:
        """The transaction ended; ring the others if it brought events."""
        if ok and self._news:
            self._bell.ring_others()
        if not ok:
            self._version = -1
            self._slots.clear()
            self._meters.forget()
            self._inserts.clear()
            self._renew_at = 0  # the renewal may have been in it
        self._news = False

    def forget(self) -> None:
        """Rows were deleted: nothing that is remembered here counts any more."""
        self._version = -1
        self._slots.clear()
        self._meters.forget()

    def append(self, conn: sqlite3.Connection, batches: Sequence[Batch]) -> list[Event]:
        """Place batches; the events are written by `flush`. Raises before anything is changed."""
        if not self.leased and any(batch.lease == self._bell.name for batch in batches):
            self.hold(conn)
        look = self._look_in(conn)
        try:
            placed = place(batches, look.slot_of, look.head_at, self._seq + 1, look.value_of)
        except Exceeded:
            self._slots.update(refused(batches, look.slot_of))
            raise
        self._slots.update(placed.slots)
        if placed.changed:
            for run, slot in placed.slots.items():
                if run in placed.changed:
                    row = self._write_row(conn, slot.row)
                    self._slots[run] = Slot(slot.head, row, slot.serial)
        self._insert(placed.events)
        if placed.meters:
            self._meters.take(placed.meters)
        return placed.events

    def adopt(self, conn: sqlite3.Connection, events: Sequence[Event]) -> int:
        """Take in sealed events of one run, whose hashes the caller has proven; how many were new.

        See `graft`; `LeaseLost` if the run would grow while a process is running it.
        """
        look = self._look_in(conn)
        placed = graft(events, look.slot_of, look.head_at, self._seq + 1, look.value_of)
        for run, slot in placed.slots.items():
            owner = slot.row.owner
            if owner and self.alive(conn, owner):
                raise LeaseLost(f"run {run}: a process ({owner}) is running it")
            row = msgspec.structs.replace(slot.row, owner="")
            self._slots[run] = Slot(slot.head, self._write_row(conn, row))
        self._insert(placed.events)
        self._meters.take(placed.meters)
        return len(placed.events)

    def _look_in(self, conn: sqlite3.Connection) -> Look:
        if self._look is None or self._look.conn is not conn:
            self._look = Look(
                conn, partial(self.slot_of, conn), partial(self._head_at, conn),
                partial(self._meters.value_of, conn),
            )  # fmt: skip
        return self._look

    def _insert(self, events: Sequence[Event]) -> None:
        self._inserts += [_columns(event, self._slots[event.run].row.number) for event in events]
        self._seq += len(events)

    def claim(self, conn: sqlite3.Connection, run: str, owner: str) -> int:
        """Give the lease of a run to ``owner``; the new epoch."""
        slot = self._need(conn, run)
        holder = slot.row.owner
        if holder and holder != owner and self.alive(conn, holder):
            raise LeaseLost(f"run {run}: another process ({holder}) is running it")
        self.hold(conn)
        row = msgspec.structs.replace(slot.row, owner=owner, epoch=slot.row.epoch + 1)
        self._slots[run] = Slot(slot.head, self._write_row(conn, row))
        return row.epoch

    def release(self, conn: sqlite3.Connection, run: str, epoch: int, seen: int) -> bool:
        """Give a lease back unless something arrived after position ``seen``."""
        slot = self._need(conn, run)
        if slot.row.epoch != epoch or slot.head.pos != seen:
            return False
        row = msgspec.structs.replace(slot.row, owner="")
        self._slots[run] = Slot(slot.head, self._write_row(conn, row))
        # its owner has heard all there is: only what comes from now on wakes it
        conn.execute("UPDATE run SET woken=0 WHERE run=?", (run,))
        return True

    def alive(self, conn: sqlite3.Connection, owner: str) -> bool:
        """INVARIANT S2: a lease counts while its process lives *and* renews it."""
        if owner == self._bell.name:
            return True
        found = conn.execute("SELECT expires FROM owner WHERE id=?", (owner,)).fetchone()
        if found is None or found[0] <= self._clock.now_ms():
            return False
        return self._bell.alive(owner)

    def hold(self, conn: sqlite3.Connection) -> None:
        """Be known, until some seconds from now, as a living lease holder."""
        now = self._clock.now_ms()
        if not self.leased:
            self._bell.hang()
            self.leased = True
            conn.execute("DELETE FROM owner WHERE expires<?", (now - 86_400_000,))
        self._renew_at = now + int(limits.LEASE_SECONDS * 1000 / 3)
        expires = now + int(limits.LEASE_SECONDS * 1000)
        conn.execute("INSERT OR REPLACE INTO owner VALUES(?,?)", (self._bell.name, expires))

    def renewal_due(self) -> bool:
        """Whether the lease should be renewed now."""
        return self.leased and self._clock.now_ms() >= self._renew_at

    def let_go(self, conn: sqlite3.Connection) -> None:
        """Stop being a lease holder (a clean close)."""
        conn.execute("DELETE FROM owner WHERE id=?", (self._bell.name,))
        self.leased = False

    def slot_of(self, conn: sqlite3.Connection, run: str) -> Slot | None:
        """Head and row of a run, or None."""
        slot = self._slots.get(run)
        if slot is None:
            try:
                row = reading.row_of(conn, run)
            except NotFound:
                return None
            slot = self._slots[run] = Slot(reading.head_of(conn, row.number, run), row)
        return slot

    def _need(self, conn: sqlite3.Connection, run: str) -> Slot:
        slot = self.slot_of(conn, run)
        if slot is None:
            raise NotFound(f"run {run!r} is not in this store; `holdfast ps` lists them")
        return slot

    def _head_at(self, conn: sqlite3.Connection, run: str, pos: int) -> Head:
        for name, first, _ in lineage(lambda one: self._need(conn, one).row, run, pos, pos + 1):
            number = self._need(conn, name).row.number
            for columns in self._inserts:  # events of this very transaction
                if columns[1] == number and columns[2] == first:
                    return Head(first, columns[5].hex(), columns[6].hex() if columns[6] else "")
            return reading.head_of(conn, number, name, first)
        raise NotFound(f"run {run} has no event #{pos}")

    def _write_row(self, conn: sqlite3.Connection, row: RunRow) -> RunRow:
        if row.number == 0:
            self._number += 1
            row = msgspec.structs.replace(row, number=self._number)
        conn.execute(
            "INSERT INTO run(n,run,agent,status,parent,due,woken,owner,epoch,row) "
            "VALUES(?,?,?,?,?,?,?,?,?,?) ON CONFLICT(n) DO UPDATE SET status=excluded.status,"
            "due=excluded.due,woken=excluded.woken,owner=excluded.owner,epoch=excluded.epoch,"
            "row=excluded.row",
            (row.number, row.run, row.agent, row.status, row.parent, row.due, int(row.woken),
             row.owner, row.epoch, _encoder.encode(row).decode()),
        )  # fmt: skip
        return row


def _columns(event: Event, number: int) -> tuple[Any, ...]:
    return (
        event.seq, number, event.pos, _CODES[event.kind], event.at, bytes.fromhex(event.id),
        bytes.fromhex(event.world) or None, event.body.decode(),
        None if event.args is None else terse(event.args),
        None if event.value is None else terse(event.value),
    )  # fmt: skip
