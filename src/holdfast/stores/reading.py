"""Reading a journal through any connection: functions from rows to values."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import msgspec

from holdfast.journal.events import KINDS, Event, Head
from holdfast.journal.placing import lineage
from holdfast.journal.store import RunQuery
from holdfast.journal.views import RunRow
from holdfast.stores.blobs import counter
from holdfast.stores.terse import written
from holdfast.values.errors import Corrupt, NotFound

_COLUMNS = "seq,pos,kind,at,id,world,body,args,value"
_row_decoder = msgspec.json.Decoder(RunRow)


def row_of(conn: sqlite3.Connection, run: str) -> RunRow:
    """The row of a run; `NotFound`, `Corrupt`."""
    found = conn.execute("SELECT row FROM run WHERE run=?", (run,)).fetchone()
    if found is None:
        raise NotFound(f"run {run!r} is not in this store; `holdfast ps` lists them")
    return decode_row(found[0])


def decode_row(text: str) -> RunRow:
    """A run row from its stored form."""
    try:
        return _row_decoder.decode(text)
    except msgspec.DecodeError as error:
        raise Corrupt(f"a run's row cannot be read ({error}); see `holdfast fsck`") from None


def last_seq(conn: sqlite3.Connection) -> int:
    """The newest seq that was ever given, 0 for an empty store."""
    newest = conn.execute("SELECT coalesce(max(seq),0) FROM event").fetchone()[0]
    return max(newest, counter(conn, "seq"))


def head_of(conn: sqlite3.Connection, number: int, run: str, pos: int | None = None) -> Head:
    """The newest event of run ``number``, or its event at ``pos``."""
    found = conn.execute(
        "SELECT pos,id,world FROM event WHERE n=? AND pos<=? ORDER BY pos DESC LIMIT 1",
        (number, 1 << 60 if pos is None else pos),
    ).fetchone()
    if found is None:
        raise NotFound(f"run {run!r} has no such event")
    return Head(found[0], found[1].hex(), found[2].hex() if found[2] else "")


def read_chain(conn: sqlite3.Connection, run: str, start: int, stop: int | None) -> list[Event]:
    """Events of a chain with start <= pos < stop, each with its parent's hash."""
    row = cache(partial(row_of, conn))
    if stop is None:
        stop = head_of(conn, row(run).number, run).pos + 1
    found: list[Event] = []
    parent = ""
    for name, first, _ in lineage(row, run, start - 1, start) if start > 0 else ():
        parent = head_of(conn, row(name).number, name, first).id
    for name, first, last in lineage(row, run, start, stop):
        cursor = conn.execute(
            f"SELECT {_COLUMNS} FROM event "  # noqa: S608 # our own names
            "WHERE n=? AND pos>=? AND pos<? ORDER BY pos",
            (row(name).number, first, last),
        )
        for columns in cursor:
            event = event_of(name, parent, columns)
            parent = event.id
            found.append(event)
    return found


def read_tail(conn: sqlite3.Connection, after: int, limit: int) -> list[Event]:
    """Events of all runs in commit order; their parents are left empty."""
    cursor = conn.execute(
        "SELECT e.seq,e.pos,e.kind,e.at,e.id,e.world,e.body,e.args,e.value,r.run FROM event e "
        "JOIN run r USING(n) WHERE e.seq>? ORDER BY e.seq LIMIT ?",
        (after, limit),
    )
    return [event_of(columns[9], "", columns) for columns in cursor]


def read_runs(conn: sqlite3.Connection, query: RunQuery) -> list[RunRow]:
    """Rows of runs, newest first. Touches no event and no payload."""
    where: list[str] = ["1"]
    values: list[Any] = []
    for column, value in (
        ("status", query.status), ("agent", query.agent), ("parent", query.parent),
    ):  # fmt: skip
        if value:
            where.append(f"{column}=?")
            values.append(value)
    if query.before:
        where.append("n<?")
        values.append(query.before)
    cursor = conn.execute(
        f"SELECT row FROM run WHERE {' AND '.join(where)} "  # noqa: S608 # our own names
        "ORDER BY n DESC LIMIT ?",
        (*values, query.limit),
    )
    return [decode_row(columns[0]) for columns in cursor]


def wakeable(
    conn: sqlite3.Connection,
    now_ms: int,
    limit: int,
    lives: Callable[[sqlite3.Connection, str], bool],
) -> tuple[list[str], int]:
    """Runs that can go on now and whose owner does not live; the time of the next timer."""
    ready: list[str] = []
    cursor = conn.execute(
        "SELECT run,owner FROM run WHERE status='running' UNION "
        "SELECT run,owner FROM run WHERE due>0 AND due<=? UNION "
        "SELECT run,owner FROM run WHERE (owner<>'' OR woken=1)"
        " AND (woken=1 OR status IN ('running','waiting'))",
        (now_ms,),
    )
    for run, owner in cursor:
        if not lives(conn, owner):
            ready.append(run)
            if len(ready) >= limit:
                break
    timer = conn.execute("SELECT coalesce(min(due),0) FROM run WHERE due>0 AND due>?", (now_ms,))
    return ready, timer.fetchone()[0]


def event_of(run: str, parent: str, columns: Sequence[Any]) -> Event:
    """An event from the columns of its row."""
    seq, pos, kind, at, name, world, body, args, value = columns[:9]
    if not 0 <= kind < len(KINDS):
        raise Corrupt(f"event {run}#{pos} is of an unknown kind ({kind})")
    return Event(
        seq, run, pos, name.hex(), parent, KINDS[kind], at, world.hex() if world else "",
        body.encode(), None if args is None else written(args),
        None if value is None else written(value),
    )  # fmt: skip
