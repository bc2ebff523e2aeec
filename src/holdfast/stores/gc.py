"""Deleting what nothing refers to: content without an event that needs it, and old ended runs.

First the whole journal is proven, on one unchanging state of the file, which also says what is
needed; then the rest is deleted in small transactions, each of which looks first at what other
processes have appended meanwhile. Nothing is deleted from a journal that is not sound.
"""

from __future__ import annotations

import bisect
import sqlite3
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from holdfast.journal.events import Draft, FindingAdded, other_roots
from holdfast.journal.like import is_short
from holdfast.journal.proof import Chain, raw, references
from holdfast.journal.record import AUDIT, DELETED, OWN
from holdfast.journal.store import Batch
from holdfast.journal.views import RunRow
from holdfast.stores import reading
from holdfast.stores.blobs import count, counter, read_blob
from holdfast.stores.fsck import Check, Progress
from holdfast.stores.metering import keep
from holdfast.stores.pack import PackEnd, Place
from holdfast.stores.schema import connect, explain
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.still import reading_file
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Conflict, Corrupt, Misuse
from holdfast.values.ports import Clock, SystemClock
from holdfast.world import reachable

_PAGE = 2_000
_BYTES = "SELECT coalesce(size,length(data)) FROM blob WHERE id=?"


class Collected(msgspec.Struct, frozen=True):
    """What was deleted (or, on a dry run, would be). ``bytes``: as they were stored."""

    runs: int = 0
    events: int = 0
    blobs: int = 0
    bytes: int = 0


def collect(
    store: SqliteStore,
    *,
    ended_before: int = 0,
    only: Collection[str] = (),
    grace_ms: int = 3_600_000,
    dry: bool = False,
    compact: bool = False,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Collected:
    """Delete blobs that no event needs, and runs that ended before ``ended_before`` (ms; 0: none).

    A run stays as long as any run stays that it is tied to: by a fork, or as parent and child.
    ``only``: delete just these runs, which have ended and which no other run is tied to.
    Other processes may append meanwhile; `Conflict` if one of them turned to a run that was to go
    (nothing is lost, try again). Content put early is spared for ``grace_ms`` (an hour): a long
    step may not have named it yet. ``compact`` gives the space back to the disk. `Corrupt` if the
    journal is not sound.
    """
    clock = clock or SystemClock()
    with reading_file(store.path) as conn:
        newest = reading.last_seq(conn)
        last_run = conn.execute("SELECT coalesce(max(n),0) FROM run").fetchone()[0]
        doomed = _named(_rows(conn), only) if only else _doomed(_rows(conn), ended_before)
        check = Check(conn, store.path, progress, clock)
        check.doomed = frozenset(doomed)
        _require_sound(check)
        needed = {*check.named.named(), *check.reached}
        spared = _spared(conn, clock.now_ms() - grace_ms)
        dead = [
            (key, name)
            for key, name in conn.execute("SELECT id,hash FROM blob")
            if name.hex() not in needed and not _within(key, spared)
        ]
        found = _size(conn, doomed, dead)
    if dry:
        return found
    sweep = _Sweep(store.path, newest, last_run, clock.now_ms() - grace_ms)
    if doomed:
        sweep.kept = _keep_ids(store, doomed, clock.now_ms())
    events = store.maintain(lambda conn: sweep.drop_runs(conn, doomed)) if doomed else 0
    blobs = size = 0
    for start in range(0, len(dead), _PAGE):
        page = dead[start : start + _PAGE]
        gone, freed = store.maintain(lambda conn, page=page: sweep.drop_blobs(conn, page))
        blobs, size = blobs + gone, size + freed
        if progress is not None:
            progress("deleting", start + len(page), len(dead))
    store.maintain(sweep.drop_marks)
    if compact:
        _compact(store)
    return Collected(len(doomed), events, blobs, size)


def _keep_ids(store: SqliteStore, doomed: Iterable[int], now_ms: int) -> bool:
    """Write down the ids of events that will be deleted, if the store keeps a record: signed roots
    are over them. False if it keeps none."""
    # INVARIANT J58: no deletion makes a signed root unprovable
    numbers = list(doomed)

    def found(conn: sqlite3.Connection) -> list[tuple[int, bytes]] | None:
        if not _recorded(conn):
            return None
        rows: list[tuple[int, bytes]] = []
        for number in numbers:
            rows += conn.execute("SELECT seq,id FROM event WHERE n=?", (number,))
        return sorted(rows)

    rows = store.ask(found)
    if not rows:
        return rows is not None
    spans: list[list[int]] = []
    for seq, _ in rows:
        if spans and spans[-1][1] == seq - 1:
            spans[-1][1] = seq
        else:
            spans.append([seq, seq])
    blobs: Blobs = {}
    value = pack({"seqs": spans, "ids": b"".join(name for _, name in rows)}, blobs)
    draft = Draft(FindingAdded(0, DELETED), now_ms, value=value)
    store.append_now((Batch(AUDIT, (draft,)),), blobs)
    return True


def _recorded(conn: sqlite3.Connection) -> bool:
    return conn.execute("SELECT 1 FROM run WHERE run=?", (AUDIT,)).fetchone() is not None


def _spared(conn: sqlite3.Connection, after: int) -> list[tuple[int, int]]:
    """Ids (from, to) of blobs that were put early after a time (ms), in order and apart."""
    spans: list[tuple[int, int]] = []
    for first, last in conn.execute(
        "SELECT first,last FROM early WHERE at>? ORDER BY first", (after,)
    ):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


def _within(key: int, spans: list[tuple[int, int]]) -> bool:
    index = bisect.bisect_right(spans, (key, sys.maxsize)) - 1
    return index >= 0 and key <= spans[index][1]


def _rows(conn: sqlite3.Connection) -> list[RunRow]:
    return [reading.decode_row(text.decode()) for (text,) in conn.execute("SELECT row FROM run")]


def _doomed(rows: Iterable[RunRow], ended_before: int) -> dict[int, str]:
    """Numbers and names of the runs that may go: old groups of runs tied to each other."""
    rows = [row for row in rows if row.run not in OWN] if ended_before else []
    group = {row.run: row.run for row in rows}

    def leader(run: str) -> str:
        while group[run] != run:
            group[run] = run = group[group[run]]
        return run

    for row in rows:
        for other in (row.fork_of, row.parent):
            if other in group:
                group[leader(row.run)] = leader(other)
    kept = {leader(row.run) for row in rows if not row.ended or row.changed >= ended_before}
    return {row.number: row.run for row in rows if leader(row.run) not in kept}


def _named(rows: Iterable[RunRow], names: Collection[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for row in rows:
        if row.run in names:
            if row.run in OWN:
                raise Misuse(f"run {row.run} is the store's own record: it is never deleted")
            if not row.ended:
                raise Conflict(f"run {row.run} has not ended: cancel it first")
            found[row.number] = row.run
        elif row.fork_of in names or row.parent in names:
            raise Conflict(f"run {row.run} depends on a run that was to be deleted")
    return found


def _require_sound(check: Check) -> None:
    for part in (check.rows, check.events, check.folds, check.contents, check.worlds):
        part()
    for problem in check.report.problems:
        if problem.kind != "payload":  # content that is lost already cannot be lost again
            raise Corrupt(
                f"{check.path}: is not sound, so nothing is deleted ({problem}); "
                "see `holdfast fsck`"
            )


def _size(
    conn: sqlite3.Connection, doomed: Iterable[int], dead: list[tuple[int, bytes]]
) -> Collected:
    events = sum(
        conn.execute("SELECT count(*) FROM event WHERE n=?", (number,)).fetchone()[0]
        for number in doomed
    )
    size = sum(conn.execute(_BYTES, (key,)).fetchone()[0] for key, _ in dead)
    return Collected(len(list(doomed)), events, len(dead), size)


class _Sweep:
    """Deleting, inside the writer's transactions."""

    # INVARIANT S6: what an event names that was committed after the proof is never deleted

    def __init__(self, path: Path, newest: int, last_run: int, spared_after: int) -> None:
        self._path = path
        self._newest = newest
        self._last_run = last_run
        self._spared_after = spared_after
        self.kept = False
        self._needed: set[str] = set()
        self._seen: set[str] = set()
        self._worlds: set[str] = set()

    def drop_runs(self, conn: sqlite3.Connection, doomed: dict[int, str]) -> int:
        """Delete runs whole; how many events."""
        names = set(doomed.values())
        if not self.kept and _recorded(conn):  # J58: a root may be over what is to go
            raise Conflict("another process began to sign roots: try again")
        rows = conn.execute("SELECT row FROM run WHERE n>?", (self._last_run,))
        for row in (reading.decode_row(text) for (text,) in rows):
            if row.fork_of in names or row.parent in names:
                raise Conflict(
                    f"run {row.run} now depends on a run that was to be deleted: try again"
                )
        for (number,) in conn.execute("SELECT n FROM event WHERE seq>?", (self._newest,)):
            if number in doomed:
                raise Conflict(f"run {doomed[number]} was to be deleted, but went on: try again")
        for name, floor in (("seq", reading.last_seq(conn)), ("run", self._highest_run(conn))):
            conn.execute("INSERT OR REPLACE INTO counter VALUES(?,?)", (name, floor))
        keep(conn, doomed)
        events = 0
        for number in doomed:
            events += conn.execute("DELETE FROM event WHERE n=?", (number,)).rowcount
            conn.execute("DELETE FROM run WHERE n=?", (number,))
        return events

    def _highest_run(self, conn: sqlite3.Connection) -> int:
        highest = conn.execute("SELECT coalesce(max(n),0) FROM run").fetchone()[0]
        return max(highest, counter(conn, "run"))

    def drop_blobs(
        self, conn: sqlite3.Connection, page: list[tuple[int, bytes]]
    ) -> tuple[int, int]:
        """Delete a page of blobs, but what is needed by now; how many, and their stored bytes."""
        self._look(conn)
        spared = _spared(conn, self._spared_after)
        blobs = size = 0
        for key, name in page:
            if name.hex() in self._needed or _within(key, spared):
                continue
            found = conn.execute(_BYTES + " AND hash=?", (key, name)).fetchone()
            if found is not None:
                conn.execute("DELETE FROM blob WHERE id=?", (key,))
                blobs, size = blobs + 1, size + found[0]
        count(conn, "swept")
        return blobs, size

    def drop_marks(self, conn: sqlite3.Connection) -> None:
        """Marks of content put early are of no use any more once the grace is over."""
        conn.execute("DELETE FROM early WHERE at<=?", (self._spared_after,))

    def _look(self, conn: sqlite3.Connection) -> None:
        """Note what events that were appended since the last look need."""
        while True:
            page = reading.read_tail(conn, self._newest, _PAGE)
            for event in page:
                for root in filter(None, (event.world, *other_roots(event.kind, event.body))):
                    self._needed.update(reachable(_Reader(conn, self._path), root, self._worlds))
                short = event.args is not None and is_short(event.args)
                whole = self._whole(conn, event.run, event.pos) if short else event.args
                for skeleton in (whole, event.value):
                    self._name(conn, skeleton or b"")
            if not page:
                return
            self._newest = page[-1].seq

    def _whole(self, conn: sqlite3.Connection, run: str, pos: int) -> bytes | None:
        chain = Chain("")
        for event in reading.read_chain(conn, run, 0, pos + 1):
            chain.run = event.run
            chain.take(raw(event))
        return chain.whole

    def _name(self, conn: sqlite3.Connection, skeleton: bytes) -> None:
        for tag, name in references(skeleton):
            key = name if tag == b"blob" else "=" + name
            if key not in self._seen:
                self._seen.add(key)
                self._needed.add(name)
                if tag == b"blob":
                    self._name(conn, read_blob(conn, self._path, name))


class _Reader:
    """A journal's blobs as a world reads them."""

    def __init__(self, conn: sqlite3.Connection, path: Path) -> None:
        self._conn = conn
        self._path = path

    def get(self, name: str) -> bytes:
        """See `holdfast.world.Objects`."""
        return read_blob(self._conn, self._path, name)

    def put(self, content: bytes) -> str:
        """Never."""
        raise NotImplementedError(f"{self._path} is only read ({len(content)} bytes)")


def _turn(pack: PackEnd, conn: sqlite3.Connection) -> list[int]:
    """Packs worth emptying; if there are any, a new one has begun that takes what is in them."""
    wasteful = pack.wasteful(conn)
    if wasteful:
        pack.turn(conn)
    return wasteful


def _empty(store: SqliteStore, conn: sqlite3.Connection, number: int) -> bool:
    """Move one page of content out of a pack; False if there was none: the pack is given up."""
    page: list[tuple[int, Place]] = []
    size = 0
    for key, *place in conn.execute(
        "SELECT id,pack,start,size FROM blob WHERE pack=? ORDER BY start LIMIT ?", (number, _PAGE)
    ):
        page.append((key, Place(*place)))
        size += place[2]
        if size >= limits.STAGE_FLUSH_BYTES:
            break
    if not page:
        conn.execute("DELETE FROM pack WHERE n=?", (number,))
        return False
    places = store.pack.move(conn, number, [place for _, place in page])
    conn.executemany(
        "UPDATE blob SET pack=?,start=?,size=? WHERE id=?",
        [(*place, key) for (key, _), place in zip(page, places, strict=True)],
    )
    return True


def _compact(store: SqliteStore) -> None:
    """Give space back, of packs and of the journal. Others may read and write all the while."""
    for number in store.maintain(lambda conn: _turn(store.pack, conn)):
        while store.maintain(lambda conn, number=number: _empty(store, conn, number)):
            pass
    conn = connect(store.path, write=True)
    try:
        # synced, and with it all that moved: only then may files go that rows named before
        conn.execute("BEGIN IMMEDIATE")
        count(conn, "swept")
        conn.execute("COMMIT")
        store.maintain(store.pack.sweep)
        conn.execute("VACUUM")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise explain(error, store.path) from None
    finally:
        conn.close()
