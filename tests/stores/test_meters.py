"""Meters in the file: what fsck says of them, what gc, archives and other processes leave."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.journal.events import RunEnded
from holdfast.journal.meters import fold_meters
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.memory import MemoryStore
from holdfast.stores.metering import rebuild
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import begin, draft
from holdfast.testing.meters import closed, own, planned
from holdfast.values.errors import Exceeded

NAMES = st.sampled_from(["a", "b", "c"])
ROUNDS = st.lists(
    st.lists(st.dictionaries(NAMES, st.integers(-4, 9), max_size=3), max_size=6), max_size=5
)


@settings(max_examples=60, deadline=None)
@given(rounds=ROUNDS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_any_appends_at_once_keep_the_caps(kind, rounds, tmp_path_factory):
    """INVARIANT J41, any interleaving: after any appends at once, meters are what the committed
    events say, and none that is always capped is beyond its cap."""

    async def play():
        store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path_factory.mktemp("m"))
        caps = dict.fromkeys("abc", 20)
        try:
            await begin(store, "r", owner=getattr(store, "name", "me"))
            for each in rounds:
                calls = [store.append((own("r", planned("1", **one), caps=caps),), {})
                         for one in each]  # fmt: skip
                for answer in await asyncio.gather(*calls, return_exceptions=True):
                    assert not isinstance(answer, BaseException) or isinstance(answer, Exceeded)
                assert all(value <= 20 for value in store.meters(["*"]).values())
            assert fold_meters(await store.tail(0, 1000)) == store.meters(["*"])
        finally:
            await store.close()

    asyncio.run(play())


def test_two_stores_on_one_file_share_their_meters(tmp_path: Path):
    """INVARIANT J41, between connections: what another one charged counts at once."""

    async def play():
        one, two = SqliteStore(tmp_path), SqliteStore(tmp_path)
        try:
            await begin(one, "r", owner=one.name)
            await begin(two, "s", owner=two.name)
            passed = 0
            for number in range(30):
                store, run = ((one, "r"), (two, "s"))[number % 2]
                try:
                    step = planned(str(number), a=3)
                    await store.append((own(run, step, caps={"a": 50}),), {})
                    passed += 1
                except Exceeded:
                    pass
            assert passed == 16
            assert one.meters(["a"]) == two.meters(["a"]) == {"a": 48}
        finally:
            await one.close()
            await two.close()

    asyncio.run(play())


def test_fsck_reports_a_meter_that_differs_and_rebuilding_mends_it(tmp_path: Path):
    """INVARIANT J44: a meter that is not the sum of its charges is reported, by name and amount."""

    async def play():
        store = SqliteStore(tmp_path)
        await begin(store, "r", planned("1", a=5, b=2), closed("1", b=-2), owner=store.name)
        await store.close()
        assert check(tmp_path).sound
        with sqlite3.connect(tmp_path / "journal.db") as conn:
            conn.execute("UPDATE meter SET value=4 WHERE name='a'")
            conn.execute("INSERT INTO meter(name,value) VALUES('ghost',1)")
        report = check(tmp_path)
        assert [(one.kind, one.place) for one in report.problems] == [
            ("meter", "a"), ("meter", "ghost"),
        ]  # fmt: skip
        assert "is 4, its events say 5" in str(report.problems[0])
        store = SqliteStore(tmp_path)
        assert store.maintain(rebuild) == 2
        assert store.maintain(rebuild) == 0
        assert store.meters(["*"]) == {"a": 5}
        await store.close()
        assert check(tmp_path).sound

    asyncio.run(play())


def test_deleting_old_runs_frees_nothing(tmp_path: Path):
    """INVARIANT J43: what deleted runs charged stays charged, and fsck and rebuilding agree."""

    async def play():
        store = SqliteStore(tmp_path)
        old = (planned("1", a=5, b=9), closed("1", b=-9), draft(RunEnded("done")))
        await begin(store, "old", *old, owner=store.name)
        await begin(store, "new", planned("1", a=2), owner=store.name)
        assert collect(store, ended_before=10).runs == 1
        assert store.meters(["*"]) == {"a": 7}
        assert store.maintain(rebuild) == 0
        with pytest.raises(Exceeded):
            await store.append((own("new", planned("2", a=1), caps={"a": 7}),), {})
        await store.append((own("new", planned("2", a=-7)),), {})
        assert store.meters(["*"]) == {}
        await store.append((own("new", planned("3", a=1)),), {})
        await store.close()
        assert check(tmp_path).sound
        again = SqliteStore(tmp_path, create=False)
        assert again.meters(["*"]) == {"a": 1}
        await again.close()

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_archive_brings_its_charges_once(kind, tmp_path: Path):
    """INVARIANT J40, for imports: taken in again, or grown, only what is new is added."""

    async def play():
        source = SqliteStore(tmp_path / "source")
        target = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "target")
        await begin(target, "own", planned("1", a=1), owner=getattr(target, "name", "me"))
        await begin(source, "r", planned("1", a=5), owner=source.name)
        await export_runs(source, None, tmp_path / "first")
        await source.append((own("r", closed("1", a=-2, b=1)),), {})
        await export_runs(source, None, tmp_path / "second")
        for name, told in (("first", {"a": 6}), ("first", {"a": 6}), ("second", {"a": 4, "b": 1})):
            await import_archive(tmp_path / name, target)
            assert target.meters(["*"]) == told
        assert fold_meters(await target.tail(0)) == target.meters(["*"])
        await source.close()
        await target.close()

    asyncio.run(play())


def test_a_store_that_charges_nothing_has_no_table(tmp_path: Path):
    async def play():
        store = SqliteStore(tmp_path)
        await begin(store, "r", owner=store.name)
        assert store.meters(["*", "a"]) == {}
        assert store.maintain(rebuild) == 0
        await store.close()
        with sqlite3.connect(tmp_path / "journal.db") as conn:
            tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master")]
        assert "meter" not in tables
        assert check(tmp_path).sound

    asyncio.run(play())
