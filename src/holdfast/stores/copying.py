"""A copy of a store for auditors: every event with its hashes, without payloads if wished."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from holdfast.journal.proof import Chain, Raw, references
from holdfast.journal.record import OWN
from holdfast.stores.blobs import count, read_blob
from holdfast.stores.fsck import Check
from holdfast.stores.pack import hold_packs, pack_path
from holdfast.stores.schema import connect, explain
from holdfast.stores.sqlite import FILE, SqliteStore
from holdfast.stores.terse import written
from holdfast.values.errors import Misuse, Outside
from holdfast.values.ports import SystemClock


def copy_store(store: SqliteStore, target: Path, *, payloads: bool = True) -> int:
    """Copy a store into the new directory ``target``; how many events. Without ``payloads`` only
    their hashes are copied, and no content: what happened can be proven, not what was said.
    `Misuse` if the target exists."""
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise Misuse(f"{target}: is there already: name a new directory") from None
    except OSError as error:
        raise Outside(f"{target}: cannot be made: {error.strerror}") from None
    try:
        return _copy(store.path, target / FILE, payloads)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _copy(source: Path, path: Path, payloads: bool) -> int:
    reader = connect(source)
    try:
        reader.execute("BEGIN")
        hold_packs(reader, source)
        reader.execute("SELECT 1 FROM event LIMIT 1").fetchone()
        there = sqlite3.connect(path, isolation_level=None)
        try:
            reader.backup(there)  # of one state, the one of this transaction
        finally:
            there.close()
        path.chmod(0o600)
        own = [] if payloads else _own_blobs(reader, source)
        if payloads:
            for (number,) in reader.execute("SELECT n FROM pack"):
                shutil.copyfile(pack_path(source, number), pack_path(path, number))
    except sqlite3.Error as error:
        raise explain(error, source) from None
    finally:
        reader.close()
    return _finish(path, payloads, own)


def _own_blobs(conn: sqlite3.Connection, source: Path) -> list[tuple[bytes, bytes]]:
    """Content that Holdfast's own runs need: ids of deleted events, which proofs are made of."""
    found: dict[str, bytes] = {}
    marks = ",".join("?" * len(OWN))
    sql = f"SELECT value FROM event JOIN run USING(n) WHERE run.run IN ({marks})"  # noqa: S608
    stack = [written(value) for (value,) in conn.execute(sql, tuple(OWN)) if value is not None]
    while stack:
        for tag, name in references(stack.pop()):
            found[name] = read_blob(conn, source, name)
            if tag == b"blob":
                stack.append(found[name])
    return [(bytes.fromhex(name), content) for name, content in found.items()]


def _finish(path: Path, payloads: bool, own: list[tuple[bytes, bytes]]) -> int:
    conn = connect(path, write=True)
    try:
        conn.execute("BEGIN IMMEDIATE")
        # nobody runs anything there
        conn.execute("UPDATE run SET owner='',row=json_remove(row,'$.owner') WHERE owner<>''")
        conn.execute("DELETE FROM owner")
        if not payloads:
            _strip(conn, path)
            for table in ("blob", "pack", "early"):
                conn.execute(f"DELETE FROM {table}")  # noqa: S608 # our own names
            conn.executemany("INSERT INTO blob(hash,zstd,data) VALUES(?,0,?)", own)
            count(conn, "stripped")
        conn.execute("COMMIT")
        conn.execute("VACUUM")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        events: int = conn.execute("SELECT count(*) FROM event").fetchone()[0]
    finally:
        conn.close()
    for rest in ("-wal", "-shm"):
        path.with_name(path.name + rest).unlink(missing_ok=True)
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
    return events


class _Hashes(Check):
    """Works out the hashes of all payloads on the way."""

    def __init__(self, conn: sqlite3.Connection, path: Path) -> None:
        super().__init__(conn, path, None, SystemClock())
        self.hashes: list[tuple[str | None, str | None, str, int]] = []

    def prove(self, chain: Chain, event: Raw, needed: bool = True) -> None:
        """See `Check.prove`."""
        super().prove(chain, event, needed)
        if chain.run not in OWN:
            args, value = chain.hashes
            self.hashes.append((_mark(args), _mark(value), chain.run, event.pos))


def _strip(conn: sqlite3.Connection, path: Path) -> None:
    """Put hashes in the place of all payloads, but of Holdfast's own runs."""
    conn.text_factory = bytes
    check = _Hashes(conn, path)
    check.rows()
    check.events()
    conn.executemany(
        "UPDATE event SET args=?,value=? WHERE n=(SELECT n FROM run WHERE run=?) AND pos=?",
        check.hashes,
    )


def _mark(hashed: str) -> str | None:
    return f'{{"$erased":"{hashed}"}}' if hashed else None
