"""What differs between two versions of an SQLite database, row by row, for people to read."""

from __future__ import annotations

import contextlib
from typing import Any

import apsw

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import chunks
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects
from holdfast.world.pages import Opened


def row_changes(objects: Objects, path: str, old: Entry, new: Entry) -> str | None:
    """Rows removed (-) and added (+) by table, those of one key next to each other, at most
    DIFF_ROWS of each table; None if they are not two databases that can be compared."""
    if not (_is_database(objects, old) and _is_database(objects, new)):
        return None
    try:
        with (
            contextlib.closing(Opened(objects, path, old)) as before,
            contextlib.closing(Opened(objects, path, new)) as after,
        ):
            after.conn.execute("attach ? as old", (before.name,))
            return "".join(_tables(after.conn))
    except (apsw.Error, Misuse, UnicodeDecodeError):
        return None


def _is_database(objects: Objects, entry: Entry) -> bool:
    head = chunks.DATABASE_HEAD
    return entry.size >= 512 and chunks.ChunkTree(objects, entry).chunk(0).startswith(head)


def _tables(conn: apsw.Connection) -> list[str]:
    here, there = _schema(conn, "main"), _schema(conn, "old")
    found: list[str] = []
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            verb = "added" if name not in there else "removed" if name not in here else "rebuilt"
            found.append(f"@@ table {name} {verb} @@\n")
        elif lines := _rows(conn, name):
            found += [f"@@ table {name} @@\n", *lines]
    return found


def _schema(conn: apsw.Connection, schema: str) -> dict[str, str]:
    """Ordinary tables and how they were made. What virtual ones keep shows as tables, too."""
    listed = conn.execute(
        f"select name, sql from {schema}.sqlite_schema where type = 'table'"  # noqa: S608
        " and name not like 'sqlite_%' and sql not like 'create virtual%'"
    )
    return {str(name): str(sql) for name, sql in listed}


def _rows(conn: apsw.Connection, table: str) -> list[str]:
    listed = list(conn.execute("select name, pk from pragma_table_info(?, 'main')", (table,)))
    columns = [str(name) for name, _ in listed]
    key = [at for at, (_, pk) in enumerate(listed) if pk] or list(range(len(columns)))
    most = limits.DIFF_ROWS + 1
    changes: list[tuple[str, int, str]] = []
    for mark, one, other in (("-", "old", "main"), ("+", "main", "old")):
        name, wanted = _quoted(table), ", ".join(map(_quoted, columns))
        order = ", ".join(str(at + 1) for at in key)
        here, there = (f"select {wanted} from {side}.{name}" for side in (one, other))  # noqa: S608
        text = f"{here} except {there} order by {order} limit {most}"
        for row in conn.execute(text):
            where = ", ".join(_shown(row[at]) for at in key)
            fields = ", ".join(
                f"{column}={_shown(value)}" for column, value in zip(columns, row, strict=True)
            )
            changes.append((where, mark == "+", f"{mark}{fields}\n"))
    lines = [line for _, _, line in sorted(changes)]
    if len(lines) >= most:
        lines[limits.DIFF_ROWS :] = ["(more rows differ)\n"]
    return lines


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
