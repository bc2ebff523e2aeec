"""Databases merged row by row, against a dict of rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.values.errors import Misuse
from holdfast.world import (
    EMPTY,
    Conflict,
    Merged,
    Stage,
    apply,
    merge,
    put_file,
    read_file,
    resolve,
    write_file,
)
from holdfast.world.pages import open_database
from holdfast.world.trees import changed_ranges, roots_of
from tests.world.support import QUICK, at, memory
from tests.world.test_pages import change, look

TABLE = "create table t(k integer primary key, a, b);"
START = TABLE + "insert into t values(1, 'a1', 'b1'), (2, 'a2', 'b2'), (3, 'a3', 'b3');"


def three(base: str, ours: str, theirs: str) -> tuple[Stage, list[str], Merged]:
    objects = memory()
    root = change(objects, write_file(objects, EMPTY, "x", b"other"), base)
    roots = [root, change(objects, root, ours), change(objects, root, theirs)]
    return objects, roots, merge(objects, roots[0], roots[1], roots[2])


def rows(objects: Stage, root: str, table: str = "t") -> list[tuple]:
    return sorted(look(objects, root, f"select * from {table}"), key=repr)


def whys(merged: Merged) -> list[str]:
    return [conflict.why for conflict in merged.conflicts]


def test_rows_and_columns_of_both_sides_are_kept():
    objects, roots, merged = three(
        START,
        "update t set a = 'ours' where k = 1; insert into t values(10, 'o', 'o');"
        "delete from t where k = 3",
        "update t set b = 'theirs' where k = 1; update t set a = 'x' where k = 2;"
        "insert into t values(11, 'h', 'h')",
    )
    assert merged.conflicts == ()
    assert merged.merged_paths == ("a.db",)
    expected = [(1, "ours", "theirs"), (10, "o", "o"), (11, "h", "h"), (2, "x", "b2")]
    assert rows(objects, merged.root) == expected
    mirror = merge(objects, roots[0], roots[2], roots[1])
    assert rows(objects, mirror.root) == expected
    assert look(objects, merged.root, "pragma integrity_check") == [("ok",)]
    again = merge(objects, roots[2], merged.root, roots[2])
    assert again == Merged(merged.root)


CONFLICTS = [
    ("update t set a = 1 where k = 1", "update t set a = 2 where k = 1", ("a",), "both sides"),
    ("delete from t where k = 1", "update t set a = 2 where k = 1", (), "the other deleted"),
    ("update t set a = 2 where k = 1", "delete from t where k = 1", (), "the other deleted"),
    ("insert into t values(7, 1, 1)", "insert into t values(7, 1, 2)", (), "both sides inserted"),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "columns", "why"), CONFLICTS)
def test_a_row_in_conflict_is_named_and_holds_ours(ours, theirs, columns, why):
    elsewhere = "insert into t values({0}, 'n', 'n')"
    objects, roots, merged = three(
        START, f"{ours};{elsewhere.format(20)}", f"{theirs};{elsewhere.format(21)}"
    )
    (conflict,) = merged.conflicts
    assert isinstance(conflict, Conflict)
    row = conflict.row
    assert row is not None
    assert (conflict.path, conflict.kind, row.table, row.columns) == ("a.db", "row", "t", columns)
    assert why in conflict.why
    sides = [
        next(iter(look(objects, root, f"select * from t where k = {row.key['k']}")), None)
        for root in roots
    ]
    named = [
        None if one is None else tuple(one.values()) for one in (row.base, row.ours, row.theirs)
    ]
    assert named == sides
    of_row = [one for one in rows(objects, merged.root) if one[0] == row.key["k"]]
    assert of_row == ([] if sides[1] is None else [sides[1]])
    assert {20, 21} <= {one[0] for one in rows(objects, merged.root)}

    place = ("a.db", "t", tuple(row.key.values()))
    choices: list[tuple[Any, Any]] = [
        ("ours", sides[1]),
        ("theirs", sides[2]),
        ({"k": row.key["k"], "a": "mine", "b": "own"}, (row.key["k"], "mine", "own")),
        (None, None),
    ]
    for choice, expected in choices:
        for settled in (
            resolve(objects, merged, {place: choice}),
            resolve(objects, merged, {"a.db": choice}) if choice in ("ours", "theirs") else None,
        ):
            if settled is not None:
                assert not settled.conflicts
                found = look(objects, settled.root, f"select * from t where k = {row.key['k']}")
                assert found == ([] if expected is None else [expected])
                assert {20, 21} <= {one[0] for one in rows(objects, settled.root)}
    whole = resolve(objects, merged, {"a.db": at(objects, roots[2], "a.db")})
    assert rows(objects, whole.root) == rows(objects, roots[2])
    with pytest.raises(Misuse, match="not in conflict"):
        resolve(objects, merged, {("a.db", "t", (99,)): "ours"})
    with pytest.raises(Misuse, match="not in conflict"):
        resolve(objects, merged, {("a.db", "u", place[2]): "ours"})


def test_the_same_change_on_both_sides_is_none():
    objects, roots, merged = three(
        START,
        "update t set a = 9 where k = 1; insert into t values(7, 1, 1); delete from t where k = 2",
        "insert into t values(7, 1, 1); delete from t where k = 2; update t set a = 9, b = 8"
        " where k = 1",
    )
    assert merged.conflicts == ()
    assert rows(objects, merged.root) == rows(objects, roots[2])


@pytest.mark.parametrize("swap", [False, True])
def test_a_schema_changed_on_one_side(swap: bool):
    schema = (
        "alter table t add column c default 5; update t set c = k; create table u(x primary key);"
    )
    schema += "insert into u values(1); create index i on t(a); update t set a = 's' where k = 3"
    data = "update t set a = 'd', b = 'd' where k = 2; insert into t values(9, 9, 9);"
    data += "update t set a = 'clash' where k = 3"
    objects, _, merged = three(START, *((data, schema) if swap else (schema, data)))
    (conflict,) = merged.conflicts
    assert conflict.row is not None
    assert (conflict.row.key, conflict.row.columns) == ({"k": 3}, ("a",))
    ours = "clash" if swap else "s"
    assert rows(objects, merged.root) == [
        (1, "a1", "b1", 1), (2, "d", "d", 2), (3, ours, "b3", 3), (9, 9, 9, 5),
    ]  # fmt: skip
    assert rows(objects, merged.root, "u") == [(1,)]
    settled = resolve(objects, merged, {"a.db": "theirs"})
    assert ("s" if swap else "clash") in [row[1] for row in rows(objects, settled.root)]


PARENTS = (
    "create table p(k integer primary key); insert into p values(1);"
    "create table c(k integer primary key, p references p)"
)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "why"),
    [
        (START, "create table u(x)", "create table v(x)", "both sides changed the schema"),
        (START, "pragma user_version=2", "pragma user_version=3", "user_version"),
        (START, "drop table t", "update t set a = 1", "rebuilt or dropped it"),
        ("create table p(a, b)", "insert into p values(1, 1)", "insert into p values(2, 2)",
         "no primary key"),
        ("create table p(a primary key, b)", "insert into p values(null, 1)",
         "insert into p values(null, 2)", "have no key"),
        ("create table g(k integer primary key, a, b as (a * 2))", "insert into g(a) values(1)",
         "insert into g(k, a) values(5, 1)", "generated columns"),
        ("create virtual table f using fts5(x)", "insert into f values('one')",
         "insert into f values('two')", "virtual table"),
        (PARENTS, "delete from p",
         "insert into c values(1, 1)", "would break: a row of c"),
        (START, "create table u(k integer primary key)",
         "create table u(k integer primary key); insert into u values(1)", "added or rebuilt"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_by_rows_says_why(base, ours, theirs, why):
    for one, other in ((ours, theirs), (theirs, ours)):
        objects, roots, merged = three(base, one, other)
        assert len(merged.conflicts) == 1
        assert why in merged.conflicts[0].why
        assert read_file(objects, merged.root, "x") == b"other"
        chosen = resolve(objects, merged, {"a.db": "theirs"})
        tables = look(objects, roots[2], "select name from sqlite_schema where type = 'table'")
        for (table,) in tables:
            if not table.startswith("sqlite_"):
                assert rows(objects, chosen.root, table) == rows(objects, roots[2], table)


@pytest.mark.parametrize(
    ("base", "change_of_one"),
    [
        ("create table p(a, b); insert into p values(1, 1), (1, 1)",
         "insert into p values(1, 1); delete from p where rowid = 1; update p set b = 4"),
        ("create table p(a primary key, b); insert into p values(null, 1)",
         "insert into p values(null, 1), (3, 4)"),
        ("create table p(k integer primary key, a, b as (a * 2) stored)",
         "insert into p(a) values(1)"),
        ("create virtual table p using fts5(x); insert into p values('one')",
         "insert into p values('two'); delete from p where x = 'one'"),
        ("create virtual table p using rtree(id, a, b)", "insert into p values(1, 2, 3)"),
    ],
)  # fmt: skip
def test_tables_without_rows_to_merge_follow_the_side_that_changed_them(base, change_of_one):
    other = "update t set a = 'other' where k = 1"
    for one, two in ((change_of_one, other), (other, change_of_one), (change_of_one,) * 2):
        objects, roots, merged = three(START + base, one, two)
        assert merged.conflicts == ()
        changed = roots[1 if one == change_of_one else 2]
        assert rows(objects, merged.root, "p") == rows(objects, changed, "p")
        if two != one:
            assert (1, "other", "b1") in rows(objects, merged.root)
        assert look(objects, merged.root, "pragma integrity_check") == [("ok",)]


def test_text_keys_without_rowid_and_numbers_given_once():
    base = (
        "create table w(p text, q, v, primary key(p, q)) without rowid;"
        "create table s(id integer primary key autoincrement, v); insert into s(v) values(1);"
        "insert into w values('a', 1, 1), ('b', 2, 2)"
    )
    objects, _, merged = three(
        base,
        "update w set v = 'o' where p = 'a'; insert into s values(5, 'o')",
        "update w set v = 'h' where p = 'b'; insert into s values(9, 'h');"
        " delete from s where v = 'h'",
    )
    assert merged.conflicts == ()
    assert rows(objects, merged.root, "w") == [("a", 1, "o"), ("b", 2, "h")]
    after = change(objects, merged.root, "insert into s(v) values('new')")
    assert max(rows(objects, after, "s"))[0] == 10


def test_triggers_do_not_act_twice():
    base = (
        START + "create table log(k integer primary key, said);"
        "create trigger r after update on t begin insert into log(said) values(new.k); end"
    )
    objects, _, merged = three(
        base, "insert into t values(8, 1, 1)", "update t set a = 1 where k = 1"
    )
    assert merged.conflicts == ()
    assert rows(objects, merged.root, "log") == [(1, 1)]


def test_what_a_program_left_open_is_not_merged():
    objects, roots, _ = three(START, "update t set a = 1", "update t set b = 1")
    left = apply(objects, roots[1], {"a.db-wal": put_file(objects, b"log")})
    merged = merge(objects, roots[0], left, roots[2])
    assert ["was left open" in why for why in whys(merged)] == [True]


def test_a_constraint_between_rows():
    objects, _, merged = three(
        "create table t(k integer primary key, name unique)",
        "insert into t values(1, 'same')",
        "insert into t values(2, 'same'), (3, 'fine')",
    )
    (why,) = whys(merged)
    assert "a constraint keeps" in why
    assert rows(objects, merged.root) == [(1, "same"), (3, "fine")]
    with pytest.raises(Misuse, match="UNIQUE"):
        resolve(objects, merged, {"a.db": "theirs"})
    fixed = resolve(objects, merged, {("a.db", "t", (2,)): {"k": 2, "name": "other"}})
    assert (2, "other") in rows(objects, fixed.root)


def test_text_that_cannot_be_shown_is_a_conflict_of_the_file():
    insert = "insert into t values(7, cast(x'{}' as text), 1)"
    _, _, merged = three(START, insert.format("ff"), insert.format("fe"))
    assert [(one.kind, "not UTF-8" in one.why) for one in merged.conflicts] == [("content", True)]


# Against a model ------------------------------------------------------------------------------
EDITS = st.lists(
    st.tuples(st.sampled_from(["put", "a", "b", "del"]), st.integers(1, 6), st.sampled_from("xyz")),
    max_size=6,
)
Model = dict[int, tuple[Any, Any]]


def edited(model: Model, edits: list[tuple[str, int, str]]) -> tuple[Model, str]:
    model, statements = dict(model), []
    for verb, key, value in edits:
        if verb == "put" and key not in model:
            model[key] = (value, value)
            statements.append(f"insert into t values({key}, '{value}', '{value}')")
        elif verb == "del":
            model.pop(key, None)
            statements.append(f"delete from t where k = {key}")
        elif verb in ("a", "b") and key in model:
            a, b = model[key]
            model[key] = (value, b) if verb == "a" else (a, value)
            statements.append(f"update t set {verb} = '{value}' where k = {key}")
    return model, ";".join(statements)


def expected(base: Model, ours: Model, theirs: Model) -> tuple[Model, set[int]]:
    """The rows merged by the plain rule, ours where they conflict, and the keys in conflict."""
    merged: Model = {}
    clashes: set[int] = set()
    for key in base.keys() | ours.keys() | theirs.keys():
        old, one, two = base.get(key), ours.get(key), theirs.get(key)
        result = one
        if one == two or two == old:
            pass
        elif one == old:
            result = two
        elif old is None or one is None or two is None:
            clashes = clashes | {key}
        elif any(o not in (w, t) and w != t for o, w, t in zip(old, one, two, strict=True)):
            clashes.add(key)
        else:
            result = tuple(t if w == o else w for o, w, t in zip(old, one, two, strict=True))
        if result is not None:
            merged[key] = result
    return merged, clashes


@QUICK
@given(EDITS, EDITS, EDITS)
def test_merge_of_rows_loses_nothing_w4(first, second, third):
    """INVARIANT W4, by row: what either side changed is in the result or in a conflict."""
    start, text = edited({1: ("x", "x"), 2: ("y", "y"), 3: ("z", "z")}, first)
    begin = TABLE + "insert into t values(1, 'x', 'x'), (2, 'y', 'y'), (3, 'z', 'z');" + text
    (ours, one), (theirs, two) = edited(start, second), edited(start, third)
    objects, roots, merged = three(begin, one or "select 1", two or "select 1")
    result, clashes = expected(start, ours, theirs)
    assert {row[0]: row[1:] for row in rows(objects, merged.root)} == result
    assert {c.row.key["k"] for c in merged.conflicts if c.row is not None} == clashes
    mirror = merge(objects, roots[0], roots[2], roots[1])
    assert len(mirror.conflicts) == len(merged.conflicts)
    if not clashes:
        assert rows(objects, mirror.root) == rows(objects, merged.root), "commutative"
    chosen = resolve(objects, merged, {"a.db": "theirs"}) if clashes else merged
    for key in clashes:
        assert {r[0]: r[1:] for r in rows(objects, chosen.root)}.get(key) == theirs.get(key)
    assert not rows_lost(objects, merged.root)


def rows_lost(objects: Stage, root: str) -> bool:
    return look(objects, root, "pragma integrity_check") != [("ok",)]


# Pages that cannot have changed are not looked at ---------------------------------------------
BIG = (
    "create table t(k integer primary key, a, b); create index i on t(a);"
    "create table w(p text primary key, v) without rowid; create table s(p text primary key, v);"
    "create table n(p text collate nocase primary key, v);"
    "with recursive r(i) as (select 1 union all select i + 3 from r where i < 4500)"
    " insert into t select i, printf('%060d', i), i from r;"
    "insert into w select a, k from t; insert into s select a, k from t;"
    "insert into n select 'x' || a, k from t"
)
MANY_TEXTS = [
    "update t set a = 'new' || k where k between {0} and {0} + 3",
    "update t set b = b || 'long' where k = 3 * ({0} / 3) + 1",
    "delete from t where k between {0} and {0} + 40",
    "insert or ignore into t values({0}, 'in', 'in')",
    "insert or ignore into t values(100000 + {0}, zeroblob({0} * 2), 1)",
    "update w set v = 'w' where p = printf('%060d', 3 * ({0} / 3) + 1)",
    "delete from w where v = {0}",
    "update s set p = 's' || p where p = printf('%060d', 3 * ({0} / 3) + 1)",
    "insert or ignore into s values('new{0}', 1)",
    "update n set p = upper(p) where v between {0} and {0} + 2",
    "update or ignore t set k = k + 1 where k = 3 * ({0} / 3) + 1",
]
MANY = st.lists(st.tuples(st.sampled_from(MANY_TEXTS), st.integers(1, 4600)), max_size=5)
_big: list[tuple[Stage, str]] = []


@settings(QUICK, max_examples=40)
@given(MANY, MANY)
@example([(MANY_TEXTS[3], 14), (MANY_TEXTS[-1], 13)], [])  # a key that is taken already
def test_pages_tell_which_rows_can_differ(first, second):
    if not _big:
        objects = memory()
        _big.append((objects, change(objects, EMPTY, BIG)))
    objects, base = _big[0]
    ours, theirs = (
        change(objects, base, ";".join(text.format(n) for text, n in edits) or "select 1")
        for edits in (first, second)
    )
    merged = merge(objects, base, ours, theirs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.world.rows.changed_ranges", lambda *_: None)
        plain = merge(objects, base, ours, theirs)
    assert sorted(whys(merged)) == sorted(whys(plain))
    for table in "twsn":
        assert rows(objects, merged.root, table) == rows(objects, plain.root, table)


def test_few_pages_of_a_large_database_are_read():
    objects, base = memory(), EMPTY
    base = change(objects, base, BIG)
    ours = change(objects, base, "update t set b = 'o' where k = 1000")
    theirs = change(objects, base, "update t set b = 'h' where k in (1003, 4000)")
    sides = [at(objects, root, "a.db") for root in (base, theirs)]
    with open_database(objects, base, "a.db") as opened:
        roots = [roots_of(opened.conn)] * 2
    ranges = changed_ranges(objects, sides[0], sides[1], roots)
    assert ranges is not None
    assert ranges.keys() == {"t"}
    assert len(ranges["t"]) == 2
    assert sum(high - low for low, high in ranges["t"]) < 500
    merged = merge(objects, base, ours, theirs)
    found = look(objects, merged.root, "select k, b from t where b in ('o', 'h')")
    assert found == [(1000, "o"), (1003, "h"), (4000, "h")]
