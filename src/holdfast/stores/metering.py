"""Meters in a journal's file: remembered by the writer, read by anybody, kept when events go.

The table comes into being with the first charge, so a store that charges nothing has none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from holdfast.journal.events import KINDS
from holdfast.journal.meters import CHARGING, add_up, charged_by, parts
from holdfast.stores.schema import METER_TABLE

_CODES = tuple(KINDS.index(kind) for kind in CHARGING)
_REMEMBERED = 50_000
_CHARGED = (
    f"SELECT kind,CAST(body AS BLOB) FROM event WHERE kind IN {_CODES} "  # noqa: S608 # our own
    "AND instr(body,'\"charges\":')>0"
)


class Metering:
    """What the writing thread knows of meters: everything here runs inside its transaction."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._changed: set[str] = set()

    def forget(self) -> None:
        """Another process may have written, or this transaction was taken back."""
        self._values.clear()
        self._changed.clear()

    def value_of(self, conn: sqlite3.Connection, name: str) -> int:
        """The value of a meter, with what this transaction has added."""
        value = self._values.get(name)
        if value is None:
            if len(self._values) > _REMEMBERED and not self._changed:
                self._values.clear()
            value = self._values[name] = read_meters(conn, (name,)).get(name, 0)
        return value

    def take(self, meters: Mapping[str, int]) -> None:
        """New values, to be written by `flush`."""
        self._values.update(meters)
        self._changed.update(meters)

    def flush(self, conn: sqlite3.Connection) -> None:
        """Write what this transaction has changed."""
        if not self._changed:
            return
        changed, self._changed = self._changed, set()
        conn.execute(METER_TABLE)
        conn.executemany(
            "INSERT INTO meter(name,value) VALUES(?,?) "
            "ON CONFLICT(name) DO UPDATE SET value=excluded.value",
            [(name, self._values[name]) for name in changed],
        )
        zeros = [(name,) for name in changed if not self._values[name]]
        if zeros:
            conn.executemany("DELETE FROM meter WHERE name=? AND value=0 AND gone=0", zeros)


def _there(conn: sqlite3.Connection) -> bool:
    sql = "SELECT 1 FROM sqlite_master WHERE type='table' AND name='meter'"
    return conn.execute(sql).fetchone() is not None


def read_meters(conn: sqlite3.Connection, names: Sequence[str]) -> dict[str, int]:
    """See `Store.meters`."""
    exact, starts = parts(names)
    try:
        return _read(conn, exact, starts)
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return {}


def _read(conn: sqlite3.Connection, exact: list[str], starts: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in exact:
        for (value,) in conn.execute("SELECT value FROM meter WHERE name=?", (name,)):
            found[name] = value
    for start in starts:
        # names are printable, so none that starts so comes after this one
        end = start + chr(0x10FFFF)
        found.update(
            conn.execute("SELECT name,value FROM meter WHERE name>=? AND name<?", (start, end))
        )
    return {name: value for name, value in found.items() if value}


def stored_meters(conn: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Every meter's value as stored, and the part of it that deleted events charged."""
    if not _there(conn):
        return {}
    return {
        name if isinstance(name, str) else name.decode(): (value, gone)
        for name, value, gone in conn.execute("SELECT name,value,gone FROM meter")
    }


def differing(conn: sqlite3.Connection, sums: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Meters that are not what the events (which come to ``sums``) and deleted ones charged: name,
    value, and what it should be."""
    # INVARIANT J44: a meter is the sum of its charges, and anything else is reported
    stored = stored_meters(conn)
    for name in sorted({*stored, *sums}):
        value, gone = stored.get(name, (0, 0))
        if value != sums.get(name, 0) + gone:
            yield name, value, sums.get(name, 0) + gone


def keep(conn: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """The events of these runs are about to be deleted: what they charged stays charged.

    INVARIANT J43: deleting old runs frees nothing that was used.
    """
    if not _there(conn):
        return
    sums: dict[str, int] = {}
    for number in numbers:
        for code, body in conn.execute(f"{_CHARGED} AND n=?", (number,)):
            add_up(sums, charged_by(KINDS[code], body))
    conn.executemany("UPDATE meter SET gone=gone+? WHERE name=?",
                     [(amount, name) for name, amount in sums.items()])  # fmt: skip


def rebuild(conn: sqlite3.Connection) -> int:
    """Compute every meter again from the events, and what deleted ones left; how many differed.

    To be run by `SqliteStore.maintain`.
    """
    sums: dict[str, int] = {}
    for code, body in conn.execute(_CHARGED):
        add_up(sums, charged_by(KINDS[code], body))
    wrong = list(differing(conn, sums))
    if wrong:
        conn.execute(METER_TABLE)
        conn.executemany(
            "INSERT INTO meter(name,value) VALUES(?,?) "
            "ON CONFLICT(name) DO UPDATE SET value=excluded.value",
            [(name, said) for name, _, said in wrong],
        )
        conn.execute("DELETE FROM meter WHERE value=0 AND gone=0")
    return len(wrong)
