"""Proving a journal from its file alone, without a running system and without writing to it.

Every id is recomputed, every link followed, every blob hashed, every reference looked up, and the
rows of runs are compared with what their events say. What is wrong is reported with its place.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from holdfast.journal.events import KINDS, Head, body_decoder, other_roots
from holdfast.journal.meters import add_up, charged_by
from holdfast.journal.proof import Chain, Named, Problem, Raw
from holdfast.journal.views import RunRow
from holdfast.stores.blobs import COLUMNS, counter, read_blob, stored_at
from holdfast.stores.metering import differing
from holdfast.stores.pack import Moved, Place, head_line, open_pack, pack_path
from holdfast.stores.reading import decode_row
from holdfast.stores.still import journal_path, reading_file
from holdfast.stores.terse import raw_event
from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, HoldfastError
from holdfast.values.ports import Clock, SystemClock
from holdfast.world import reachable

PROBLEMS_SHOWN = 1000
Progress = Callable[[str, int, int], None]
"""Called now and then with what is being checked, how much is done, and of how much."""

_MERGED = KINDS.index("branch.merged")
_SETTLED = KINDS.index("step.settled")


class Report(msgspec.Struct):
    """What `check` found. ``problems`` holds the first thousand, ``wrong`` counts them all.

    ``heads``: newest event of every run; ``lost``: blobs that something names and that are absent
    or damaged; ``content``: bytes of all blobs; ``unused``: bytes of packs that are no blob's (what
    `gc` deleted and did not give back yet); ``seconds``: time spent on events.
    """

    path: str
    runs: int = 0
    events: int = 0
    blobs: int = 0
    content: int = 0
    unused: int = 0
    seconds: float = 0.0
    wrong: int = 0
    problems: list[Problem] = msgspec.field(default_factory=list)
    heads: dict[str, Head] = msgspec.field(default_factory=dict)
    lost: set[str] = msgspec.field(default_factory=set)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.wrong == 0

    @property
    def events_per_second(self) -> float:
        """How fast events were proven."""
        return self.events / self.seconds if self.seconds else 0.0

    def add(self, kind: str, place: str, text: str) -> None:
        """Note a problem."""
        self.wrong += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(Problem(kind, place, text))


def check(
    path: Path | str, *, progress: Progress | None = None, clock: Clock | None = None
) -> Report:
    """Prove the journal at ``path`` (a file or a store's directory), reading only.

    Damage inside is in the report. What is no journal at all raises: `NotFound`, `Corrupt`
    (empty, foreign), `Misuse` (newer format), `Outside` (unreadable).
    """
    path = journal_path(path)
    with reading_file(path) as conn:
        return Check(conn, path, progress, clock or SystemClock()).run()


_NONE = type(None)
_BLOBS = ((bytes, int, bytes, _NONE, _NONE, _NONE), (bytes, int, _NONE, int, int, int))
_ROW = (int, bytes, bytes, bytes, bytes, int, int, bytes, int, bytes, int)


def _legible(name: Any) -> bool:
    return isinstance(name, bytes) and name.isascii()


class Check:
    """One pass over a journal, in the order file, events, blobs, references, rows.

    ``sound_to``: position of the first unsound event of runs that have one; ``places``: if a dict,
    it is filled with the seqs of each run's events. ``named`` and ``reached``: blobs that payloads
    and worlds need, but not those of runs whose numbers are ``doomed``.
    """

    def __init__(
        self, conn: sqlite3.Connection, path: Path, progress: Progress | None, clock: Clock
    ) -> None:
        self.conn = conn
        self.path = path
        self.report = Report(str(path))
        self.chains: dict[int, Chain] = {}
        self.sound_to: dict[str, int] = {}
        self.places: dict[int, array[int]] | None = None
        self.doomed: frozenset[int] = frozenset()
        self.blob_ids: dict[str, int] = {}
        self.named = Named()
        self.reached: set[str] = set()
        self._progress = progress
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, tuple[Any, ...]] = {}
        self._roots: dict[str, str] = {}
        self._sums: dict[str, int] = {}

    def run(self) -> Report:
        """Do everything; a part that cannot be read is a problem, and the next part is tried."""
        for part in (self.file, self.rows, self.events, self.folds, self.contents, self.worlds):
            try:
                part()
            except sqlite3.Error as error:
                self.report.add("file", str(self.path), f"{part.__name__} cannot be read: {error}")
        return self.report

    def _show(self, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(what, done, total)

    def file(self) -> None:
        """SQLite's own check of pages and indexes."""
        self._show("file", 0, 1)
        for (text,) in self.conn.execute("PRAGMA integrity_check(100)"):
            if text != b"ok":
                for line in text.decode(errors="replace").splitlines():
                    if not line.startswith("***"):
                        self.report.add("file", str(self.path), line)
        size = self.conn.execute("PRAGMA page_size").fetchone()[0]
        pages = self.conn.execute("PRAGMA page_count").fetchone()[0]
        there = self.path.stat().st_size
        log = self.path.with_name(self.path.name + "-wal")
        if there % size or (there < size * pages and not log.exists()):
            self.report.add(
                "file", str(self.path), f"has {there:,} bytes, should have {size * pages:,}"
            )

    def _highest(self, table: str, key: str) -> int:
        """The largest key of a table, or a bound of it if that cannot be read."""
        try:
            sql = f"SELECT max({key}) FROM {table}"  # noqa: S608 # our own names
            found = self.conn.execute(sql).fetchone()[0]
        except sqlite3.DatabaseError:
            return self.conn.execute("PRAGMA page_count").fetchone()[0] * 64
        return found or 0

    def _steady(self, table: str, key: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Rows of a table by key (which comes last), skipping what is damaged and saying so."""
        sql = f"SELECT {columns},{key} FROM {table}"  # noqa: S608 # our own names
        before = after = -1
        while True:
            try:
                for row in self.conn.execute(f"{sql} WHERE {key}>? ORDER BY {key}", (after,)):
                    before, after = after, row[-1]
                    yield row
                return
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                if after - before > 1 << 32:
                    after = before  # the last key read was itself damaged
            row = self._next_row(f"{sql} WHERE {key}>=? ORDER BY {key} LIMIT 1", after)
            if row is None or row[-1] > after + 1:
                until = "the end" if row is None else row[-1] - 1
                self.report.add("file", f"{table} {key} {after + 1} to {until}", "cannot be read")
            if row is None:
                return
            before, after = after, row[-1]
            yield row

    def _next_row(self, sql: str, after: int) -> tuple[Any, ...] | None:
        """The first row beyond ``after`` that can be read, None if there is none."""
        bad, step = after, 1
        good, row = self._try(sql, after + step)
        while not good and step < 1 << 60:
            bad, step = after + step, step * 2
            good, row = self._try(sql, after + step)
        top = after + step
        while good and top - bad > 1:
            middle = (bad + top) // 2
            good_here, row_here = self._try(sql, middle)
            if good_here:
                top, row = middle, row_here
            else:
                bad = middle
        return row

    def _try(self, sql: str, key: int) -> tuple[bool, tuple[Any, ...] | None]:
        try:
            row = self.conn.execute(sql, (key,)).fetchone()
        except sqlite3.DatabaseError:
            return False, None
        return row is None or row[-1] >= key, row

    def rows(self) -> None:
        """Read the rows of runs."""
        for columns in self._steady(
            "run", "n", "n,run,agent,status,parent,due,woken,owner,epoch,row"
        ):
            number = columns[0]
            if tuple(map(type, columns)) != _ROW or not _legible(columns[1]):
                self.report.add("row", f"run number {number}", "its row is not legible")
                continue
            name = columns[1].decode()
            self._rows[number] = columns
            self._numbers[name] = number
            self.chains[number] = Chain(name)
        if not self.report.sound:
            self._names_from_index()
        self.report.runs = len(self.chains)

    def _names_from_index(self) -> None:
        """Names of runs whose rows cannot be read stand in the index of names as well."""
        with contextlib.suppress(sqlite3.DatabaseError):
            for number, name in self.conn.execute(
                "SELECT n,run FROM run INDEXED BY sqlite_autoindex_run_1"
            ):
                if number not in self.chains and _legible(name):
                    self.chains[number] = Chain(name.decode())
                    self._numbers[name.decode()] = number
                    self.report.add("row", name.decode(), "its row cannot be read")

    # Events --------------------------------------------------------------------------------------

    def events(self) -> None:
        """Prove every chain, in commit order: what a fork forks from has come before it."""
        report, chains = self.report, self.chains
        total = self._highest("event", "seq")
        floor = counter(self.conn, "seq")
        begin = self._clock.ticks_ns()
        done, due = 0, 1
        for *event, number, seq in self._steady(
            "event", "seq", "pos,kind,at,id,world,body,args,value,n"
        ):
            done += 1
            if done % 20_000 == 0:
                self._show("events", done, total)
            if seq != due:
                if seq > max(due, floor + 1):
                    missing = f"seq {max(due, floor + 1)} to {seq - 1}"
                    report.add("position", missing, "events are missing")
                due = seq
            due += 1
            chain = chains.get(number)
            if chain is None:
                report.add("row", f"event seq {seq}", f"is of a run (number {number}) with no row")
                continue
            if self.places is not None:
                self.places.setdefault(number, array("q")).append(seq)
            try:
                self.prove(chain, raw_event(event), number not in self.doomed)
            except (TypeError, ValueError, AttributeError) as error:  # a damaged row holds anything
                report.add("file", f"event seq {seq}", f"is not legible: {error}")
                self.sound_to.setdefault(chain.run, chain.pos + 1)
        report.events = done
        report.seconds = (self._clock.ticks_ns() - begin) / 1e9
        for chain in chains.values():
            report.heads[chain.run] = chain.head

    def prove(self, chain: Chain, event: Raw, needed: bool = True) -> None:
        """Prove one event and, if it is ``needed``, note what it names."""
        pos, code, _, _, world, body, _, value = event
        if chain.pos < 0:
            self._fork(chain, event)
        expected = chain.pos + 1
        wrong = chain.take(event)
        if wrong is not None:
            self.report.add(wrong[0], f"{chain.run}#{pos}", wrong[1])
            self.sound_to.setdefault(chain.run, min(expected, pos))
        elif b'"charges":' in body:
            add_up(self._sums, charged_by(KINDS[code], body))
        if not needed:
            return
        if world is not None and world.hex() not in self._roots:
            self._roots[world.hex()] = f"{chain.run}#{pos}"
        if chain.whole is not None and b'{"$' in chain.whole:
            self.named.show(chain.whole, f"{chain.run}#{pos}")
        if value is not None and b'{"$' in value:
            self.named.show(value, f"{chain.run}#{pos}")
        if wrong is None and (code == _MERGED or (code == _SETTLED and b'"root":"' in body)):
            for root in other_roots(KINDS[code], body):
                self._roots.setdefault(root, f"{chain.run}#{pos}")

    def _fork(self, chain: Chain, event: Raw) -> None:
        """The first event of a run may say that the run forks from another."""
        try:
            body = body_decoder("run.started").decode(event[5])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if not body.fork_of:
            return
        place = f"{chain.run}#{event[0]}"
        base = self.chains.get(self._numbers.get(body.fork_of, -1))
        if base is None or base.pos < body.fork_pos:
            self.report.add(
                "fork", place, f"forks from {body.fork_of}#{body.fork_pos}, which is absent"
            )
            return
        if self.sound_to.get(base.run, 1 << 60) <= body.fork_pos:
            self.sound_to.setdefault(chain.run, event[0])
        head = self.head_at(base, body.fork_pos)
        if head is None:
            self.report.add("fork", place, f"forks from {base.run}#{body.fork_pos}: not readable")
        else:
            chain.fork_from(base, body.fork_pos, head)

    def head_at(self, chain: Chain, pos: int) -> Head | None:
        """The event at a position of a chain, through what it forks from; None if unreadable."""
        while chain.fork_of and pos <= chain.fork_pos:
            chain = self.chains[self._numbers[chain.fork_of]]
        number = self._numbers[chain.run]
        where, values = "n=? AND pos=?", (number, pos)
        if self.places is not None:  # the index may be what is damaged
            first = chain.fork_pos + 1 if chain.fork_of else 0
            seqs = self.places.get(number, array("q"))
            if not 0 <= pos - first < len(seqs):
                return None
            where, values = "seq=? AND pos=?", (seqs[pos - first], pos)
        sql = f"SELECT id,world FROM event WHERE {where}"  # noqa: S608 # our own names
        try:
            found = self.conn.execute(sql, values).fetchone()
        except sqlite3.DatabaseError:
            return None
        return Head(pos, found[0].hex(), found[1].hex() if found[1] else "") if found else None

    # Rows ----------------------------------------------------------------------------------------

    def folds(self) -> None:
        """Compare rows of runs, and meters, with what events say: these are views of them."""
        for number, columns in self._rows.items():
            name = columns[1].decode()
            try:
                row = decode_row(columns[9].decode())
            except (Corrupt, UnicodeDecodeError) as error:
                self.report.add("row", name, str(error))
                continue
            folded = self.chains[number].row
            if folded is None or folded.run != name:
                self.report.add("row", name, "has no events")
                continue
            said = msgspec.structs.replace(folded, owner=row.owner, epoch=row.epoch, number=number)
            if row != said or columns[2:9] != _columns(said):
                self.report.add("row", name, f"differs from its events: {_difference(row, said)}")
        for meter, value, due in differing(self.conn, self._sums):
            self.report.add("meter", meter, f"is {value:,}, its events say {due:,}")

    # Contents ------------------------------------------------------------------------------------

    def contents(self) -> None:
        """Hash every blob; then every blob that is named must be there."""
        report = self.report
        total = self._highest("blob", "id")
        packed: list[Place] = []
        for name, *stored, key in self._steady("blob", "id", f"hash,{COLUMNS}"):
            report.blobs += 1
            if report.blobs % 5_000 == 0:
                self._show("blobs", report.blobs, total)
            if tuple(map(type, (name, *stored))) not in _BLOBS:
                report.add("blob", f"blob row {key}", "is not legible")
                continue
            place = "" if stored[2] is None else f" (pack.{stored[2]} at {stored[3]})"
            if place:
                packed.append(Place(*stored[2:]))
            try:
                content = stored_at(self.conn, self.path, *stored)
            except (Moved, HoldfastError):
                content = None  # `packs` says it once for all
            if content is None or digest(content) != name.hex():
                text = "does not have the content of its name"
                report.add("blob", f"blob {name.hex()}{place}", text)
                continue
            report.content += len(content)
            self.named.hold(name.hex(), content)
            if self.places is not None:
                self.blob_ids[name.hex()] = key
        for name, place in self.named.missing():
            self._lose("payload", name, place)
        self._packs(packed)

    def _packs(self, packed: list[Place]) -> None:
        """Every pack must be ours and whole, and hold each byte for one blob at most."""
        ends: dict[int, tuple[int, int]] = {}
        for mark, size, number in self._steady("pack", "n", "mark,size"):
            place = str(pack_path(self.path, number))
            if (type(mark), type(size)) != (bytes, int):
                self.report.add("pack", place, "its row is not legible")
                continue
            ends[number] = (size, len(head_line(number, mark)))
            try:
                there = os.fstat(open_pack(self.conn, self.path, number)).st_size
            except Moved:
                self.report.add("pack", place, "is missing")
            except HoldfastError as error:
                self.report.add("pack", place, str(error).removeprefix(f"{place}: "))
            else:
                if there < size:
                    text = f"is cut off after {there:,} of {size:,} bytes"
                    self.report.add("pack", place, text)
        for number, start, size in sorted(packed):
            place = f"{pack_path(self.path, number)} at {start:,}"
            if number not in ends or start + size > ends[number][0]:
                self.report.add("pack", place, "content lies beyond the pack's recorded end")
                continue
            end, before = ends[number]
            if start < before:
                self.report.add("pack", place, "content overlaps what comes before it")
            else:
                self.report.unused += start - before
            ends[number] = (end, max(before, start + size))
        self.report.unused += sum(end - before for end, before in ends.values())

    def content(self, name: str) -> bytes:
        """A blob, verified; `Corrupt` if it is absent, damaged or not readable."""
        try:
            if name in self.blob_ids:  # the index of names may be what is damaged
                sql = f"SELECT {COLUMNS} FROM blob WHERE id=?"  # noqa: S608 # our own names
                found = self.conn.execute(sql, (self.blob_ids[name],)).fetchone()
                content = stored_at(self.conn, self.path, *found)
                if content is not None and digest(content) == name:
                    return content
            return read_blob(self.conn, self.path, name)
        except Moved:
            raise Corrupt(f"{self.path}: blob {name} cannot be read: its pack is missing") from None
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"{self.path}: blob {name} cannot be read: {error}") from None

    def _lose(self, kind: str, name: str, place: str) -> None:
        self.report.lost.add(name)
        self.report.add(kind, place, f"names blob {name}, which is absent or damaged")

    def worlds(self) -> None:
        """Everything that a world root reaches must be there."""
        there = _Objects(self)
        seen: set[str] = set()
        for done, (root, place) in enumerate(self._roots.items()):
            if done % 500 == 0:
                self._show("worlds", done, len(self._roots))
            try:
                for name in reachable(there, root, seen):
                    self.reached.add(name)
                    if name not in self.named.present:
                        self._lose("world", name, place)
            except Corrupt as error:
                self.report.lost.add(root)
                self.report.add("world", place, f"its world {root[:12]} cannot be read: {error}")


class _Objects:
    """A journal's blobs as a world reads them."""

    def __init__(self, check: Check) -> None:
        self._check = check

    def get(self, name: str) -> bytes:
        """See `holdfast.world.Objects`."""
        return self._check.content(name)

    def put(self, content: bytes) -> str:
        """Never: a proof writes nothing."""
        raise NotImplementedError(f"a journal is only read here ({len(content)} bytes)")


def _columns(row: RunRow) -> tuple[Any, ...]:
    return (
        row.agent.encode(), row.status.encode(), row.parent.encode(), row.due, int(row.woken),
        row.owner.encode(), row.epoch,
    )  # fmt: skip


def _difference(row: RunRow, said: RunRow) -> str:
    for field in RunRow.__struct_fields__:
        if getattr(row, field) != getattr(said, field):
            return f"{field} is {getattr(row, field)!r}, should be {getattr(said, field)!r}"
    return "an index column"
