"""Garbage goes; what any event needs stays, whatever other processes do meanwhile."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.journal.events import Draft, Plan, RunEnded, RunStarted, StepSettled
from holdfast.journal.store import Batch, RunQuery
from holdfast.stores.fsck import check
from holdfast.stores.gc import Collected, collect
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import begin, settled, signal, sound
from holdfast.values.canon import Blobs, digest, pack, unpack
from holdfast.values.errors import Conflict, Corrupt
from holdfast.world import EMPTY
from tests.stores.scenes import Scene, missing, rich

NOW = 4_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return self.now

    def ticks_ns(self) -> int:
        return 0


@pytest.fixture
async def store(tmp_path: Path):
    made = SqliteStore(tmp_path, clock=Clock())
    yield made
    await made.close()


def names(store: SqliteStore) -> set[str]:
    return {name.hex() for (name,) in store.reader().execute("SELECT hash FROM blob")}


def step(content: str, key: str = "1") -> tuple[Draft, Blobs]:
    blobs: Blobs = {}
    value = pack(content * 300, blobs)
    return Draft(StepSettled(key, Plan("test")), 1, value=value), blobs


def old(draft: Draft) -> Batch:
    """A run that ended long ago."""
    return Batch("old", (Draft(RunStarted("t"), 5), draft, Draft(RunEnded("done"), 6)), -1)


async def test_what_events_need_stays(store: SqliteStore):
    await rich(store)
    before = names(store)
    assert collect(store, grace_ms=0, clock=Clock()) == Collected()
    assert names(store) == before
    garbage = {digest(b"g" * size): b"g" * size for size in range(300, 400)}
    await store.put(garbage)
    assert collect(store, clock=Clock()).blobs == 0  # put a moment ago
    would = collect(store, grace_ms=0, dry=True, clock=Clock())
    assert would.blobs == 100
    assert names(store) > before
    assert collect(store, grace_ms=0, clock=Clock()) == would
    assert names(store) == before
    assert check(store.path).problems == []
    await store.put(garbage)  # what this process took for stored is stored again
    assert all(store.get(name) == content for name, content in garbage.items())


async def test_old_ended_runs_go_with_all_that_is_tied_to_them(store: SqliteStore):
    await rich(store)
    draft, blobs = step("old")
    await store.append((Batch("old", (Draft(RunStarted("t"), 5), draft), -1),), blobs)
    epoch = await store.claim("old", store.name)
    await store.append((Batch("old", (Draft(RunEnded("done"), 6),), epoch=epoch),), {})
    newest = await store.last_seq()
    assert collect(store, ended_before=6, clock=Clock()).runs == 0
    gone = collect(store, ended_before=NOW, clock=Clock())
    assert (gone.runs, gone.events, gone.blobs) == (1, 3, 1)
    assert gone.bytes > 0
    # "a" and "d" ended as well, but "b" and "c", which fork from "a", did not
    assert {row.run for row in await store.runs(RunQuery())} == {"a", "b", "c", "d", "w"}
    assert check(store.path).problems == []
    # places in the global order are never given twice: followers would miss what comes
    assert await store.last_seq() == newest
    (event,) = await begin(store, "new")
    assert event.seq == newest + 1
    for run in "bc":
        epoch = await store.claim(run, store.name)
        await store.append((Batch(run, (Draft(RunEnded("done"), 6),), epoch=epoch),), {})
    gone = collect(store, ended_before=NOW, grace_ms=0, compact=True, clock=Clock())
    assert gone.runs == 4
    assert {row.run for row in await store.runs(RunQuery())} == {"w", "new"}
    assert names(store) == set()
    assert check(store.path).problems == []
    assert (await store.runs(RunQuery()))[0].number == 7
    assert [event.seq for event in await store.tail(0)][-1] == newest + 1


async def test_another_process_may_take_deleted_content_for_stored(tmp_path: Path):
    """INVARIANT S4: a blob that was deleted behind a process's back is stored again."""
    first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
    draft, blobs = step("same")
    await second.append((old(draft),), blobs)
    await begin(second, "r", owner=second.name)
    assert collect(first, ended_before=100).blobs == 1
    assert missing(first, next(iter(blobs)))
    await second.append((Batch("r", (draft,), epoch=1),), blobs)
    event = (await sound(second, "r"))[1]
    assert unpack(event.value or b"", first.get) == "same" * 300
    assert collect(second, grace_ms=0).blobs == 0
    epoch = await second.claim("r", second.name)
    await second.append((Batch("r", (Draft(RunEnded("done"), 6),), epoch=epoch),), {})
    assert collect(second, ended_before=100).blobs == 1  # and behind its own
    await second.append((Batch("n", (Draft(RunStarted("t"), 5), draft), -1),), blobs)
    assert not missing(second, next(iter(blobs)))
    assert check(tmp_path).problems == []
    await first.close()
    await second.close()


async def test_content_that_is_named_during_a_collection_stays(tmp_path: Path, monkeypatch):
    """INVARIANT S6: between the proof and the deletion another process appends what needs it."""
    first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
    scene = Scene(second)
    await scene.add("r", RunStarted("t"))
    await scene.talk("r", 6)
    inner = pack({"deep": "d" * 400}, nested := {})
    await first.put(nested)
    root, world = await scene.world(EMPTY, "f", b"w" * 900)
    await first.put(world)
    talked = pack({"text": "r 5 " + "ü" * 300}, more := {})
    await first.put(more)
    await first.put({digest(b"garbage"): b"garbage"})
    maintain, calls = first.maintain, []

    def meanwhile(work):
        if not calls:
            calls.append(1)
            step = Draft(StepSettled("w", Plan("x")), 1, world=root, value=inner, args=talked)
            second.append_now((Batch("r", (step,), epoch=1),), {})
            fork = Draft(RunStarted("t", fork_of="r", fork_pos=2), 1)
            second.append_now((Batch("f", (fork,), -1),), {})
        return maintain(work)

    monkeypatch.setattr(first, "maintain", meanwhile)
    assert collect(first, grace_ms=-1000).blobs == 1
    assert check(tmp_path).problems == []
    await first.close()
    await second.close()


@pytest.mark.parametrize("how", ["fork", "child", "news"])
async def test_a_run_that_is_needed_again_is_not_deleted(tmp_path: Path, monkeypatch, how: str):
    first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
    draft, blobs = step("old")
    await first.append((old(draft),), blobs)
    maintain = first.maintain
    batches = {
        "fork": Batch("f", (Draft(RunStarted("t", fork_of="old", fork_pos=1), 7),), -1),
        "child": Batch("f", (Draft(RunStarted("t", parent="old"), 7),), -1),
        "news": Batch("old", (signal(),)),
    }

    def meanwhile(work):
        second.append_now((batches[how],), {})
        return maintain(work)

    monkeypatch.setattr(first, "maintain", meanwhile)
    with pytest.raises(Conflict, match="try again"):
        collect(first, ended_before=100)
    assert check(tmp_path).problems == []
    assert len(await sound(first, "old")) >= 3
    await first.close()
    await second.close()


async def test_nothing_is_deleted_from_a_journal_that_is_not_sound(tmp_path: Path):
    store = SqliteStore(tmp_path)
    await begin(store, "r", settled("1"))
    await store.put({digest(b"x"): b"x"})
    conn = sqlite3.connect(store.path)
    conn.execute("UPDATE event SET at=7 WHERE pos=1")
    conn.commit()
    conn.close()
    with pytest.raises(Corrupt, match="nothing is deleted"):
        collect(store, grace_ms=-1000)
    assert len(names(store)) == 1
    await store.close()
