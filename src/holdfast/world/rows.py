"""Three-way merge of SQLite databases, row by row.

What one side changed since the base is found by SQLite's sessions and applied to the other side.
Rows are told apart by their primary key: columns of one row that were changed on different sides
are both kept; the same column changed differently, a row changed here and deleted there, and one
key inserted twice are conflicts that name table, key and columns. A table that has no key, or that
a virtual table keeps for itself, is taken from the side that changed it; if both did, that is a
conflict. If one side changed the schema, the other side's rows are brought into it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import apsw

from holdfast.values.errors import Misuse
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects
from holdfast.world.pages import Opened
from holdfast.world.trees import changed_ranges, roots_of

Row = Mapping[str, Any]
"""The fields of a row by column."""


@dataclass(frozen=True, slots=True)
class RowConflict:
    """A row that both sides changed in ways that exclude each other.

    ``key``: its primary key by column, empty if the conflict is about the whole table; ``columns``:
    those in conflict, empty if the row as a whole is; the rows are None where there is none.
    ``why`` says it in words.
    """

    table: str
    key: Row
    columns: tuple[str, ...]
    base: Row | None
    ours: Row | None
    theirs: Row | None
    why: str


@dataclass(frozen=True, slots=True)
class Combined:
    """What a merge of one file gave: its entry, or None with ``why`` for a conflict of the whole
    file. Where rows are in conflict the entry holds ours."""

    entry: Entry | None
    rows: tuple[RowConflict, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    odd: str  # why sessions cannot list its changes, or ""
    rowid: str  # what its rowid is called, "" if its rows have none or are compared otherwise
    virtual: str  # the virtual table that keeps it, or ""


def merge_rows(objects: Objects, path: str, base: Entry, ours: Entry, theirs: Entry) -> Combined:
    """Merge three versions of a database; if one is none, that is a conflict of the file."""
    try:
        with _opened(objects, path, base, ours, theirs) as sides:
            return _Rows(objects, path, *sides).merge(base, ours, theirs)
    except UnicodeDecodeError:
        return Combined(None, why="cannot be merged by rows: it holds text that is not UTF-8")
    except (apsw.Error, Misuse) as error:
        return Combined(None, why=f"cannot be merged by rows: {error}")


@contextlib.contextmanager
def _opened(objects: Objects, path: str, *entries: Entry) -> Generator[list[Opened]]:
    with contextlib.ExitStack() as stack:
        sides: list[Opened] = []
        for entry in entries:
            sides.append(Opened(objects, path, entry, write=bool(sides)))
            stack.callback(sides[-1].close)
            sides[-1].conn.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
            sides[-1].conn.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)  # for tables of virtual ones
        yield sides


class _Rows:
    """One merge under way. ``target`` becomes the result; ``source`` is what is brought into it."""

    def __init__(
        self, objects: Objects, path: str, base: Opened, ours: Opened, theirs: Opened
    ) -> None:
        self.objects = objects
        self.path = path
        self.base, self.ours, self.theirs = base, ours, theirs
        self.target, self.source = ours, theirs
        self.conflicts: list[RowConflict] = []
        self.ranges: dict[str, list[tuple[int, int]]] | None = None

    def merge(self, base: Entry, ours: Entry, theirs: Entry) -> Combined:
        schemas = [_schema(side.conn) for side in (self.base, self.ours, self.theirs)]
        if schemas[0] not in schemas[1:] and schemas[1] != schemas[2]:
            return Combined(None, why="both sides changed the schema")
        if schemas[1] == schemas[0] != schemas[2]:  # what changes the schema comes first
            self.target, self.source = self.theirs, self.ours
        if why := self._settings():
            return Combined(None, why=why)
        roots = [roots_of(side.conn) for side in (self.base, self.source)]
        entry = theirs if self.source is self.theirs else ours
        self.ranges = changed_ranges(self.objects, base, entry, roots)
        _all(self.source.conn, "attach ? as base", (self.base.name,))
        _all(self.source.conn, "attach ':memory:' as before")
        _all(self.source.conn, "attach ':memory:' as after")
        _all(self.target.conn, "attach ? as base", (self.base.name,))
        _all(self.target.conn, "attach ? as source", (self.source.name,))
        with self.target.conn:
            self._tables()
            self._sequences()
            if self.target is self.theirs:
                for conflict in self.conflicts:
                    if not conflict.key:
                        return Combined(None, why=conflict.why)
                    _set_row(self.target.conn, conflict.table, conflict.key, conflict.ours)
        if found := _troubles(self.target.conn):
            with _opened(self.objects, self.path, ours, theirs) as sides:
                found -= _troubles(sides[0].conn) | _troubles(sides[1].conn)
        if found:
            return Combined(None, why=f"merged, it would break: {', '.join(sorted(found)[:5])}")
        entry = self.target.entry()
        return Combined(entry._replace(executable=ours.executable), tuple(self.conflicts))

    def _settings(self) -> str:
        """Bring over what stands in the header; why that cannot be, or ""."""
        for name in ("encoding", "user_version", "application_id"):
            base, target, source = (
                side.conn.pragma(name) for side in (self.base, self.target, self.source)
            )
            if source in (base, target):
                continue
            if target != base or name == "encoding":
                return f"both sides changed its {name}"
            _all(self.target.conn, f"pragma {name}={int(source)}")
        return ""

    # Tables -----------------------------------------------------------------------------------
    def _tables(self) -> None:
        before, source, target = (
            {table.name: table for table in _tables(side.conn)}
            for side in (self.base, self.source, self.target)
        )
        kept: dict[str, list[_Table]] = {}  # by virtual table, what it keeps
        for name, table in source.items():
            old, new = before.get(name), target.get(name)
            if table.virtual:
                kept.setdefault(table.virtual, []).append(table)
            elif old is None or (old.columns, old.key) != (table.columns, table.key):
                if new is None or _differ(self.target.conn, "source", table):
                    self._whole(name, "both sides added or rebuilt the table")
            else:
                odd = table.odd or old.odd or (new.odd if new is not None else "")
                self._table(replace(table, odd=odd), new)
        for name, tables in kept.items():
            if not any(_differ(self.source.conn, "base", table) for table in tables):
                continue
            if all(table.name in target for table in tables) and not any(
                _differ(self.target.conn, "base", table) for table in tables
            ):
                for table in tables:
                    self._copy(table)
            elif any(_differ(self.target.conn, "source", table) for table in tables):
                self._whole(name, "both sides changed it, and a virtual table cannot be merged")

    def _table(self, table: _Table, new: _Table | None) -> None:
        if table.odd:
            changes = b"" if _differ(self.source.conn, "base", table) else None
        else:
            changes = self._listed(table)
        if changes is None:
            return
        if (
            new is None
            or new.columns[: len(table.columns)] != table.columns
            or new.key != table.key
        ):
            self._whole(table.name, "one side changed its rows, the other rebuilt or dropped it")
        elif table.key and not table.odd:
            apsw.Changeset.apply(
                changes, self.target.conn, conflict=functools.partial(self._conflict, table)
            )
        elif not _differ(self.target.conn, "base", table):
            self._copy(table)
        elif _differ(self.target.conn, "source", table):
            why = table.odd or "it has no primary key to tell its rows apart"
            self._whole(table.name, f"both sides changed it, and {why}")

    def _listed(self, table: _Table) -> bytes | None:
        """The changes of the source to a table, of the rows alone that its pages say can differ."""
        conn, ranges = self.source.conn, (self.ranges or {}).get(table.name, [])
        if self.ranges is not None and not ranges:
            return None
        if not table.rowid or self.ranges is None or ranges[0][0] == -(2**63) == -ranges[0][1] - 1:
            return _changes(conn, "base", table.name)
        name, columns, key = (
            _quoted(table.name),
            ", ".join(map(_quoted, table.columns)),
            ", ".join(map(_quoted, table.key)),
        )
        for schema, origin in (("before", "base"), ("after", "main")):
            _all(conn, f"create table {schema}.{name}({columns}, primary key({key}))")
            within = f"where {table.rowid} between ? and ?"
            rows = f"select {columns} from {origin}.{name} {within}"  # noqa: S608
            for part in ranges:
                _all(conn, f"insert into {schema}.{name} {rows}", part)
        changes = _changes(conn, "before", table.name, "after")
        for schema in ("before", "after"):
            _all(conn, f"drop table {schema}.{name}")
        return changes

    def _whole(self, name: str, why: str) -> None:
        self.conflicts.append(RowConflict(name, {}, (), None, None, None, f"{name}: {why}"))

    def _copy(self, table: _Table) -> None:
        """Take a table that the target has not changed from the source, as a whole."""
        columns = ", ".join(map(_quoted, table.columns))
        name = _quoted(table.name)
        _all(
            self.target.conn,
            f"delete from main.{name};"  # noqa: S608 - quoted names
            f"insert into main.{name}({columns}) select {columns} from source.{name}",
        )

    # Rows -------------------------------------------------------------------------------------
    def _conflict(self, table: _Table, reason: int, change: apsw.TableChange) -> int:
        """What SQLite is to do about a change that does not fit; notes true conflicts."""
        there = change.conflict if reason in _WITH_ROW else None
        columns: tuple[str, ...] = ()
        if change.op == "UPDATE" and there is not None:
            assert change.old is not None
            assert change.new is not None
            columns = tuple(
                name
                for name, old, new, now in zip(
                    table.columns, change.old, change.new, there, strict=False
                )
                if new is not apsw.no_change and not _same(now, new) and not _same(now, old)
            )
            if not columns:  # other columns of the row: both stay
                return apsw.SQLITE_CHANGESET_REPLACE
            why = "both sides changed"
        elif change.op == "INSERT" and there is not None:
            new = change.new or ()
            if all(_same(one, other) for one, other in zip(there, new, strict=False)):
                return apsw.SQLITE_CHANGESET_OMIT
            why = "both sides inserted"
        elif reason == apsw.SQLITE_CHANGESET_NOTFOUND:
            if change.op == "DELETE":
                return apsw.SQLITE_CHANGESET_OMIT
            why = "one side changed what the other deleted"
        elif reason == apsw.SQLITE_CHANGESET_CONSTRAINT:
            why = "a constraint keeps both sides from having"
        else:
            why = "one side changed what the other deleted"
        self._row(table, change, columns, why)
        return apsw.SQLITE_CHANGESET_OMIT

    def _row(
        self, table: _Table, change: apsw.TableChange, columns: tuple[str, ...], why: str
    ) -> None:
        fields = change.new if change.op == "INSERT" else change.old
        assert fields is not None
        key = {name: fields[table.columns.index(name)] for name in table.key}
        shown = ", ".join(f"{name} = {value!r:.40}" for name, value in key.items())
        what = f"{', '.join(columns)} of " if columns else ""
        rows = (_get_row(side.conn, table, key) for side in (self.base, self.ours, self.theirs))
        base, ours, theirs = rows
        said = f"{table.name}: {why} {what}the row with {shown}"
        self.conflicts.append(RowConflict(table.name, key, columns, base, ours, theirs, said))

    def _sequences(self) -> None:
        """Numbers that AUTOINCREMENT gave on either side are not given again."""
        there = "select count(*) from sqlite_schema where name = 'sqlite_sequence'"
        if not (self.source.conn.execute(there).get and self.target.conn.execute(there).get):
            return
        for name, given in _all(self.source.conn, "select name, seq from sqlite_sequence"):
            _all(
                self.target.conn,
                "update sqlite_sequence set seq = ?2 where name = ?1 and seq < ?2",
                (name, given),
            )


_WITH_ROW = (apsw.SQLITE_CHANGESET_DATA, apsw.SQLITE_CHANGESET_CONFLICT)


def settle_rows(
    objects: Objects, path: str, entry: Entry, choices: Iterable[tuple[RowConflict, Row | None]]
) -> Entry:
    """The database with rows set: the fields that are to stand at a conflict's key, or None.

    `Misuse` if a constraint forbids it, or if the conflict is about a whole table.
    """
    opened = Opened(objects, path, entry, write=True)
    try:
        with opened.said(), opened.conn:
            opened.conn.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
            before = _troubles(opened.conn)
            for conflict, row in choices:
                if not conflict.key:
                    raise Misuse(f"{path}: {conflict.why}: choose one side's whole file")
                _set_row(opened.conn, conflict.table, conflict.key, row)
            if found := _troubles(opened.conn) - before:
                raise Misuse(f"{path}: with these rows it would break: {min(found)}")
        return opened.entry()
    finally:
        opened.close()


# Plain SQL ------------------------------------------------------------------------------------
def _all(conn: apsw.Connection, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
    return conn.execute(statement, values).fetchall()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _schema(conn: apsw.Connection) -> set[tuple[Any, ...]]:
    return set(
        _all(
            conn,
            "select type, name, tbl_name, sql from sqlite_schema"
            " where name not like 'sqlite_stat%' and name != 'sqlite_sequence'",
        )
    )


def _tables(conn: apsw.Connection) -> list[_Table]:
    listed = _all(
        conn,
        "select name, type from pragma_table_list where schema = 'main' and type != 'view'"
        " and substr(name, 1, 7) != 'sqlite_' order by length(name), name",
    )
    virtual = [name for name, kind in listed if kind == "virtual"]
    found: list[_Table] = []
    for name, kind in listed:
        if kind == "virtual":
            continue
        rows = _all(conn, "select name, pk, hidden from pragma_table_xinfo(?)", (name,))
        owner = odd = ""
        if kind == "shadow":
            owner = max((one for one in virtual if name.startswith(one + "_")), key=len)
        key = tuple(column for column, pk, _ in sorted(rows, key=lambda row: row[1]) if pk)
        if key and _keyless_rows(conn, name, key):
            odd = "some of its rows have no key"
        elif any(hidden for _, _, hidden in rows):
            odd = "it has generated columns"
        columns = tuple(column for column, _, hidden in rows if not hidden)
        found.append(_Table(name, columns, key, odd, _rowid_of(conn, name, columns, key), owner))
    return found


def _rowid_of(
    conn: apsw.Connection, name: str, columns: tuple[str, ...], key: tuple[str, ...]
) -> str:
    """What the rowid of a table is called; "" without one, or where keys have a collation."""
    ((text,),) = _all(conn, "select sql from sqlite_schema where name = ?", (name,))
    ((without,),) = _all(conn, "select wr from pragma_table_list(?) where schema='main'", (name,))
    taken = {column.lower() for column in columns}
    free = [word for word in ("rowid", "_rowid_", "oid") if word not in taken]
    return free[0] if free and key and not without and "collate" not in text.lower() else ""


def _keyless_rows(conn: apsw.Connection, name: str, key: tuple[str, ...]) -> bool:
    """Whether there are rows without a key, which sessions would pass over."""
    null = " or ".join(f"{_quoted(column)} is null" for column in key)
    text = f"select exists(select 1 from {_quoted(name)} where {null})"  # noqa: S608
    return bool(conn.execute(text).get)


def _differ(conn: apsw.Connection, schema: str, table: _Table) -> bool:
    """Whether main and the attached ``schema`` have different rows in a table, however often."""
    name, columns = _quoted(table.name), ", ".join(map(_quoted, table.columns))
    here, there = (
        f"select {columns}, count(*) from {one}.{name} group by {columns}"  # noqa: S608
        for one in ("main", schema)
    )
    return bool(
        conn.execute(f"select exists({here} except {there}) or exists({there} except {here})").get
    )


def _changes(conn: apsw.Connection, schema: str, table: str, to: str = "main") -> bytes | None:
    """The changeset from a table in the attached ``schema`` to the one in ``to``; None for none."""
    made = apsw.Session(conn, to)
    try:
        made.config(apsw.SQLITE_SESSION_OBJCONFIG_ROWID, True)
        made.attach(table)
        made.diff(schema, table)
        return None if made.is_empty else made.changeset()
    finally:
        made.close()


def _where(key: Row) -> str:
    return " and ".join(f"{_quoted(column)} is ?" for column in key)


def _get_row(conn: apsw.Connection, table: _Table, key: Row) -> Row | None:
    if not conn.table_exists("main", table.name):
        return None
    cursor = conn.execute(
        f"select * from main.{_quoted(table.name)} where {_where(key)}",  # noqa: S608
        tuple(key.values()),
    )
    for row in cursor:
        names = [column[0] for column in cursor.get_description()]
        return dict(zip(names, row, strict=True))
    return None


def _set_row(conn: apsw.Connection, table: str, key: Row, row: Row | None) -> None:
    """Make the row with this key have these fields (None: be absent)."""
    if not key:
        return
    name, where, at = _quoted(table), _where(key), tuple(key.values())
    if row is None:
        _all(conn, f"delete from {name} where {where}", at)  # noqa: S608
        return
    columns = [_quoted(column) for column in row]
    there = conn.execute(f"select exists(select 1 from {name} where {where})", at).get  # noqa: S608
    if there:
        sets = ", ".join(f"{column} = ?" for column in columns)
        text = f"update {name} set {sets} where {where}"  # noqa: S608
        conn.execute(text, (*row.values(), *at)).fetchall()
        return
    marks = ", ".join("?" * len(columns))
    text = f"insert into {name}({', '.join(columns)}) values({marks})"
    conn.execute(text, tuple(row.values())).fetchall()


def _troubles(conn: apsw.Connection) -> set[str]:
    """What is wrong with a database: broken references, broken structure."""
    found = {
        f"a row of {table} (rowid {rowid}) refers to a missing one of {parent}"
        for table, rowid, parent, _ in _all(conn, "pragma main.foreign_key_check")
    }
    return found | {text for (text,) in _all(conn, "pragma main.quick_check") if text != "ok"}
