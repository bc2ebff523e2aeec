"""SQLite databases in the world of a run: `sql` names one, its methods are steps.

Databases are ordinary files of the world: programs in `world.run` see them as such, and they fork,
merge and travel in time with it. Opening one costs the same whatever its size and history.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence

import apsw
from pydantic.dataclasses import dataclass

from holdfast.engine import scope
from holdfast.engine.declare import tool
from holdfast.values import limits
from holdfast.values.errors import Misuse, TooLarge
from holdfast.world import Objects, apply
from holdfast.world.pages import Opened, open_database

Value = int | float | str | bytes | None
"""What one field of a row holds."""
Parameters = Sequence[Value] | Mapping[str, Value]
"""Values for ``?``, or by name for ``:name``."""


@dataclass(frozen=True)
class Rows:
    """What a statement returned; ``more``: there were more than the limit."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    more: bool = False


@dataclass(frozen=True)
class Changed:
    """What a statement changed: how many rows (without those that triggers changed), the id of the
    last one inserted (0: none), and what a ``returning`` clause returned."""

    count: int
    last_id: int = 0
    returned: Rows = Rows()


class Database:
    """A database of the world of the run that uses it. Each method is a step.

    Errors: `Misuse` for what SQLite says of the statement, for a constraint that does not hold and
    for statements that would leave the database; `TooLarge` over a limit; `NotFound`.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"holdfast.sql({self.path!r})"

    async def query(
        self,
        statement: str,
        parameters: Parameters = (),
        *,
        limit: int = limits.SQL_ROWS,
        seconds: float = limits.SQL_SECONDS,
    ) -> Rows:
        """The rows of one statement, at most ``limit``. The database is open for reading only."""
        return await _query(self.path, statement, parameters, limit, seconds)

    async def execute(
        self,
        statement: str,
        parameters: Parameters = (),
        *,
        seconds: float = limits.SQL_SECONDS,
    ) -> Changed:
        """Perform one statement that changes the database; a missing one is made."""
        return await _execute(self.path, statement, parameters, seconds)

    async def executemany(
        self,
        statement: str,
        many: Sequence[Parameters],
        *,
        seconds: float = limits.SQL_SECONDS,
    ) -> Changed:
        """Perform one statement with each of ``many`` parameters, all of them or none."""
        return await _executemany(self.path, statement, many, seconds)

    async def script(self, statements: str, *, seconds: float = limits.SQL_SECONDS) -> Changed:
        """Perform statements separated by ``;``, all of them or none; what they return is left."""
        return await _script(self.path, statements, seconds)


def sql(path: str) -> Database:
    """The SQLite database at ``path`` in the world."""
    return Database(path)


# The steps ------------------------------------------------------------------------------------
@tool(effect="read", name="sql.query")
async def _query(
    path: str, statement: str, parameters: Parameters, limit: int, seconds: float
) -> Rows:
    here = scope.world_call()

    def read() -> Rows:
        with (
            open_database(here.stage, here.root, path, seconds=seconds) as opened,
            opened.said(),
        ):
            return _one(opened, statement, parameters, limit)

    return await asyncio.to_thread(read)


@tool(effect="world", name="sql.execute")
async def _execute(path: str, statement: str, parameters: Parameters, seconds: float) -> Changed:
    def change(opened: Opened) -> Changed:
        returned = _one(opened, statement, parameters, limits.SQL_ROWS)
        return Changed(opened.conn.changes(), opened.conn.last_insert_rowid(), returned)

    return await asyncio.to_thread(_changing, scope.world_call(), path, seconds, change)


@tool(effect="world", name="sql.executemany")
async def _executemany(
    path: str, statement: str, many: Sequence[Parameters], seconds: float
) -> Changed:
    def change(opened: Opened) -> Changed:
        conn, count = opened.conn, 0
        with conn:
            for parameters in many:
                _one(opened, statement, parameters, 0)
                count += conn.changes()
        return Changed(count, conn.last_insert_rowid())

    return await asyncio.to_thread(_changing, scope.world_call(), path, seconds, change)


@tool(effect="world", name="sql.script")
async def _script(path: str, statements: str, seconds: float) -> Changed:
    def change(opened: Opened) -> Changed:
        for _ in opened.conn.execute(statements):
            pass
        return Changed(opened.conn.total_changes(), opened.conn.last_insert_rowid())

    return await asyncio.to_thread(_changing, scope.world_call(), path, seconds, change)


def _changing(
    here: scope.Call, path: str, seconds: float, change: Callable[[Opened], Changed]
) -> Changed:
    with _writing(here, path, seconds) as opened:
        return change(opened)


@contextlib.contextmanager
def _writing(here: scope.Call, path: str, seconds: float) -> Generator[Opened]:
    """A database open for writing; what was changed goes into the world on leaving."""
    # all or nothing: an error leaves the root as it was, whatever was changed before it
    root = here.root
    with open_database(here.stage, root, path, write=True, seconds=seconds) as opened:
        with opened.said():
            yield opened
            edits = opened.save()
        here.root = apply(here.stage, root, edits)


def _one(opened: Opened, statement: str, parameters: Parameters, limit: int) -> Rows:
    """Perform one statement to its end and keep its first rows."""
    columns: list[str] = []
    begun = 0

    def begin(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
        nonlocal begun
        begun += 1
        if begun > 1:
            raise Misuse(f"{opened.path}: one statement at a time, this is several: use script")
        columns.extend(str(column[0]) for column in cursor.get_description())
        return True

    cursor = opened.conn.cursor()
    cursor.exec_trace = begin
    rows: list[tuple[Value, ...]] = []
    left = limits.SQL_RESULT_BYTES
    bound = dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters)
    more = False
    for row in cursor.execute(statement, bound):
        left -= sum(len(field) if isinstance(field, str | bytes) else 8 for field in row)
        if len(rows) >= limit or left < 0:
            if not rows and limit > 0:
                said = f"a row is over {limits.SQL_RESULT_BYTES:,} bytes"
                raise TooLarge(f"{opened.path}: {said}: select fewer columns, or parts with substr")
            more = True
            if opened.writes:
                continue  # what it is still to change must be changed
            break
        rows.append(tuple(row))
    return Rows(tuple(columns), tuple(rows), more)


# For tools of your own ------------------------------------------------------------------------
@contextlib.contextmanager
def connect(path: str, *, seconds: float = limits.SQL_SECONDS) -> Generator[apsw.Connection]:
    """For tools of your own with effect ``world``: a connection to a database of the world of the
    running step. On leaving, what was changed goes into the world; an error drops it.

    A missing database is made. Each statement may take ``seconds``. Errors of SQLite that leave the
    block become `Misuse` or `TooLarge`; so does a transaction that is still open.
    """
    with _writing(scope.world_call(), path, seconds) as opened:
        opened.conn.exec_trace = opened.begin
        yield opened.conn


@contextlib.contextmanager
def open_at(
    objects: Objects, root: str, path: str, *, seconds: float = limits.SQL_SECONDS
) -> Generator[apsw.Connection]:
    """A connection, for reading only, to a database as it is in any version of a world.

    ``objects`` has the world's content (a run's stage), ``root`` says which version. `NotFound`.
    """
    with open_database(objects, root, path, seconds=seconds) as opened, opened.said():
        opened.conn.exec_trace = opened.begin
        yield opened.conn
