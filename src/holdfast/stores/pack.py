"""Large content: appended to files beside the journal, since SQLite is slow at taking it.

Pack number n is the file ``pack.<n>``: one line that says whose it is, then content, end to end.
The rows of the journal say where each blob is (``blob.pack``, ``start``, ``size``) and where each
pack ends (``pack.size``).

INVARIANT S8: what a committed row points at is on the disk and never changes. A pack is written
only beyond its recorded end, by who holds the journal's write lock, and synced before the
transaction that moves the end commits; so bytes beyond the end are nobody's, and are written over.
Numbers are never given twice, and content moves (see `PackEnd.move`) by being written again at
another place. A file goes when no committed and synced row names it; who read such a row before has
the file open, or looks again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from holdfast.stores.schema import Connection, sync_directory
from holdfast.values import limits
from holdfast.values.errors import Corrupt, HoldfastError, Misuse, Outside

VERSION = 1
"""Version of the first line. Newer packs are refused."""

_HEAD = b"holdfast pack "
_HEAD_MOST = 200
_SALVAGE = "`holdfast fsck --salvage FILE` exports what is sound"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Place(NamedTuple):
    """Where content is: number of the pack, first byte, bytes as stored."""

    pack: int
    start: int
    size: int


class Moved(Exception):
    """The pack is gone: what was in it is elsewhere by now, or lost."""


def pack_path(journal: Path, number: int) -> Path:
    """The file of a pack."""
    return journal.with_name(f"pack.{number}")


# Reading --------------------------------------------------------------------------------------
def read_place(conn: sqlite3.Connection, journal: Path, place: Place) -> bytes:
    """The bytes at a place, not verified. Raises `Moved`, `Corrupt`, `Misuse` or `Outside`.

    Files stay open with the connection, so each thread has its own.
    """
    opened = open_pack(conn, journal, place.pack)
    path = pack_path(journal, place.pack)
    pieces: list[bytes] = []
    at, end = place.start, place.start + place.size
    while at < end:
        try:
            piece = os.pread(opened, end - at, at)
        except (OSError, OverflowError) as error:
            raise Outside(f"{path}: cannot be read: {error}", retryable=True) from None
        if not piece:
            raise Corrupt(f"{path}: is cut off after {at:,} bytes; {_SALVAGE}")
        pieces.append(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def hold_packs(conn: sqlite3.Connection, journal: Path) -> set[int]:
    """Open every pack that this transaction sees, so that none goes while it lasts.

    Returns those that are not there: lost, or gone since the transaction began. What is damaged or
    foreign is for the readers to find.
    """
    gone: set[int] = set()
    for (number,) in conn.execute("SELECT n FROM pack").fetchall():
        try:
            open_pack(conn, journal, number)
        except Moved:
            gone.add(number)
        except HoldfastError:
            continue
    return gone


def open_pack(conn: sqlite3.Connection, journal: Path, number: int) -> int:
    """The descriptor of a pack, opened and checked once per connection."""
    assert isinstance(conn, Connection)
    if number in conn.packs:
        return conn.packs[number]
    if not conn.in_transaction:
        _let_go(conn)
    path = pack_path(journal, number)
    try:
        opened = os.open(path, conn.pack_flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Moved from None
    except OSError as error:
        raise Outside(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        found = conn.execute("SELECT CAST(mark AS BLOB) FROM pack WHERE n=?", (number,)).fetchone()
        if found is None:
            raise Moved
        _check_head(path, os.pread(opened, _HEAD_MOST, 0), head_line(number, found[0]))
    except BaseException as error:
        os.close(opened)
        if isinstance(error, OSError):  # a directory, a failing disk
            raise Outside(f"{path}: cannot be opened: {error.strerror}") from None
        raise
    conn.packs[number] = opened
    return opened


def _let_go(conn: Connection) -> None:
    """Close packs that were deleted, so that the disk gets their space back."""
    for number, opened in list(conn.packs.items()):
        if os.fstat(opened).st_nlink == 0:
            os.close(conn.packs.pop(number))


def head_line(number: int, mark: bytes) -> bytes:
    """The first line of a pack."""
    return b"%s%d %d %s\n" % (_HEAD, VERSION, number, mark)


def _check_head(path: Path, start: bytes, expected: bytes) -> None:
    if start.startswith(expected):
        return
    if not start.startswith(_HEAD[: len(start)]):
        raise Corrupt(f"{path}: is not a Holdfast pack")
    if b"\n" not in start:
        raise Corrupt(f"{path}: is cut off after {len(start)} bytes; {_SALVAGE}")
    version = start[len(_HEAD) :].split(b" ")[0]
    if version.isdigit() and int(version) > VERSION:
        raise Misuse(
            f"{path}: has pack version {int(version)}, this Holdfast reads up to {VERSION}: "
            "update Holdfast, or use another store with --store"
        )
    raise Corrupt(f"{path}: is the pack of another store: put back the one that belongs here")


# Writing --------------------------------------------------------------------------------------
class PackEnd:
    """The end of a store's newest pack, where content is added. All methods are for the writer,
    inside its transactions. ``mark`` (an id of this process) marks the packs that it makes."""

    def __init__(self, journal: Path, mark: str) -> None:
        self._journal = journal
        self._mark = mark
        self._number = 0  # 0: not looked up in this transaction
        self._file = -1
        self._end = self._recorded = 0
        self._made: tuple[Connection, int] | None = None

    def add(self, conn: sqlite3.Connection, contents: Sequence[bytes]) -> list[Place]:
        """Write content beyond the end. Raises `Outside` (full disk) or `Corrupt`."""
        if not self._number:
            self._look(conn)
        places: list[Place] = []
        at = self._end
        for content in contents:
            places.append(Place(self._number, at, len(content)))
            at += len(content)
        try:
            _write(self._file, contents, self._end)
        except OSError as error:
            with contextlib.suppress(OSError):  # room for what is smaller
                os.ftruncate(self._file, self._end)
            raise _refused(pack_path(self._journal, self._number), error) from None
        self._end = at
        return places

    def _look(self, conn: sqlite3.Connection) -> None:
        found = conn.execute("SELECT n,size FROM pack ORDER BY n DESC LIMIT 1").fetchone()
        if found is None:
            self.turn(conn)
            return
        number, size = found
        path = pack_path(self._journal, number)
        try:
            opened = open_pack(conn, self._journal, number)
        except Moved:
            raise Corrupt(f"{path}: is missing: put it back beside the journal") from None
        there = os.fstat(opened)
        if there.st_nlink == 0:
            raise Corrupt(f"{path}: was deleted while in use: put it back beside the journal")
        if there.st_size < size:
            raise Corrupt(
                f"{path}: is cut off after {there.st_size:,} of {size:,} bytes; {_SALVAGE}"
            )
        self._number, self._file, self._end, self._recorded = number, opened, size, size

    def turn(self, conn: sqlite3.Connection) -> None:
        """Begin the next pack: what is added from now on goes there."""
        assert isinstance(conn, Connection)
        self.seal(conn)
        number = conn.execute("SELECT coalesce(max(n),0)+1 FROM pack").fetchone()[0]
        path = pack_path(self._journal, number)
        head = head_line(number, self._mark.encode())
        try:
            # left by a transaction that did not commit, or not there
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            opened = os.open(path, flags, 0o600)
            start = os.pread(opened, len(_HEAD), 0)
            if start.strip(b"\0") and not start.startswith(_HEAD):  # INVARIANT S1
                os.close(opened)
                raise Misuse(f"{path}: is not a Holdfast pack: move it out of the store")
            old = conn.packs.pop(number, -1)
            if old >= 0:
                os.close(old)
            conn.packs[number] = opened
            self._made = (conn, number)
            os.ftruncate(opened, 0)
            _write(opened, [head], 0)
            os.fsync(opened)
            sync_directory(path.parent)
        except OSError as error:
            raise _refused(path, error) from None
        conn.execute("INSERT INTO pack(n,mark,size) VALUES(?,?,?)", (number, self._mark, len(head)))
        self._number, self._file, self._end, self._recorded = number, opened, len(head), len(head)

    def seal(self, conn: sqlite3.Connection) -> None:
        """Sync what was added and record the new end: before the transaction commits."""
        if self._number and self._end != self._recorded:
            try:
                os.fdatasync(self._file)
            except OSError as error:
                raise _refused(pack_path(self._journal, self._number), error) from None
            conn.execute("UPDATE pack SET size=? WHERE n=?", (self._end, self._number))
            self._recorded = self._end

    def settled(self, ok: bool) -> None:
        """The transaction ended: others may add now."""
        self._number = 0
        if self._made is not None and not ok:
            conn, number = self._made  # another process may make a pack of this number
            os.close(conn.packs.pop(number))
        self._made = None

    def wasteful(self, conn: sqlite3.Connection) -> list[int]:
        """Numbers of the packs that hold so much of nobody's that moving the rest out pays."""
        return [
            number
            for number, size, used in conn.execute(
                "SELECT p.n,p.size,(SELECT coalesce(sum(b.size),0) FROM blob b WHERE b.pack=p.n)"
                " FROM pack p ORDER BY p.n"
            )
            if (size - used - _HEAD_MOST) * 100 > size * limits.PACK_UNUSED_PERCENT
        ]

    def move(self, conn: sqlite3.Connection, number: int, page: Sequence[Place]) -> list[Place]:
        """Add what is at these places of an older pack again; where it is now."""
        contents = [read_place(conn, self._journal, place) for place in page]
        if not self._number:
            self._look(conn)
        assert number < self._number, (number, self._number)
        return self.add(conn, contents)

    def sweep(self, conn: sqlite3.Connection) -> None:
        """Delete files that no row names: left by a crash, or emptied in an earlier transaction."""
        assert isinstance(conn, Connection)
        known = {pack_path(self._journal, n).name for (n,) in conn.execute("SELECT n FROM pack")}
        for path in self._journal.parent.glob("pack.*"):
            if path.name not in known and path.name[5:].isdigit():
                with contextlib.suppress(OSError):
                    path.unlink()
        _let_go(conn)


def _write(opened: int, contents: Sequence[bytes], at: int) -> None:
    for start in range(0, len(contents), 512):  # the system takes 1,024 pieces at once
        rest = [memoryview(content) for content in contents[start : start + 512]]
        while rest:
            written = os.pwritev(opened, rest, at)
            at += written
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if rest:
                rest[0] = rest[0][written:]


def _refused(path: Path, error: OSError) -> Outside:
    if error.errno in _FULL:
        return Outside(f"{path}: the disk is full; nothing of this append was written",
                       retryable=True)  # fmt: skip
    return Outside(f"{path}: cannot be written: {error.strerror or error}", retryable=True)
