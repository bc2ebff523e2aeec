"""`holdfast.sql`: databases in a run's world, as steps."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import Misuse, NotFound, Runtime, TooLarge, ToolError
from holdfast.tools import sql, world
from holdfast.tools.sql import Changed, Rows
from holdfast.values import limits
from holdfast.world import Stage

app = holdfast.sql("data/app.db")
SEEN: list = []
"""What an agent saw, with its types (what a run returns is plain data)."""


async def in_a_run(program, *args, runtime: Runtime | None = None, name: str = "r"):
    if runtime is not None:
        return await (await runtime.launch(program, args, name=name)).result()
    async with Runtime(store="memory") as opened:
        return await in_a_run(program, *args, runtime=opened)


@holdfast.agent
async def everything() -> None:
    made = await app.script("create table t(a integer primary key, b); insert into t values(7, 1)")
    many = await app.executemany("insert into t(b) values(?)", [[1.5], ["é"], [b"\0\xff"], [None]])
    named = await app.execute("update t set b = :b where a = :a", {"a": 7, "b": 2**62})
    back = await app.execute("insert into t(b) values('x') returning a, b")
    rows = await app.query("select * from t order by a")
    none = await app.query("select a as first, b from t where 0")
    part = await app.query("select a from t order by a", limit=2)
    SEEN[:] = [made, many, named, back, rows, none, part]


async def test_what_the_methods_return():
    await in_a_run(everything)
    made, many, named, back, rows, none, part = SEEN
    assert made == Changed(1, 7)
    assert many == Changed(4, 11)
    assert named.count == 1
    assert back == Changed(1, 12, Rows(("a", "b"), ((12, "x"),)))
    fields = (2**62, 1.5, "é", b"\0\xff", None, "x")
    assert rows == Rows(("a", "b"), tuple(enumerate(fields, 7)))
    assert none == Rows(("first", "b"))
    assert part == Rows(("a",), ((7,), (8,)), more=True)


@holdfast.agent
async def errors() -> list[str]:
    said: list[str] = []

    async def note(call) -> None:
        try:
            await call
        except (Misuse, ToolError) as error:
            said.append(f"{type(error).__name__}: {error}")
        else:
            said.append("no error")

    await note(app.query("select 1"))
    await app.script("create table t(a unique)")
    await note(app.query("select * from missing"))
    await note(app.query("insert into t values(1)"))
    await note(app.query("insert into t values(1) returning a"))
    await note(app.query("select 1; select 2"))
    await note(app.execute("attach 'x' as y"))
    await note(app.execute("insert into t values(1); insert into t values(2)"))
    await note(app.execute("begin"))
    await note(app.script("insert into t values(1); insert into t values(1)"))
    await note(app.executemany("insert into t values(?)", [[1], [1]]))
    await note(app.execute("insert into t values(?)", [1, 2]))
    await note(holdfast.sql("../x").query("select 1"))
    await note(app.query("select cast(x'ff' as text)"))
    said.append(str((await app.query("select count(*) from t")).rows))
    return said


async def test_errors_say_where_and_change_nothing():
    said = await in_a_run(errors)
    assert said[-1] == "((0,),)"
    for line, part in zip(
        said,
        [
            "no such database",
            "no such table: missing",
            "a query cannot change it",
            "a query cannot change it",
            "one statement at a time",
            "ATTACH",
            "one statement at a time",
            "transaction is still open",
            "UNIQUE constraint failed",
            "UNIQUE constraint failed",
            "bindings",
            "cannot leave its world",
            "not UTF-8",
        ],
        strict=False,
    ):
        assert part in line, line
        assert "app.db: " in line or "'../x'" in line, line


@holdfast.agent
async def cut() -> None:
    await app.script(
        "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n"
        " where i < 30) insert into t select i, printf('%0400d', i) from n"
    )
    rows = await app.query("select * from t")
    changed = await app.execute("update t set a = -a returning *")
    left = await app.query("select count(*) from t where a > 0")
    try:
        await app.query("select printf('%09000d', 1)")
    except (Misuse, ToolError) as error:
        SEEN[:] = [rows, changed, left.rows, str(error)]


async def test_long_results_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr(limits, "SQL_RESULT_BYTES", 4_200)
    await in_a_run(cut)
    rows, changed, left, said = SEEN
    assert (len(rows.rows), rows.more) == (10, True)
    assert (changed.count, len(changed.returned.rows), changed.returned.more) == (30, 10, True)
    assert left == ((0,),), "what was not returned was still changed"
    assert "select fewer columns" in said


@holdfast.tool(effect="world")
async def mine(fail: bool = False, leave_open: bool = False) -> int:
    with sql.connect("data/app.db") as conn:
        conn.execute("create table if not exists t(a)")
        if leave_open:
            conn.execute("begin")
        conn.execute("insert into t values(1)")
        if fail:
            raise ValueError("no")
        return conn.total_changes()


@holdfast.agent
async def own_tools() -> None:
    out: list[object] = [await mine()]
    for kwargs in ({"fail": True}, {"leave_open": True}):
        try:
            await mine(**kwargs)
        except (Misuse, ToolError) as error:
            out.append(str(error))
    out.append((await app.query("select count(*) from t")).rows)
    SEEN[:] = out


async def test_tools_of_ones_own():
    await in_a_run(own_tools)
    changed, failed, left_open, rows = SEEN
    assert (changed, rows) == (1, ((1,),))
    assert "no" in failed
    assert "a transaction is still open" in left_open
    with pytest.raises(Misuse, match="inside a run only"), sql.connect("data/app.db"):
        pass


@holdfast.agent
async def with_commands() -> None:
    await app.script("create table t(a); insert into t values(1)")
    program = (
        "import sqlite3; c = sqlite3.connect('data/app.db'); c.execute('pragma journal_mode=wal');"
        "c.execute('insert into t values(2)'); c.commit(); import os; os._exit(0)"
    )
    done = await world.run([sys.executable, "-c", program])
    seen = await app.query("select a from t")
    await app.execute("insert into t values(3)")
    program = "import sqlite3; print(sqlite3.connect('data/app.db').execute('select sum(a) from t')"
    after = await world.run([sys.executable, "-c", program + ".fetchall())"])
    SEEN[:] = [done.exit, seen.rows, after.stdout, [*await world.list("data")]]


async def test_commands_see_an_ordinary_file(tmp_path: Path):
    settings = holdfast.Settings(store=str(tmp_path / "store"))
    async with Runtime(settings) as runtime:
        await in_a_run(with_commands, runtime=runtime)
    exit_code, seen, printed, files = SEEN
    assert (exit_code, seen, printed) == (0, ((1,), (2,)), "[(6,)]\n")
    assert "app.db" in files


@holdfast.agent
async def grows() -> str:
    await app.script("create table t(a)")
    for number in range(3):
        await app.execute("insert into t values(?)", [number])
    return holdfast.run_id()


async def test_any_version_can_be_read():
    async with Runtime(store="memory") as runtime:
        await in_a_run(grows, runtime=runtime, name="r")
        head = await runtime.store.head("r")
        events = await runtime.store.read("r", 0, head.pos)
        roots = list(dict.fromkeys(event.world for event in events if event.world))
        stage = Stage(runtime.store.get)
        seen = []
        for root in roots[-4:]:
            with sql.open_at(stage, root, "data/app.db") as conn:
                seen.append(conn.execute("select count(*) from t").get)
                with pytest.raises(holdfast.Misuse), sql.open_at(stage, root, "data/app.db") as no:
                    no.execute("delete from t")
        assert seen == [0, 1, 2, 3]
        with pytest.raises(NotFound), sql.open_at(stage, roots[-1], "none.db"):
            pass
        with pytest.raises(TooLarge), sql.open_at(stage, roots[-1], "data/app.db", seconds=0) as no:
            no.execute(
                "with recursive n(i) as (select 1 union all select i + 1 from n)"
                " select max(i) from n"
            )
    assert sqlite3.sqlite_version, "the store's own library is another one"


def test_its_name():
    assert repr(holdfast.sql("a.db")) == "holdfast.sql('a.db')"
    assert holdfast.sql is sql.sql
