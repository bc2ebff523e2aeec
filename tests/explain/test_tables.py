"""The journal as tables, and SQL that can only read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.explain.tables import TABLES, fold, reference
from holdfast.runtime.querying import TYPES
from holdfast.stores import asking
from holdfast.stores.asking import ask
from holdfast.stores.memory import MemoryStore
from holdfast.testing.clock import VirtualClock
from holdfast.values.errors import HoldfastError, Misuse, TooLarge
from holdfast.values.ports import SystemClock
from tests.explain.family import SAID, recorded
from tests.stores.scenes import rich

CLOCK = SystemClock()


async def tables(store: MemoryStore):
    return fold(await store.tail(0, 100_000), store.get)


@pytest.fixture
async def rows():
    store = MemoryStore()
    await recorded(store)
    return await tables(store)


def select(rows, statement: str, **more):
    return ask(TYPES, rows, statement, CLOCK, **more).rows


async def test_what_the_tables_say(rows):
    def one(statement: str):
        return select(rows, statement)

    assert one("SELECT run, agent, status, steps, tokens, money, fork_of FROM runs ORDER BY 1") == [
        ("boss", "boss", "done", 3, 19.0, 0.01, ""),
        ("boss.1", "kid", "failed", 1, 0.0, 0.0, ""),
        ("fork", "boss", "open", 0, 0.0, 0.0, "boss"),
    ]
    assert one(
        "SELECT run, step, kind, name, status, decision, error FROM steps ORDER BY 1, 2"
    ) == [
        ("boss", "1", "model", "openai.gpt-x", "value", "", ""),
        ("boss", "2", "spawn", "kid", "value", "", ""),
        ("boss", "3", "tool", "pay", "value", "escalate", ""),
        ("boss.1", "1", "tool", "look", "error", "", "ValueError"),
        ("fork", "3", "tool", "pay", "open", "", ""),
    ]
    assert one("SELECT provider, model, input, output, cache_read, reasoning FROM usage") == [
        ("openai", "gpt-x", 10, 4, 5, 2)
    ]
    assert one("SELECT decision, rule, reason, risk FROM verdicts") == [
        ("escalate", "money", SAID, 0.4)
    ]
    assert one("SELECT place, rule FROM rules ORDER BY 1") == [(0, "money"), (1, "late")]
    assert one("SELECT name, value FROM facts ORDER BY 1") == [("host", "x"), ("leaks", "true")]
    assert one("SELECT step, decision, by, note, answers FROM questions") == [
        ("3", "approve", "ann", "fine", 1)
    ]
    assert one("SELECT about, type, good, score, json_extract(value, '$.note') FROM findings") == [
        (1, "score", 1, 0.9, SAID)
    ]
    assert one("SELECT run, step, after FROM worlds") == [("boss", "3", "a" * 64)]


async def test_every_event_stands_once_and_every_row_fits():
    store = MemoryStore()
    await rich(store, scale=2)
    events = await store.tail(0, 100_000)
    rows = await tables(store)
    assert [row[0] for row in rows["events"]] == [event.seq for event in events]
    for name, found in rows.items():
        assert {len(row) for row in found} <= {len(TABLES[name])}
    settled = [event for event in events if event.kind == "step.settled"]
    assert sum(row[TYPES_AT["runs"]["steps"]] for row in rows["runs"]) == len(settled)
    assert select(rows, "SELECT count(*) FROM steps WHERE status <> 'open'") == [(len(settled),)]


TYPES_AT = {name: {one: at for at, one in enumerate(columns)} for name, columns in TABLES.items()}


NO = [
    "DELETE FROM runs", "INSERT INTO runs(run) VALUES ('x')", "UPDATE runs SET run = 'x'",
    "DROP TABLE runs", "CREATE TABLE x(y)", "CREATE TEMP TABLE x(y)", "ATTACH '{file}' AS x",
    "ATTACH ':memory:' AS x", "PRAGMA writable_schema = 1", "PRAGMA table_info(runs)",
    "SELECT * FROM pragma_table_info('runs')", "SELECT load_extension('x')", "VACUUM INTO '{file}'",
    "BEGIN", "COMMIT", "SAVEPOINT x", "SELECT 1; SELECT 2", "", "-- nothing",
    "SELECT * FROM nowhere",
    "EXPLAIN DELETE FROM runs", "REINDEX", "ANALYZE", "SELECT readfile('/etc/passwd')",
    "\0", "SELECT '",
    "WITH a AS (SELECT 1) DELETE FROM runs", "REPLACE INTO runs(run) VALUES ('x')", "DETACH main",
    "CREATE VIRTUAL TABLE x USING fts5(y)", "ALTER TABLE runs ADD COLUMN z",
]  # fmt: skip


@pytest.mark.parametrize("statement", NO)
async def test_x164_nothing_but_reading(rows, statement: str, tmp_path: Path):
    file = tmp_path / "out.db"
    with pytest.raises(Misuse):
        select(rows, statement.format(file=file))
    assert not file.exists()


@pytest.mark.hypothesis
@settings(deadline=None, max_examples=40)
@given(st.text(max_size=40), st.sampled_from([*NO, "SELECT ", "SELECT * FROM runs "]))
def test_x164_any_text_is_answered_or_refused(text: str, start: str):
    rows = {name: [] for name in TABLES}
    try:
        select(rows, start.replace("{file}", "/nonexistent/x") + text, seconds=1.0)
    except HoldfastError:
        pass


FOREVER = "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT {} FROM a"


async def test_x165_a_query_ends(rows):
    with pytest.raises(TooLarge, match="longer than"):
        select(rows, FOREVER.format("count(*)"), seconds=0.05)
    with pytest.raises(TooLarge, match="too long"):
        select(rows, "SELECT length(hex(zeroblob(400000000)))")
    found = ask(TYPES, rows, FOREVER.format("n"), CLOCK, 3)
    assert (found.rows, found.more) == ([(1,), (2,), (3,)], True)


async def test_x165_an_answer_has_a_size(rows):
    many = (
        "WITH RECURSIVE c(x) AS (SELECT {0} UNION ALL SELECT {0} FROM c LIMIT {1}) SELECT x FROM c"
    )
    with pytest.raises(TooLarge, match="too long"):
        select(rows, many.format("zeroblob(60000000)", 2))
    with pytest.raises(TooLarge, match="answer is too long"):
        select(rows, many.format("zeroblob(1000000)", 80))
    assert len(select(rows, many.format("zeroblob(1000000)", 9))) == 9
    assert len(select(rows, many.format("zeroblob(1000000)", 80), most=9)) == 9


class Leaping(VirtualClock):
    """A clock on which each look costs a second."""

    def ticks_ns(self) -> int:
        self._looks = getattr(self, "_looks", 0) + 1
        return self._looks * 1_000_000_000


async def test_x165_the_clock_is_looked_at_between_rows(rows):
    with pytest.raises(TooLarge, match="longer than"):
        ask(TYPES, rows, "SELECT name FROM facts UNION ALL SELECT 1 UNION ALL SELECT 2", Leaping(),
            seconds=2.0)  # fmt: skip


async def test_x165_memory_that_runs_out_is_said(rows, monkeypatch: pytest.MonkeyPatch):
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(asking, "_fetched", none_left)
    with pytest.raises(TooLarge, match="memory"):
        select(rows, "SELECT 1")


async def test_what_the_journal_holds_can_be_read_however_long(rows):
    long = "\u20ac" * 2_000_000
    rows["facts"].append(("boss", 1, "long", long))
    assert select(rows, "SELECT value FROM facts WHERE name = 'long'") == [(long,)]


async def test_json_can_be_read(rows):
    assert select(rows, "SELECT value FROM json_each('[1, 2]')") == [(1,), (2,)]


def test_the_document_is_that_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "sql.md").read_text("utf-8")
    assert reference() in page
