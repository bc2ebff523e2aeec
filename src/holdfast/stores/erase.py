"""Erasing payloads: their bytes go, their hashes stay, and every proof still holds.

An erased payload is stored as its hash (``{"$erased":"<sha256>"}``), which is all that the chain
knows of it. What is left unneeded then is deleted, and the files are written anew, so that nothing
of it stays in free space or in the log.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterable

import msgspec

from holdfast.journal.events import Draft, Event, FindingAdded, body_of, is_erased
from holdfast.journal.like import is_short
from holdfast.journal.proof import Chain, raw
from holdfast.journal.record import OWN
from holdfast.journal.store import Batch
from holdfast.journal.views import STATE, WRITES, RunRow, place_of
from holdfast.stores import reading
from holdfast.stores.gc import collect
from holdfast.stores.pack import pack_path
from holdfast.stores.schema import connect, explain
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.terse import terse
from holdfast.values.canon import Blobs, decode, pack
from holdfast.values.errors import Conflict, Misuse, NotFound, Outside
from holdfast.values.ports import Clock, SystemClock

ERASED = "erased"
"""Type of the findings that say what was erased, by whom and why."""


class Erased(msgspec.Struct, frozen=True):
    """What was erased: ``payloads`` of ``events``; ``blobs`` that nothing needs any more.
    ``texts``: events whose bodies keep words about what they carried, which are hashed whole and so
    stay: what a person was asked (with arguments, shortened), errors, notes. ``forks`` were made of
    the run and may have gone on with copies; ``spared``: other processes are running, so content
    put in the last hour stayed (``gc`` takes it later)."""

    events: int = 0
    payloads: int = 0
    blobs: int = 0
    texts: int = 0
    forks: tuple[str, ...] = ()
    spared: bool = False


class _Change(msgspec.Struct):
    """The new payloads of an event."""

    event: Event
    args: bytes | None
    value: bytes | None


def erase(
    store: SqliteStore,
    run: str,
    key: str = "",
    *,
    by: str,
    why: str = "",
    dry: bool = False,
    clock: Clock | None = None,
) -> Erased:
    """Erase the payloads of run ``run``, or of its step ``key``, and record who did it and why.

    `Conflict` while the run goes on, or a fork that needs what is meant; `NotFound` for an unknown
    step, `Misuse` for Holdfast's own runs, `Outside` if another process kept the log from being
    emptied (then do it again).
    """
    # INVARIANT J61: erasing changes no id, so every proof and every signed root still holds
    clock = clock or SystemClock()
    if run in OWN:
        raise Misuse(f"run {run} is the store's own record: nothing of it is erased")
    found, _ = store.ask(lambda conn: _look(conn, run, key))
    if dry or not found.payloads:
        return found
    places = store.ask(_packed)
    blobs: Blobs = {}
    pack({"why": why}, blobs)
    store.put_now(blobs)

    def told(conn: sqlite3.Connection) -> Batch:
        nonlocal found
        # INVARIANT G88: what allows it, what says so and what is erased are one transaction: a fork
        # begins before it, and is seen, or after it, and finds that the past is gone
        found, first = _look(conn, run, key)
        said = pack({"step": key, "payloads": found.payloads, "why": why}, {})
        return Batch(run, (Draft(FindingAdded(first, ERASED, by), clock.now_ms(), value=said),))

    store.maintain(lambda conn: _rewrite(conn, run, key), told)
    spared = store.ask(_lively)
    gone = collect(store, grace_ms=3_600_000 if spared else 0, clock=clock).blobs
    _blank(store, places)
    _rebuild(store)
    return msgspec.structs.replace(found, blobs=gone, spared=spared)


def _look(conn: sqlite3.Connection, run: str, key: str) -> tuple[Erased, int]:
    """What would be erased, and the position of its first event; raises as `erase`
    does for what stands in the way."""
    row = reading.row_of(conn, run)
    if not row.ended and row.status != "branch":
        raise Conflict(f"run {run} is {row.status}: it needs its payloads; cancel it first")
    targets, forks = _targets(conn, run, key)
    if key and not targets:
        raise NotFound(f"run {run} has no step {key!r}; `holdfast show {run}` lists them")
    count = sum(
        payload is not None and not is_erased(payload)
        for event in targets
        for payload in (event.args, event.value)
    )
    needing = _needing(conn, run, targets[0].pos) if count else []
    if needing:
        raise Conflict(
            f"run {run}: its forks {', '.join(needing)} have not ended and need what would be "
            "erased; cancel them first"
        )
    first = targets[0].pos if targets else 0
    return Erased(len(targets), count, texts=sum(map(_speaks, targets)), forks=forks), first


def _speaks(event: Event) -> bool:
    """Whether the body of an event holds words about what it carried."""
    body = body_of(event)
    error = getattr(body, "error", None)
    return bool(getattr(body, "text", "") or getattr(body, "note", "") or (error and error.text))


def _needing(conn: sqlite3.Connection, run: str, first: int) -> list[str]:
    """Forks that have not ended and go back, through whatever lies between, to an event of ``run``
    from ``first`` on."""
    # INVARIANT J67: what a fork that goes on has of its past is never erased under it
    reach = {run: sys.maxsize}
    found: list[str] = []
    for row in _forks(conn, run):
        (start,) = reading.read_chain(conn, row.run, row.fork_pos + 1, row.fork_pos + 2)
        body = body_of(start)
        # outcomes are taken, or compared, also from after the cut
        beyond = body.reuse or body.holds
        reach[row.run] = min(reach[row.fork_of], sys.maxsize if beyond else row.fork_pos)
        if not row.ended and row.status != "branch" and first <= reach[row.run]:
            found.append(row.run)
    return found


def _lively(conn: sqlite3.Connection) -> bool:
    return conn.execute("SELECT 1 FROM run WHERE owner<>'' LIMIT 1").fetchone() is not None


def _targets(conn: sqlite3.Connection, run: str, key: str) -> tuple[list[Event], tuple[str, ...]]:
    """The run's own events whose payloads are meant, and the forks that build on the run."""
    found: list[Event] = []
    segments = reading.row_of(conn, run).segments
    for event in reading.read_chain(conn, run, 0, None):
        if event.run != run or event.kind == "checkpoint.signed":
            continue
        if event.kind == "finding.added" and body_of(event).type not in (STATE, WRITES):
            continue
        if key:
            number = sum(start <= event.pos for start in segments) or 1
            own = getattr(body_of(event), "key", "")
            if key not in (place_of(number, own), own if len(segments) <= 1 else ""):
                continue
        found.append(event)
    return found, tuple(row.run for row in _forks(conn, run))


def _forks(conn: sqlite3.Connection, run: str) -> list[RunRow]:
    """Runs that fork from ``run``, also through others."""
    rows = [reading.decode_row(text) for (text,) in conn.execute("SELECT row FROM run ORDER BY n")]
    family = {run}
    found: list[RunRow] = []
    for row in rows:  # a fork comes after what it forks from
        if row.fork_of in family:
            family.add(row.run)
            found.append(row)
    return found


def _rewrite(conn: sqlite3.Connection, run: str, key: str) -> None:
    """Put hashes in the place of payloads, and write out whole what was a continuation of one."""
    targets, forks = _targets(conn, run, key)
    erased = {event.pos for event in targets}
    keys = {str(getattr(body_of(event), "key", "")) for event in targets}
    changes: list[_Change] = []
    for name in (run, *forks):
        chain = Chain(name)
        for event in reading.read_chain(conn, name, 0, None):
            chain.run = event.run
            chain.take(raw(event))
            if event.run != name:
                continue
            if name == run and event.pos in erased:
                args, value = chain.hashes
                changes.append(_Change(event, _erased(args), _erased(value)))
            elif event.args is not None and is_short(event.args) and _base(event.args) in keys:
                changes.append(_Change(event, chain.whole, event.value))
    conn.execute("PRAGMA secure_delete=ON")
    for change in changes:
        conn.execute(
            "UPDATE event SET args=?,value=? WHERE n=(SELECT n FROM run WHERE run=?) AND pos=?",
            (_column(change.args), _column(change.value), change.event.run, change.event.pos),
        )


def _erased(hashed: str) -> bytes | None:
    return b'{"$erased":"%b"}' % hashed.encode() if hashed else None


def _base(short: bytes) -> str:
    """The key of the step that a continuation continues."""
    return decode(short.replace(b'"$like"', b'"like"', 1))["like"][0]


def _column(payload: bytes | None) -> str | bytes | None:
    return None if payload is None else terse(payload)


def _packed(conn: sqlite3.Connection) -> dict[int, tuple[int, int, int]]:
    rows = conn.execute("SELECT id,pack,start,size FROM blob WHERE pack IS NOT NULL")
    return {key: (number, start, size) for key, number, start, size in rows}


def _blank(store: SqliteStore, before: dict[int, tuple[int, int, int]]) -> None:
    """Overwrite what deleted content took in packs."""
    now = store.ask(_packed)
    gone: Iterable[tuple[int, int, int]] = (
        place for key, place in before.items() if key not in now
    )
    for number, start, size in gone:
        path = pack_path(store.path, number)
        try:
            opened = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # the whole pack is gone
        try:
            at = start
            while at < start + size:
                at += os.pwrite(opened, bytes(min(start + size - at, 1 << 20)), at)
            os.fsync(opened)
        finally:
            os.close(opened)


def _rebuild(store: SqliteStore) -> None:
    """Write the file anew and empty its log: free pages and old frames may hold what was erased."""
    conn = connect(store.path, write=True)
    try:
        conn.execute("PRAGMA secure_delete=ON")
        conn.execute("VACUUM")
        busy = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        raise explain(error, store.path) from None
    finally:
        conn.close()
    if busy:
        raise Outside(
            f"{store.path}: the payloads are erased, but another process reads an older state, so "
            "its log still holds them: run `holdfast gc --compact` when that is done",
            retryable=True,
        )
