"""Reading the SQLite store: each thread has a connection of its own that cannot write."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from holdfast.journal.events import Event, Head
from holdfast.journal.store import RunQuery
from holdfast.journal.views import RunRow
from holdfast.stores import reading
from holdfast.stores.blobs import read_blob
from holdfast.stores.metering import read_meters
from holdfast.stores.schema import Connection, connect, explain
from holdfast.values.errors import Misuse

_T = TypeVar("_T")


class Reads:
    """The reading half of `holdfast.journal.store.Store` on one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers = threading.local()
        self._open_readers: list[Connection] = []
        self._closed = False

    def close_readers(self) -> None:
        """Close every thread's connection; no more are opened."""
        self._closed = True
        while self._open_readers:
            self._open_readers.pop().close()

    def get(self, name: str) -> bytes:
        """See `Store.get`."""
        return self.ask(lambda conn: read_blob(conn, self.path, name))

    def ask(self, question: Callable[[sqlite3.Connection], _T]) -> _T:
        """The answer to a question to the file; SQLite's errors become Holdfast's."""
        try:
            return question(self.reader())
        except sqlite3.Error as error:
            raise explain(error, self.path) from None

    def reader(self) -> Connection:
        """This thread's reading connection (it cannot write)."""
        conn: Connection | None = getattr(self._readers, "conn", None)
        if conn is None:
            if self._closed:
                raise Misuse(f"{self.path}: the store is closed")
            conn = self._readers.conn = connect(self.path)
            self._open_readers.append(conn)
        return conn

    def meters(self, names: Sequence[str]) -> dict[str, int]:
        """See `Store.meters`."""
        return self.ask(lambda conn: read_meters(conn, names))

    async def head(self, run: str) -> Head:
        """See `Store.head`."""
        return self.ask(lambda conn: reading.head_of(conn, reading.row_of(conn, run).number, run))

    async def read(self, run: str, start: int = 0, stop: int | None = None) -> list[Event]:
        """See `Store.read`."""
        return self.ask(lambda conn: reading.read_chain(conn, run, start, stop))

    async def tail(self, after: int, limit: int = 1000) -> list[Event]:
        """See `Store.tail`. Parents are left empty: tails feed views, `read` proves chains."""
        return self.ask(lambda conn: reading.read_tail(conn, after, limit))

    async def last_seq(self) -> int:
        """See `Store.last_seq`."""
        return self.ask(reading.last_seq)

    async def run(self, run: str) -> RunRow:
        """See `Store.run`."""
        return self.ask(lambda conn: reading.row_of(conn, run))

    async def runs(self, query: RunQuery) -> list[RunRow]:
        """See `Store.runs`."""
        return self.ask(lambda conn: reading.read_runs(conn, query))
