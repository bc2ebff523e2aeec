"""Forgetting what findings said: their values go, the hashes stay, and every proof still holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from holdfast.journal.events import KINDS, erased
from holdfast.stores.reading import row_of
from holdfast.stores.terse import terse, written
from holdfast.values.errors import Misuse


def forget(conn: sqlite3.Connection, run: str, positions: Sequence[int]) -> None:
    """See `holdfast.journal.store.Store.forget`; within a transaction."""
    number = row_of(conn, run).number
    # what is overwritten stays in no free space of the file
    conn.execute("PRAGMA secure_delete=ON")
    for pos in positions:
        found = conn.execute(
            "SELECT kind,value FROM event WHERE n=? AND pos=?", (number, pos)
        ).fetchone()
        if found is None or KINDS[found[0]] != "finding.added":
            raise Misuse(f"event {run}#{pos} is no finding: `holdfast erase` erases a run")
        if found[1] is not None:
            value = terse(erased(written(found[1])))
            conn.execute("UPDATE event SET value=? WHERE n=? AND pos=?", (value, number, pos))
