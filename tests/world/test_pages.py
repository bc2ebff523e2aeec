"""Databases opened in a world, beside the same ones opened by stock SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, Misuse, NotFound, TooLarge
from holdfast.world import (
    EMPTY,
    Objects,
    Stage,
    apply,
    export_dir,
    import_dir,
    pages,
    put_file,
    read_file,
    walk,
    write_file,
)
from holdfast.world.pages import open_database
from tests.world.support import QUICK, at, build, memory


def change(objects: Objects, root: str, statements: str, path: str = "a.db") -> str:
    with open_database(objects, root, path, write=True) as opened:
        with opened.said():
            opened.conn.execute(statements).fetchall()
        return apply(objects, root, opened.save())


def look(objects: Objects, root: str, statement: str, path: str = "a.db") -> list[tuple]:
    with open_database(objects, root, path) as opened, opened.said():
        return opened.conn.execute(statement).fetchall()


def made(rows: int = 200, size: int = 200, page_size: int = 4096) -> tuple[Stage, str]:
    objects = memory()
    root = change(
        objects,
        EMPTY,
        f"pragma page_size={page_size}; create table t(a integer primary key, b);"
        f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})"
        f" insert into t select i, printf('%0{size}d', i) from n",
    )
    return objects, root


STATEMENTS = st.lists(
    st.one_of(
        st.tuples(st.just("insert into t(b) values(zeroblob({}))"), st.integers(0, 9000)),
        st.tuples(st.just("update t set b = 'x' || {} where a % 3 = 0"), st.integers(0, 9)),
        st.tuples(st.just("delete from t where a < {}"), st.integers(0, 30)),
        st.tuples(st.just("create table if not exists u{}(x unique, y)"), st.integers(0, 3)),
        st.tuples(st.just("drop table if exists u{}"), st.integers(0, 3)),
        st.tuples(st.just("begin; delete from t; rollback"), st.just(0)),
        st.tuples(st.just("vacuum"), st.just(0)),
    ),
    max_size=8,
)


@QUICK
@given(STATEMENTS, st.sampled_from([512, 1024, 4096, 65536]), st.booleans())
def test_as_stock_sqlite_and_as_from_scratch_w9(
    statements: list[tuple[str, int]], page_size: int, at_once: bool
):
    """INVARIANT W9: a database edited page by page is the entry of its bytes."""
    first = f"pragma page_size={page_size}; create table t(a integer primary key, b)"
    objects, stock = memory(), sqlite3.connect(":memory:")
    root = change(objects, EMPTY, first)
    stock.executescript(first)
    texts = [text.format(number) for text, number in statements]
    for text in [";".join(texts)] if at_once else texts:
        root = change(objects, root, text)
    for text in texts:
        stock.executescript(text)
    listing = "select name from sqlite_schema where type='table'"
    tables = [name for (name,) in stock.execute(listing)]
    for table in tables:
        statement = f"select * from {table} order by 1"
        assert look(objects, root, statement) == stock.execute(statement).fetchall()
    content = read_file(objects, root, "a.db")
    assert put_file(memory(), content) == at(objects, root, "a.db")
    copy = sqlite3.connect(":memory:")
    copy.deserialize(content)
    assert copy.execute("pragma integrity_check").fetchall() == [("ok",)]
    stock.close()
    copy.close()


def test_versions_side_by_side():
    objects, first = made()
    second = change(objects, first, "update t set b = 'two' where a = 1")
    with (
        open_database(objects, first, "a.db") as one,
        open_database(objects, second, "a.db") as two,
        open_database(objects, first, "a.db", write=True) as third,
    ):
        third.conn.execute("update t set b = 'three' where a = 1")
        assert two.conn.execute("select b from t where a = 1").get == "two"
        assert len(one.conn.execute("select b from t where a = 1").get) == 200
        assert third.conn.execute("select b from t where a = 1").get == "three"
        assert {**third.save()} == {"a.db": third.entry()}
    assert look(objects, first, "select count(*) from t where b like '0%'") == [(200,)]


def test_a_change_stores_its_pages_and_reads_no_more_than_it_must(monkeypatch):
    objects, root = made(20_000)
    before = set(objects.new)
    for number in range(40):
        root = change(objects, root, f"update t set b = 'x{number}' where a = {number * 300 + 1}")
    new = objects.new.keys() - before
    assert sum(len(objects.new[name]) for name in new) < 40 * 16_000
    reads: list[str] = []

    class Noting(Stage):
        def get(self, name: str) -> bytes:
            reads.append(name)
            return objects.get(name)

    monkeypatch.setattr(pages, "_cache", pages._Cache())
    assert look(Noting(objects.get), root, "select b from t where a = 301") == [("x1",)]
    assert len(reads) < 25
    reads.clear()
    assert look(Noting(objects.get), root, "select b from t where a = 301") == [("x1",)]
    assert len(reads) < 8, "pages come from the cache, directories do not"


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "PAGE_CACHE_BYTES", 50_000)
    monkeypatch.setattr(pages, "_cache", pages._Cache())
    objects, root = made(5_000)
    assert look(objects, root, "select count(*), min(b) > '' from t") == [(5_000, 1)]
    assert sum(map(len, pages._cache._kept.values())) == pages._cache._bytes <= 50_000


def test_many_changes_go_early(monkeypatch):
    monkeypatch.setattr(limits, "PAGE_DIRTY_BYTES", 100_000)
    objects, root = made(20_000, 300)
    seen = [len(objects.new)]
    with open_database(objects, root, "a.db", write=True) as opened:
        opened.conn.execute("begin; update t set b = b || 'x'").fetchall()
        opened.conn.cache_flush()
        assert opened._content.dirty_bytes <= 100_000
        seen.append(len(objects.new))
        with pytest.raises(Misuse, match="still open"):
            opened.save()
        opened.conn.execute("rollback")
        assert read_back(opened) == read_file_rows(objects, root)
        opened.conn.execute("update t set b = b || 'y'")
        root = apply(objects, root, opened.save())
    assert seen[1] > seen[0] + 100
    assert look(objects, root, "select count(*) from t where b like '%y'") == [(20_000,)]
    assert look(objects, root, "pragma integrity_check") == [("ok",)]


def read_back(opened: pages.Opened) -> list[tuple]:
    return opened.conn.execute("select count(*), max(b) from t").fetchall()


def read_file_rows(objects: Objects, root: str) -> list[tuple]:
    return look(objects, root, "select count(*), max(b) from t")


@pytest.mark.parametrize(
    "statement",
    [
        "attach 'other' as o",
        "attach '/etc/passwd' as o",
        "attach '/1' as o",
        "attach ? as o",
        "vacuum into 'other'",
        "vacuum main into '/tmp/' || 'x'",
        "select load_extension('x')",
        "pragma writable_schema=on",
        "pragma writable_schema=on; update sqlite_schema set sql = ''",
        "update sqlite_schema set sql = ''",
        "pragma temp_store_directory='/tmp'",
        "pragma hard_heap_limit=1",
        "pragma trusted_schema=on",
        "pragma schema_version=7",
        "pragma unknown_one=1",
        "create virtual table v using nothing",
        "select readfile('/etc/passwd')",
        "select writefile('/tmp/x', 1)",
        "detach main",
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_nothing_else_is_reached_w10(statement: str, write: bool):
    """INVARIANT W10."""
    objects, root = made(3)
    with open_database(objects, root, "a.db", write=write) as opened:
        with pytest.raises(Misuse, match=r"^a\.db: "), opened.said():
            opened.conn.execute(statement, ("x",) if "?" in statement else ()).fetchall()
        assert opened.save() == {}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into t(b) values(1)",
        "insert into t(b) values(1) returning a",
        "with x as (select 1) update t set b = 2",
        "create table u(x)",
        "pragma user_version=3",
        "vacuum",
        "analyze",
    ],
)
def test_reading_cannot_change(statement: str):
    objects, root = made(3)
    with open_database(objects, root, "a.db") as opened:
        with pytest.raises(Misuse, match="a query cannot change it"), opened.said():
            opened.conn.execute(statement).fetchall()
        assert opened.save() == {}


def test_ordinary_pragmas_and_temporary_tables_work():
    objects, root = made(3)
    wanted = "pragma journal_mode=wal; pragma synchronous=full; pragma foreign_keys=on"
    assert change(objects, root, wanted) == root, "how it is stored is not for it to say"
    root = change(objects, root, "create temp table x as select * from t; update t set b = 1")
    assert look(objects, root, "select name from pragma_table_list('t')") == [("t",)]
    assert look(objects, root, "select distinct b from t") == [(1,)]


class Ticking:
    """A clock that moves a second whenever it is looked at."""

    def __init__(self) -> None:
        self.seconds = 0

    def now_ms(self) -> int:
        return 0

    def ticks_ns(self) -> int:
        self.seconds += 1
        return self.seconds * 1_000_000_000


def test_statements_end_w10(monkeypatch):
    """INVARIANT W10: one that does not end by itself is ended."""
    objects, root = made(3)
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
    with open_database(objects, root, "a.db", seconds=3, clock=Ticking()) as opened:
        with pytest.raises(TooLarge, match="took over 3 s"), opened.said():
            opened.conn.execute(endless).fetchall()
        assert opened.conn.execute("select 1").get == 1
    monkeypatch.setattr(limits, "SQL_MEMORY_BYTES", 0)
    with pytest.raises(TooLarge, match="of memory"):
        look(objects, root, endless)


# What programs leave behind -------------------------------------------------------------------
def left_in_wal(place: Path) -> None:
    """A database whose last changes are in its log, as a killed program leaves it."""
    live = place.with_name("live")
    live.mkdir()
    with closing(sqlite3.connect(live / "a.db", isolation_level=None)) as conn:
        conn.execute("pragma journal_mode=wal")
        conn.execute("create table t(a integer primary key, b)")
        conn.execute("pragma wal_checkpoint(truncate)")
        conn.execute("insert into t values(1, 'in the log')")
        conn.execute("begin")
        conn.execute("insert into t values(2, 'never committed')")
        place.mkdir()
        for file in live.iterdir():
            (place / file.name).write_bytes(file.read_bytes())


def test_a_log_left_behind_is_brought_in(tmp_path: Path):
    left_in_wal(tmp_path / "w")
    objects = memory()
    root = import_dir(objects, tmp_path / "w")
    assert "a.db-wal" in dict(walk(objects, root))
    assert look(objects, root, "select * from t") == [(1, "in the log")]
    assert look(objects, root, "select * from t") == [(1, "in the log")], "reading left it there"
    after = change(objects, root, "insert into t values(3, 'here')")
    assert list(dict(walk(objects, after))) == ["a.db"]
    export_dir(objects, after, tmp_path / "out")
    with closing(sqlite3.connect(tmp_path / "out/a.db")) as conn:
        assert conn.execute("select a from t").fetchall() == [(1,), (3,)]
        assert conn.execute("pragma journal_mode").fetchall() == [("wal",)], "its mode is kept"
    later = change(objects, after, "delete from t")
    assert read_file(objects, later, "a.db")[18:20] == b"\2\2"
    assert look(objects, after, "select a from t") == [(1,), (3,)]


def left_with_journal(place: Path) -> list[tuple]:
    """A database in the middle of a transaction, as a killed program leaves it."""
    live = place.with_name("live")
    live.mkdir()
    with closing(sqlite3.connect(live / "a.db", isolation_level=None)) as conn:
        conn.execute("create table t(a integer primary key, b)")
        conn.execute("begin")
        conn.executemany("insert into t values(?, ?)", [(n, "x" * 500) for n in range(300)])
        conn.execute("commit")
        before = conn.execute("select * from t").fetchall()
        conn.execute("pragma cache_size=5")
        conn.execute("begin")
        conn.execute("update t set b = 'half done'")
        place.mkdir()
        for file in live.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        conn.execute("rollback")
    return before


def test_a_hot_journal_is_rolled_back(tmp_path: Path):
    before = left_with_journal(tmp_path / "w")
    objects = memory()
    root = import_dir(objects, tmp_path / "w")
    assert at(objects, root, "a.db-journal").size > 0
    with closing(apsw.Connection(":memory:")) as raw:
        raw.deserialize("main", read_file(objects, root, "a.db"))
        assert raw.execute("select count(*) from t where b = 'half done'").get
    assert look(objects, root, "select * from t") == before
    after = change(objects, root, "delete from t where a = 0")
    assert list(dict(walk(objects, after))) == ["a.db"]
    assert look(objects, after, "select * from t") == before[1:]


def test_a_journal_of_several_databases_is_refused(tmp_path: Path):
    left_with_journal(tmp_path / "w")
    with (tmp_path / "w/a.db-journal").open("ab") as file:
        file.write(b"/super" + bytes(8) + bytes.fromhex("d9d505f920a163d7"))
    objects = memory()
    root = import_dir(objects, tmp_path / "w")
    with pytest.raises(Misuse, match="several databases at once"):
        look(objects, root, "select 1")


def test_empty_leftovers_do_not_matter():
    objects, root = made(3)
    root = write_file(objects, root, "a.db-journal", b"")
    assert len(look(objects, root, "select * from t")) == 3
    root = write_file(objects, root, "a.db-wal", b"not a log at all")
    assert len(look(objects, root, "select * from t")) == 3


# What is no database --------------------------------------------------------------------------
def test_what_cannot_be_opened():
    objects = memory()
    root = build(objects, {"text": b"text", "d/x": b"", "l": ("link", "d")})
    for path, error, said in [
        ("text", Misuse, "text: is not an SQLite database"),
        ("d", Misuse, "is a directory"),
        ("l", Misuse, "is a symlink"),
        ("none/a.db", NotFound, "no such database"),
        ("../a", Misuse, "cannot leave"),
        ("text/a.db", NotFound, "no such database"),
    ]:
        with pytest.raises(error, match=said):
            look(objects, root, "select 1", path)
    assert look(objects, root, "select 1", "d/x") == [(1,)], "an empty file is an empty database"
    assert change(objects, root, "select 1", "d/x") == root
    objects, root = made(300)
    content = read_file(objects, root, "a.db")
    root = write_file(objects, root, "a.db", content[:4096] + b"?" * (len(content) - 4096))
    with pytest.raises(Misuse, match=r"a\.db: .*malformed"):
        look(objects, root, "select * from t")


def test_absent_pages_are_corrupt(monkeypatch):
    monkeypatch.setattr(pages, "_cache", pages._Cache())
    objects, root = made(300)
    page = read_file(objects, root, "a.db")[-4096:]
    del objects.new[digest(page)]
    monkeypatch.setattr(pages, "_cache", pages._Cache())
    with pytest.raises(Corrupt, match=digest(page)):
        look(objects, root, "select * from t")
