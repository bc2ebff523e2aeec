"""Deleting what nothing refers to: content without an event that needs it, and old ended runs.

First the whole journal is proven, on one unchanging state of the file, which also says what is
needed; then the rest is deleted in small transactions, each of which looks first at what other
processes have appended meanwhile. Nothing is deleted from a journal that is not sound.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from holdfast.journal.events import other_roots
from holdfast.journal.like import is_short
from holdfast.journal.proof import Chain, raw, references
from holdfast.journal.views import RunRow
from holdfast.stores import reading
from holdfast.stores.blobs import count, counter, read_blob
from holdfast.stores.fsck import Check, Progress, reading_file
from holdfast.stores.schema import connect, explain
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.errors import Conflict, Corrupt
from holdfast.values.ports import Clock, SystemClock
from holdfast.world import reachable

_PAGE = 2_000


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
    grace_ms: int = 3_600_000,
    dry: bool = False,
    compact: bool = False,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Collected:
    """Delete blobs that no event needs, and runs that ended before ``ended_before`` (ms; 0: none).

    A run stays as long as any run stays that it is tied to: by a fork, or as parent and child.
    Other processes may append meanwhile; `Conflict` if one of them turned to a run that was to go
    (nothing is lost, try again). Content put early is spared for ``grace_ms`` (an hour): a long
    step may not have named it yet. ``compact`` gives the space back to the disk. `Corrupt` if the
    journal is not sound.
    """
    clock = clock or SystemClock()
    with reading_file(store.path) as conn:
        newest = reading.last_seq(conn)
        last_run = conn.execute("SELECT coalesce(max(n),0) FROM run").fetchone()[0]
        doomed = _doomed(_rows(conn), ended_before)
        check = Check(conn, store.path, progress, clock)
        check.doomed = frozenset(doomed)
        _require_sound(check)
        needed = {*check.named.named(), *check.reached}
        dead = [
            (key, name)
            for key, name, at in conn.execute(
                "SELECT b.id,b.hash,e.at FROM blob b LEFT JOIN early e USING(hash)"
            )
            if name.hex() not in needed and (at is None or at <= clock.now_ms() - grace_ms)
        ]
        found = _size(conn, doomed, dead)
    if dry:
        return found
    sweep = _Sweep(store.path, newest, last_run, clock.now_ms() - grace_ms)
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
        _compact(store.path)
    return Collected(len(doomed), events, blobs, size)


def _rows(conn: sqlite3.Connection) -> list[RunRow]:
    return [reading.decode_row(text.decode()) for (text,) in conn.execute("SELECT row FROM run")]


def _doomed(rows: Iterable[RunRow], ended_before: int) -> dict[int, str]:
    """Numbers and names of the runs that may go: old groups of runs tied to each other."""
    rows = list(rows) if ended_before else []
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
    size = sum(
        conn.execute("SELECT length(data) FROM blob WHERE id=?", (key,)).fetchone()[0]
        for key, _ in dead
    )
    return Collected(len(list(doomed)), events, len(dead), size)


class _Sweep:
    """Deleting, inside the writer's transactions."""

    # INVARIANT S6: what an event names that was committed after the proof is never deleted

    def __init__(self, path: Path, newest: int, last_run: int, spared_after: int) -> None:
        self._path = path
        self._newest = newest
        self._last_run = last_run
        self._spared_after = spared_after
        self._needed: set[str] = set()
        self._seen: set[str] = set()
        self._worlds: set[str] = set()

    def drop_runs(self, conn: sqlite3.Connection, doomed: dict[int, str]) -> int:
        """Delete runs whole; how many events."""
        names = set(doomed.values())
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
        blobs = size = 0
        for key, name in page:
            early = conn.execute("SELECT at FROM early WHERE hash=?", (name,)).fetchone()
            if name.hex() in self._needed or (early and early[0] > self._spared_after):
                continue
            found = conn.execute(
                "SELECT length(data) FROM blob WHERE id=? AND hash=?", (key, name)
            ).fetchone()
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


def _compact(path: Path) -> None:
    conn = connect(path, write=True)
    try:
        conn.execute("VACUUM")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise explain(error, path) from None
    finally:
        conn.close()
