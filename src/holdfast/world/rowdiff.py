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
    """Definitions that differ, and rows removed (-) and added (+) by table, those of one key next
    to each other, at most DIFF_ROWS of each table; None if they are not two databases that can be
    compared."""
    if not (is_database(objects, old) and is_database(objects, new)):
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


def is_database(objects: Objects, entry: Entry) -> bool:
    """Whether a file is an SQLite database, by how it begins."""
    head = chunks.DATABASE_HEAD
    return entry.size >= 512 and chunks.ChunkTree(objects, entry).chunk(0).startswith(head)


def _tables(conn: apsw.Connection) -> list[str]:
    here, there = _schema(conn, "main"), _schema(conn, "old")
    found: list[str] = []
    for of in sorted(here.keys() | there.keys()):
        kind, name = of
        if here.get(of) != there.get(of):
            verb = "added" if of not in there else "removed" if of not in here else "rebuilt"
            found.append(f"@@ {kind} {_plain(name)} {verb} @@\n")
        elif kind == "table" and not here[of][1].lower().startswith("create virtual"):
            lines = _rows(conn, name)  # what virtual ones keep shows as tables, too
            found += [f"@@ table {_plain(name)} @@\n", *lines] if lines else []
    for said in ("user_version", "application_id"):
        old, new = (conn.execute(f"pragma {side}.{said}").get for side in ("old", "main"))
        if old != new:
            found.append(f"@@ {said} @@\n-{_shown(old)}\n+{_shown(new)}\n")
    # INVARIANT W67: databases that are not the same are never shown as if nothing had changed
    return found or ["(no row and no definition differs, only how the file holds them)\n"]


def _schema(conn: apsw.Connection, side: str) -> dict[tuple[str, str], tuple[str, str]]:
    """All that is defined, by kind and name: what it belongs to and how it was made. An index
    without a text is a part of its table's definition."""
    listed = conn.execute(
        f"select type, name, tbl_name, sql from {side}.sqlite_schema"  # noqa: S608
        " where type <> 'index' or sql is not null"
    )
    return {(str(kind), str(name)): (str(of), str(sql)) for kind, name, of, sql in listed}


def _rows(conn: apsw.Connection, table: str) -> list[str]:
    listed = list(conn.execute("select name, pk from pragma_table_info(?, 'main')", (table,)))
    columns = [str(name) for name, _ in listed]
    key = [at for at, (_, pk) in enumerate(listed) if pk] or range(len(columns))
    named = ", ".join(f"{_quoted(name)} as c{at}" for at, name in enumerate(columns))
    sides = " union all ".join(
        f"select {named}, {times} as times from {side}.{_quoted(table)}"  # noqa: S608
        for side, times in (("old", -1), ("main", 1))
    )
    # the same row is one of the same types and bytes, as often: 1 is not 1.0, nor 'a' 'A'
    same = ", ".join(f"c{at} collate binary, typeof(c{at})" for at in range(len(columns)))
    values, order = (", ".join(f"c{at}" for at in ats) for ats in (range(len(columns)), key))
    text = (
        f"select {values}, sum(times) as more from ({sides}) "  # noqa: S608
        f"group by {same} having more <> 0 order by {order}, more limit {limits.DIFF_ROWS + 1}"
    )
    lines: list[str] = []
    for *row, more in conn.execute(text):
        fields = (
            f"{_plain(name)}={_shown(value)}" for name, value in zip(columns, row, strict=True)
        )
        often = f" ({abs(more)} times)" if abs(more) > 1 else ""
        lines.append(f"{'+' if more > 0 else '-'}{', '.join(fields)}{often}\n")
    if len(lines) > limits.DIFF_ROWS:
        lines[limits.DIFF_ROWS :] = ["(more rows differ)\n"]
    return lines


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(name: str) -> str:
    """A name of the file's making, which could look like lines of the diff."""
    return name if name.isprintable() else repr(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
