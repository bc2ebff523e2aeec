"""Looking at one unchanging state of a journal and its packs, without writing to them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path

from holdfast.stores.pack import hold_packs
from holdfast.stores.schema import check_file, check_format, check_layout, connect, counted, explain
from holdfast.stores.sqlite import FILE
from holdfast.values.errors import Corrupt, Outside


def journal_path(path: Path | str) -> Path:
    """The journal that ``path`` means: a file, or a store's directory."""
    path = Path(path)
    return path / FILE if path.is_dir() and path.name != FILE else path


@contextlib.contextmanager
def reading_file(path: Path) -> Generator[sqlite3.Connection]:
    """A connection to one unchanging state of a journal, which it never writes to.

    Raises `NotFound`, `Corrupt`, `Misuse` or `Outside` in one line if it is no journal of ours.
    """
    check_file(path)
    conn = _connect(path)
    try:
        check_format(conn, path)
        conn.text_factory = bytes
        conn.execute("PRAGMA cell_size_check=1")
        conn.execute("BEGIN")
        try:
            check_layout(conn, path)
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or "schema" in str(error):
                text = "its layout is damaged, so nothing can be read from it"
                raise Corrupt(f"{path}: {text} ({error})") from None
        _hold(conn, path)
        yield conn
    except sqlite3.Error as error:
        raise explain(error, path) from None
    finally:
        conn.close()


def _hold(conn: sqlite3.Connection, path: Path) -> None:
    """Keep the packs of this state of the file; look at a newer state if some are gone already."""
    gone: set[int] | None = None
    with contextlib.suppress(sqlite3.DatabaseError):  # damage, which is found later
        while (now := hold_packs(conn, path)) and now != gone:
            gone = now
            conn.execute("ROLLBACK")
            conn.execute("BEGIN")


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that reads; also on a read-only disk, where SQLite cannot coordinate with
    writers: without a log it need not."""
    try:
        conn = connect(path)
    except Outside as error:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise Outside(
                f"{path}: cannot be read where it is, since its log {log.name} is not empty: "
                "copy both to a writable directory"
            ) from None
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            conn = counted(path, uri)
            conn.execute("PRAGMA schema_version")
        except sqlite3.Error:
            raise error from None
    return conn
