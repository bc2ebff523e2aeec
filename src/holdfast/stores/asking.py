"""Read-only SQL over tables in memory: one statement, that can do nothing but read them.

INVARIANT X164: SQLite itself is asked before each thing a statement would do, and told no for all
but reading these tables and calling functions; the journal's own file is not even attached.
INVARIANT X165: a query ends by its time, rows by their number and size, texts by their size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.values import limits
from holdfast.values.errors import Misuse, TooLarge
from holdfast.values.ports import Clock

_ALLOWED = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_STEPS = 1_000


class Answered(msgspec.Struct, frozen=True):
    """What a query gave: names of columns, rows, and whether there were more than were wanted."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: bool = False


def ask(
    tables: Mapping[str, Mapping[str, str]],
    rows: Mapping[str, Sequence[Any]],
    statement: str,
    clock: Clock,
    most: int = limits.QUERY_MAX_ROWS,
    seconds: float = limits.QUERY_SECONDS,
) -> Answered:
    """The answer of one SELECT to tables (types by column) that hold these rows; at most ``most``
    rows (0: all). `Misuse` for what is no SELECT over them, `TooLarge` if it takes too long."""
    conn = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    try:
        fill(conn, tables, rows)
        conn.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")  # made on first use
        conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _longest(rows))
        conn.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        conn.set_authorizer(_may)
        until = clock.ticks_ns() + int(seconds * 1e9)
        conn.set_progress_handler(lambda: clock.ticks_ns() > until, _STEPS)
        cursor = conn.execute(statement)
        if cursor.description is None:
            raise Misuse("the statement asks nothing: say SELECT ...")
        names = tuple(one[0] for one in cursor.description)
        found = _fetched(cursor, most, clock, until)
    except MemoryError:
        raise TooLarge("the query needs more memory than there is: ask for less") from None
    except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, UnicodeError) as error:
        raise _explained(error, seconds) from None
    finally:
        conn.close()
    return Answered(names, found[:most] if most else found, bool(most) and len(found) > most)


def _fetched(cursor: sqlite3.Cursor, most: int, clock: Clock, until: int) -> list[Any]:
    """Rows, one more than ``most``; what SQLite does between two of them may be too short for it to
    look at the clock."""
    found: list[Any] = []
    size = 0
    for row in cursor:
        size += sum(_size(cell) for cell in row)
        if size > limits.QUERY_MAX_BYTES:
            raise TooLarge("the answer is too long: ask for less")
        if clock.ticks_ns() > until:
            raise sqlite3.OperationalError("interrupted")
        found.append(row)
        if most and len(found) > most:
            break
    return found


def _longest(rows: Mapping[str, Sequence[Any]]) -> int:
    """How long a text may get: a little one, or as long as the longest row has it."""
    held = max((sum(map(_size, row)) for many in rows.values() for row in many), default=0)
    # characters take up to four bytes
    return min(limits.QUERY_MAX_BYTES, max(limits.QUERY_TEXT_BYTES, 4 * held))


def _size(cell: Any) -> int:
    return len(cell) if isinstance(cell, str | bytes) else 8


def fill(
    conn: sqlite3.Connection,
    tables: Mapping[str, Mapping[str, str]],
    rows: Mapping[str, Sequence[Any]],
) -> None:
    """Make tables in an empty database and put rows in, in one transaction."""
    conn.execute("BEGIN")
    for name, columns in tables.items():
        shape = ",".join(f'"{column}" {kind}' for column, kind in columns.items())
        conn.execute(f'CREATE TABLE "{name}"({shape})')
        marks = ",".join("?" * len(columns))
        conn.executemany(
            f'INSERT INTO "{name}" VALUES({marks})',
            rows[name],
        )
    conn.execute("COMMIT")


def _may(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second in _NEVER):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


_NEVER = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})


def _explained(error: Exception, seconds: float) -> Exception:
    text = str(error)
    if "interrupted" in text:
        return TooLarge(f"the query took longer than {seconds:g} s: ask for less")
    if "too big" in text:
        return TooLarge("the query makes a text that is too long: ask for less")
    if "not authorized" in text or "prohibited" in text:
        return Misuse("only reading is allowed: one SELECT over the tables of `holdfast sql "
                      "--schema`")  # fmt: skip
    return Misuse(f"the query is not understood: {text}; `holdfast sql --schema` lists the tables")
