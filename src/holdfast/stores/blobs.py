"""Content by hash in a table: compressed where that helps, verified whenever it is read."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

import zstandard

from holdfast.values import limits
from holdfast.values.canon import Blobs, digest
from holdfast.values.errors import Corrupt

Row = tuple[bytes, int, bytes]
"""Hash, whether compressed, bytes."""

_REMEMBERED = 50_000


class Packed(NamedTuple):
    """Blobs on their way to the disk: ``rows`` are those that this process had not stored when
    ``swept`` was the number of collections of garbage."""

    blobs: Blobs
    rows: list[Row]
    swept: int


class BlobTable:
    """The ``blob`` table. ``pack`` runs in the caller's thread, the rest in the writer's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.local()  # a compressor must not be shared between threads
        self._known: set[str] = set()
        self._pending: list[str] = []
        self._swept = 0

    def pack(self, blobs: Blobs) -> Packed:
        """Rows for the blobs that this process has not stored already."""
        swept, known = self._swept, self._known
        fresh = {name: content for name, content in blobs.items() if name not in known}
        return Packed(blobs, self._rows(fresh), swept)

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

    def put(self, conn: sqlite3.Connection, packed: Packed, early: int = 0) -> None:
        """Write blobs; one that is there already is left alone.

        ``early``: the time (ms), if no event in this transaction names them: `gc` spares them then.
        """
        # INVARIANT S4: a blob taken for stored is stored again if garbage was collected since
        rows = packed.rows if packed.swept == self._swept else self._rows(packed.blobs)
        conn.executemany("INSERT OR IGNORE INTO blob(hash,zstd,data) VALUES(?,?,?)", rows)
        self._pending.extend(row[0].hex() for row in rows)
        if early:
            conn.executemany(
                "INSERT OR REPLACE INTO early(hash,at) VALUES(?,?)",
                [(bytes.fromhex(name), early) for name in packed.blobs],
            )

    def settled(self, ok: bool) -> None:
        """The transaction ended: remember what is stored now."""
        if ok:
            if len(self._known) > _REMEMBERED:
                self._known = set()
            self._known.update(self._pending)
        self._pending.clear()

    def get(self, conn: sqlite3.Connection, name: str) -> bytes:
        """A blob, verified; `Corrupt` if absent or damaged."""
        return read_blob(conn, self._path, name)


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
    found = conn.execute("SELECT zstd,data FROM blob WHERE hash=?", (key,)).fetchone()
    if found is None:
        raise Corrupt(f"{path}: blob {name} is absent; see `holdfast fsck`")
    content = inflate(found[0], found[1])
    if content is None or digest(content) != name:
        raise Corrupt(f"{path}: blob {name} is damaged; see `holdfast fsck`")
    return content


def inflate(zstd: int, stored: object) -> bytes | None:
    """The content of a row, or None if it cannot be unpacked."""
    if not isinstance(stored, bytes):
        return None  # a damaged row holds anything
    if not zstd:
        return stored
    try:
        return zstandard.decompress(stored, max_output_size=limits.PAYLOAD_MAX_BYTES)
    except zstandard.ZstdError:
        return None
