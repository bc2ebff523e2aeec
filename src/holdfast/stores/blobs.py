"""Content by hash: compressed where that helps, verified whenever it is read.

Small content is in the rows of the ``blob`` table, large content in packs (`holdfast.stores.pack`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from holdfast.stores.pack import Moved, PackEnd, Place, pack_path, read_place
from holdfast.values import limits
from holdfast.values.canon import Blobs, digest
from holdfast.values.errors import Corrupt, HoldfastError

Row = tuple[bytes, int, bytes]
"""Hash, whether compressed, bytes."""

COLUMNS = "zstd,data,pack,start,size"
"""What `stored_at` takes."""

_REMEMBERED = 200_000


class Undone(Exception):
    """Work failed after it had written: its transaction must go back. Carries the error to tell."""

    def __init__(self, error: HoldfastError) -> None:
        super().__init__(error)
        self.error = error


class Prepared(NamedTuple):
    """Blobs on their way to the disk: ``rows`` are those that this process had not stored when
    ``swept`` was the number of collections of garbage."""

    blobs: Blobs
    rows: list[Row]
    swept: int

    @property
    def large(self) -> bool:
        """Whether something goes to a pack."""
        return any(len(stored) >= limits.PACK_MIN_BYTES for _, _, stored in self.rows)


class BlobTable:
    """The ``blob`` table. ``prepare`` runs in the caller's thread, the rest in the writer's."""

    def __init__(self, path: Path, mark: str) -> None:
        self.end = PackEnd(path, mark)
        self._threads = threading.local()  # a compressor must not be shared between threads
        self._known: set[str] = set()
        self._pending: list[str] = []
        self._swept = 0

    def prepare(self, blobs: Blobs) -> Prepared:
        """Rows for the blobs that this process has not stored already."""
        swept, known = self._swept, self._known
        fresh = {name: content for name, content in blobs.items() if name not in known}
        return Prepared(blobs, self._rows(fresh), swept)

    def _rows(self, blobs: Blobs) -> list[Row]:
        packer: zstandard.ZstdCompressor | None = getattr(self._threads, "packer", None)
        if packer is None:
            packer = self._threads.packer = zstandard.ZstdCompressor(level=1)
        rows: list[Row] = []
        for name, content in blobs.items():
            packed = content
            if len(content) >= limits.BLOB_COMPRESS_MIN_BYTES:
                packed = packer.compress(content)
            small = len(packed) < len(content)
            rows.append((bytes.fromhex(name), int(small), packed if small else content))
        return rows

    def refresh(self, conn: sqlite3.Connection) -> None:
        """Another process has written: if it deleted blobs, what is known here is void."""
        swept = counter(conn, "swept")
        if swept != self._swept:
            self._known = set()
            self._swept = swept

    def put(self, conn: sqlite3.Connection, prepared: Prepared, early: int = 0) -> None:
        """Write blobs; one that is there already is left alone. Raises `Undone` if a pack refuses.

        ``early``: the time (ms), if no event in this transaction names them: `gc` spares them then.
        """
        # INVARIANT S4: a blob taken for stored is stored again if garbage was collected since
        again = prepared.swept != self._swept
        rows = self._rows(prepared.blobs) if again else prepared.rows
        newest = _newest(conn) if early else 0
        self._insert(conn, rows)
        self._pending.extend(row[0].hex() for row in rows)
        if early:
            _spare(conn, prepared.blobs, newest, early)

    def _insert(self, conn: sqlite3.Connection, rows: Sequence[Row]) -> None:
        small = [row for row in rows if len(row[2]) < limits.PACK_MIN_BYTES]
        conn.executemany("INSERT OR IGNORE INTO blob(hash,zstd,data) VALUES(?,?,?)", small)
        if len(small) == len(rows):
            return
        large = [row for row in rows if len(row[2]) >= limits.PACK_MIN_BYTES]
        fresh = [
            row for row in large
            if conn.execute("SELECT 1 FROM blob WHERE hash=?", (row[0],)).fetchone() is None
        ]  # fmt: skip
        if fresh:
            try:
                places = self.end.add(conn, [stored for _, _, stored in fresh])
            except HoldfastError as error:
                raise Undone(error) from None
            conn.executemany(
                "INSERT INTO blob(hash,zstd,pack,start,size) VALUES(?,?,?,?,?)",
                [(row[0], row[1], *place) for row, place in zip(fresh, places, strict=True)],
            )

    def seal(self, conn: sqlite3.Connection) -> None:
        """Make what was put durable, before the transaction commits."""
        try:
            self.end.seal(conn)
        except HoldfastError as error:
            raise Undone(error) from None

    def settled(self, ok: bool) -> None:
        """The transaction ended: remember what is stored now."""
        self.end.settled(ok)
        if ok:
            if len(self._known) > _REMEMBERED:
                self._known = set()
            self._known.update(self._pending)
        self._pending.clear()


def _newest(conn: sqlite3.Connection) -> int:
    return conn.execute("SELECT coalesce(max(id),0) FROM blob").fetchone()[0]


def _spare(conn: sqlite3.Connection, names: Iterable[str], newest: int, at: int) -> None:
    """Mark blobs as put early: the ids beyond ``newest`` in one row, and those that were there."""
    last = _newest(conn)
    spans: list[tuple[int, int, int]] = []
    if last > newest:
        spans.append((newest + 1, last, at))
    names = list(names)
    if last - newest < len(names):
        for name in names:
            key = (bytes.fromhex(name),)
            (found,) = conn.execute("SELECT id FROM blob WHERE hash=?", key).fetchone()
            if found <= newest:
                spans.append((found, found, at))
    conn.executemany("INSERT INTO early(first,last,at) VALUES(?,?,?)", spans)


def counter(conn: sqlite3.Connection, name: str) -> int:
    """A number that must outlive the rows it was counted from."""
    found = conn.execute("SELECT value FROM counter WHERE name=?", (name,)).fetchone()
    return found[0] if found else 0


def count(conn: sqlite3.Connection, name: str) -> None:
    """Add one to a counter."""
    conn.execute(
        "INSERT INTO counter VALUES(?,1) ON CONFLICT(name) DO UPDATE SET value=value+1", (name,)
    )


def read_blob(conn: sqlite3.Connection, path: Path, name: str) -> bytes:
    """A blob, verified; `Corrupt` if absent or damaged."""
    try:
        key = bytes.fromhex(name)
    except ValueError:
        raise Corrupt(f"{path}: {name!r} names no blob; see `holdfast fsck`") from None
    before: Place | None = None
    while True:
        sql = f"SELECT {COLUMNS} FROM blob WHERE hash=?"  # noqa: S608 # our own names
        found = conn.execute(sql, (key,)).fetchone()
        if found is None:
            raise Corrupt(f"{path}: blob {name} is absent; see `holdfast fsck`")
        try:
            content = stored_at(conn, path, *found)
        except Moved:
            place = Place(*found[2:])
            if place == before:
                raise Corrupt(
                    f"{pack_path(path, place.pack)}: is missing, and with it blob {name}: "
                    "put it back beside the journal"
                ) from None
            before = place
            continue
        if content is None or digest(content) != name:
            where: object = path
            if type(found[2]) is int and type(found[3]) is int:  # a damaged row holds anything
                where = f"{pack_path(path, found[2])} at {found[3]:,}"
            raise Corrupt(f"{where}: blob {name} is damaged; see `holdfast fsck`")
        return content


def stored_at(
    conn: sqlite3.Connection, path: Path, zstd: int, data: object, *place: Any
) -> bytes | None:
    """The content of a row (its `COLUMNS`), or None if it cannot be unpacked. Raises as
    `holdfast.stores.pack.read_place`."""
    if place[0] is None:
        return inflate(zstd, data)
    if any(type(part) is not int or part < 0 for part in place):
        return None  # a damaged row holds anything
    if place[2] > limits.PAYLOAD_MAX_BYTES:
        return None
    return inflate(zstd, read_place(conn, path, Place(*place)))


def inflate(zstd: int, stored: object) -> bytes | None:
    """What ``stored`` holds, or None if it cannot be unpacked."""
    if not isinstance(stored, bytes):
        return None
    if not zstd:
        return stored
    try:
        return _unpacker().decompress(stored, max_output_size=limits.PAYLOAD_MAX_BYTES)
    except zstandard.ZstdError:
        return None


_threads = threading.local()


def _unpacker() -> zstandard.ZstdDecompressor:
    """This thread's own: making one costs more than unpacking a small blob, and a decompressor must
    not be shared between threads."""
    found: zstandard.ZstdDecompressor | None = getattr(_threads, "unpacker", None)
    if found is None:
        found = _threads.unpacker = zstandard.ZstdDecompressor()
    return found
