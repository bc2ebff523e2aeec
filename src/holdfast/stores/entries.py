"""The leaves of a store's Merkle tree, read from its file; and the roots that were signed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from holdfast.journal.events import KINDS, CheckpointSigned, body_decoder
from holdfast.journal.record import AUDIT, DELETED
from holdfast.journal.signed import SignedRoot, signed_body
from holdfast.stores.blobs import read_blob
from holdfast.stores.terse import written
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt, HoldfastError

_SIGNED = KINDS.index("checkpoint.signed")
_FINDING = KINDS.index("finding.added")
_URGENT = ",".join(
    str(KINDS.index(kind)) for kind in ("approval.given", "branch.merged", "run.ended")
)


class Unsigned(msgspec.Struct, frozen=True):
    """Events that no signed root covers: how many; time of the oldest (ms); whether an approval, a
    merge or the end of a run is among them."""

    count: int
    oldest: int
    urgent: bool


class Statement(NamedTuple):
    """A signed root in the journal: ``seq`` of its event, ``peaks`` of its tree."""

    seq: int
    signed: SignedRoot
    peaks: tuple[str, ...]


def entries(conn: sqlite3.Connection, path: Path, after: int, last: int) -> Iterator[bytes]:
    """Leaves of the events with after < seq <= last, in order."""
    gone: dict[int, bytes] | None = None
    due = after + 1
    rows = conn.execute(
        "SELECT seq,id FROM event WHERE seq>? AND seq<=? ORDER BY seq", (after, last)
    )
    for seq, name in rows:
        if seq != due:
            gone = _deleted(conn, path) if gone is None else gone
            while due < seq:
                yield gone.get(due, b"")
                due += 1
        yield name
        due += 1
    if due <= last:
        gone = _deleted(conn, path) if gone is None else gone
        for seq in range(due, last + 1):
            yield gone.get(seq, b"")


def _deleted(conn: sqlite3.Connection, path: Path) -> dict[int, bytes]:
    """Ids of events that were deleted, by seq, as the record keeps them."""
    found: dict[int, bytes] = {}
    decode = body_decoder("finding.added").decode
    for body, value in _of_record(conn, "body,value", _FINDING):
        if decode(body).type != DELETED or value is None:
            continue
        try:
            kept = unpack(written(value), lambda name: read_blob(conn, path, name))
            ids: bytes = kept["ids"]
            seqs = [seq for first, last in kept["seqs"] for seq in range(first, last + 1)]
            found.update((seq, ids[at * 32 : at * 32 + 32]) for at, seq in enumerate(seqs))
        except (HoldfastError, KeyError, TypeError, ValueError):
            continue  # its damage is found by whoever proves the journal; the tree will not fit
    return found


def _of_record(
    conn: sqlite3.Connection, columns: str, kind: int, order: str = "ASC"
) -> Iterator[tuple[Any, ...]]:
    sql = (
        f"SELECT {columns} FROM event WHERE n=(SELECT n FROM run WHERE run=?) "  # noqa: S608
        f"AND kind=? ORDER BY pos {order}"
    )
    yield from conn.execute(sql, (AUDIT, kind))


def statements(conn: sqlite3.Connection, after: int = -1) -> list[Statement]:
    """Signed roots of more than ``after`` events, oldest first; `Corrupt` for one that is none."""
    found: list[Statement] = []
    # from the newest back: what is asked for is mostly the end of a long record
    for seq, pos, body in _of_record(conn, "seq,pos,body", _SIGNED, "DESC"):
        said: CheckpointSigned = body_decoder("checkpoint.signed").decode(body)
        if said.size <= after:
            break
        found.append(Statement(seq, signed_body(said, f"{AUDIT}#{pos}"), said.peaks))
    return found[::-1]


def newest_statement(conn: sqlite3.Connection) -> Statement | None:
    """The last signed root, None if there is none."""
    found = conn.execute(
        "SELECT seq,pos,body FROM event WHERE n=(SELECT n FROM run WHERE run=?) AND kind=? "
        "ORDER BY pos DESC LIMIT 1",
        (AUDIT, _SIGNED),
    ).fetchone()
    if found is None:
        return None
    said: CheckpointSigned = body_decoder("checkpoint.signed").decode(found[2])
    return Statement(found[0], signed_body(said, f"{AUDIT}#{found[1]}"), said.peaks)


def unsigned(conn: sqlite3.Connection, size: int) -> Unsigned:
    """What came after the first ``size`` events, but for signed roots."""
    count, oldest, urgent = conn.execute(
        f"SELECT count(*),coalesce(min(at),0),coalesce(max(kind IN ({_URGENT})),0) "  # noqa: S608
        "FROM event WHERE seq>? AND kind<>?",
        (size, _SIGNED),
    ).fetchone()
    return Unsigned(count, oldest, bool(urgent))


def leaf_count(conn: sqlite3.Connection) -> int:
    """The newest seq of an event that is there."""
    return conn.execute("SELECT coalesce(max(seq),0) FROM event").fetchone()[0]


def place_of_event(conn: sqlite3.Connection, seq: int) -> str:
    """RUN#POS of the event with this seq; `Corrupt` if there is none."""
    found = conn.execute(
        "SELECT r.run,e.pos FROM event e JOIN run r USING(n) WHERE e.seq=?", (seq,)
    ).fetchone()
    if found is None:
        raise Corrupt(f"there is no event {seq}")
    run = found[0].decode() if isinstance(found[0], bytes) else found[0]
    return f"{run}#{found[1]}"
