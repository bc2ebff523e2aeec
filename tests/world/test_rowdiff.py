"""Databases in a diff: which rows differ, bounded, by table."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from holdfast.values import limits
from holdfast.world import EMPTY, diff, unified, write_file
from tests.world.support import memory


@pytest.fixture
def between(tmp_path: Path):
    """The diff between two scripts' databases."""
    objects = memory()

    def made(number: int, script: str) -> str:
        conn = apsw.Connection(str(tmp_path / str(number)))
        conn.execute(script)
        conn.close()
        return write_file(objects, EMPTY, "shop.db", (tmp_path / str(number)).read_bytes())

    return lambda old, new: unified(objects, diff(objects, made(1, old), made(2, new)))


START = """
create table stock(name text primary key, count int);
create table log(text); create table gone(a);
insert into stock values('tea', 1), ('salt', 2), ('odd
name', x'00ff');
insert into log values('a');
"""


def test_rows_by_table_and_key(between):
    text = between(
        START,
        START
        + "update stock set count = 5 where name = 'tea'; delete from stock where name = 'salt';"
        "insert into stock values('new', null); insert into log values('b'); drop table gone;"
        "create table more(a); delete from stock where count = x'00ff'",
    )
    assert text.splitlines()[1:] == [
        "Binary files a/shop.db and b/shop.db differ",
        "@@ table gone removed @@",
        "@@ table log @@",
        "+text='b'",
        "@@ table more added @@",
        "@@ table stock @@",
        "+name='new', count=None",
        "-name='odd\\nname', count=b'\\x00\\xff'",
        "-name='salt', count=2",
        "-name='tea', count=1",
        "+name='tea', count=5",
    ]


def test_it_is_bounded(between, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "DIFF_ROWS", 3)
    fill = "with recursive n(i) as (select 1 union select i + 1 from n where i < 1000) "
    text = between(START, START + fill + "insert into stock select i, hex(zeroblob(200)) from n")
    lines = text.splitlines()[3:]
    assert len(lines) == 4
    assert lines[-1] == "(more rows differ)"
    assert max(map(len, lines)) < 100


def test_what_only_looks_like_a_database_is_binary():
    objects = memory()
    roots = [
        write_file(objects, EMPTY, "x.db", b"SQLite format 3\0" + bytes([n]) * 1000) for n in (1, 2)
    ]
    assert unified(objects, diff(objects, *roots)).endswith(
        "Binary files a/x.db and b/x.db differ\n"
    )


TYPED = "create table t(id integer primary key, who text collate nocase, n);"
PLAIN = "create table t(a);"
TRIGGER = "create trigger x after insert on t begin delete from t; end;"
COUNTED = "create table t(a integer primary key autoincrement);"


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (TYPED + "insert into t values(1, 'Ann', 1)", TYPED + "insert into t values(1, 'ANN', 1)",
         ["@@ table t @@", "-id=1, who='Ann', n=1", "+id=1, who='ANN', n=1"]),
        (TYPED + "insert into t values(1, 'a', 1)", TYPED + "insert into t values(1, 'a', 1.0)",
         ["@@ table t @@", "-id=1, who='a', n=1", "+id=1, who='a', n=1.0"]),
        (PLAIN + "insert into t values(1)", PLAIN + "insert into t values(1), (1), (1)",
         ["@@ table t @@", "+a=1 (2 times)"]),
        (PLAIN + "insert into t values('x'), ('x')", PLAIN + "insert into t values('x'), (x'78')",
         ["@@ table t @@", "-a='x'", "+a=b'x'"]),
        (PLAIN, PLAIN + TRIGGER + "create view v as select 1; create index i on t(a)",
         ["@@ index i added @@", "@@ trigger x added @@", "@@ view v added @@"]),
        (PLAIN, PLAIN + 'create table "x\n+b=1"(a)', ["@@ table 'x\\n+b=1' added @@"]),
        (PLAIN + "create view v as select 1", PLAIN + "create view v as select 2",
         ["@@ view v rebuilt @@"]),
        (COUNTED, COUNTED + "insert into t values(5); delete from t",
         ["@@ table sqlite_sequence @@", "+name='t', seq=5"]),
        (PLAIN, PLAIN + "pragma user_version = 7", ["@@ user_version @@", "-0", "+7"]),
        (PLAIN, PLAIN + "insert into t values(zeroblob(9000)); delete from t",
         ["(no row and no definition differs, only how the file holds them)"]),
    ],
)  # fmt: skip
def test_no_change_is_hidden_w67(between, old: str, new: str, wanted: list[str]):
    """INVARIANT W67."""
    assert between(old, new).splitlines()[2:] == wanted
