"""Archives carry runs unchanged, prove themselves, and are refused when they were changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from holdfast.journal.events import Plan, StepPlanned, StepSettled
from holdfast.journal.record import OWN, keep_record
from holdfast.journal.store import Batch, RunQuery
from holdfast.stores import archive
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.fsck import check
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import begin, draft, settled, signal, sound, started
from holdfast.values.errors import Conflict, Corrupt, LeaseLost, Misuse, NotFound
from tests.stores.scenes import rich


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path: Path):
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "target")
    yield made
    await made.close()


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    made = SqliteStore(tmp_path / "source")
    await rich(made)
    await made.close()
    return tmp_path / "source"


async def heads(store) -> dict:
    return {row.run: await store.head(row.run) for row in await store.runs(RunQuery())}


async def test_there_and_back(source: Path, store, tmp_path: Path):
    moved = await export_runs(source, None, tmp_path / "file")
    assert (moved.runs, moved.events) == (5, 40)
    added = await import_archive(tmp_path / "file", store)
    assert added == moved
    first = SqliteStore(source, create=False)
    assert await heads(store) == await heads(first)
    for run in await heads(store):
        here, there = await sound(store, run), await sound(first, run)
        assert [event.id for event in here] == [event.id for event in there]
        row = await store.run(run)
        assert (row.status, row.waits) == (
            (await first.run(run)).status,
            (await first.run(run)).waits,
        )
        assert row.owner == ""
    await first.close()
    again = await import_archive(tmp_path / "file", store)  # nothing new
    assert (again.runs, again.events) == (0, 0)
    moved = await export_runs(store, None, tmp_path / "second")
    assert (moved.runs, moved.events) == (5, 40)
    if isinstance(store, SqliteStore):
        assert check(store.path).problems == []


async def test_a_fork_brings_what_it_forks_from_and_a_run_its_children(
    source: Path, store, tmp_path: Path
):
    await export_runs(source, ["c"], tmp_path / "file")
    await import_archive(tmp_path / "file", store)
    assert set(await heads(store)) == {"a", "b", "c", "d"}
    await export_runs(source, ["w"], tmp_path / "other")
    await import_archive(tmp_path / "other", store)
    assert set(await heads(store)) == {"a", "b", "c", "d", "w"}


async def test_an_import_goes_on_where_the_last_one_ended(store, tmp_path: Path):
    first = SqliteStore(tmp_path / "source")
    await begin(first, "r", settled("1"), owner=first.name)
    await export_runs(first, None, tmp_path / "one")
    await first.append((Batch("r", (settled("2"),), epoch=1),), {})
    await export_runs(first, ["r"], tmp_path / "two")
    await first.close()
    assert (await import_archive(tmp_path / "one", store)).events == 2
    assert (await import_archive(tmp_path / "two", store)).events == 1
    assert (await import_archive(tmp_path / "one", store)).events == 0
    assert len(await sound(store, "r")) == 3


async def test_conflicts_write_nothing(store, tmp_path: Path):
    first = MemoryStore()
    await begin(first, "new", settled("1"))
    await begin(first, "r", settled("1"))
    await export_runs(first, None, tmp_path / "file")
    await begin(store, "r", settled("2"))
    with pytest.raises(Conflict, match="run r is in this store with another history"):
        await import_archive(tmp_path / "file", store)
    assert set(await heads(store)) == {"r"}


async def test_a_run_that_is_running_here_is_not_moved_on(store, tmp_path: Path):
    me = getattr(store, "name", "tester")
    await begin(store, "r", owner=me)
    other = MemoryStore()
    await export_runs(store, None, tmp_path / "one")
    await import_archive(tmp_path / "one", other)
    await other.append((Batch("r", (signal(),)),), {})
    await export_runs(other, None, tmp_path / "two")
    with pytest.raises(LeaseLost):
        await import_archive(tmp_path / "two", store)
    assert len(await sound(store, "r")) == 1


def rewrite(path: Path, change) -> Path:
    with path.open("rb") as file:
        plain = zstandard.ZstdDecompressor().stream_reader(file).read()
    lines = [json.loads(line) for line in plain.splitlines()]
    changed = change(lines)
    text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in changed)
    other = path.with_name("changed")
    other.write_bytes(zstandard.compress(text))
    return other


def _set(number: int, **values):
    def change(lines):
        events = [line for line in lines if line["is"] == "event"]
        events[number].update(values)
        return lines

    return change


def _without(what: str, number: int):
    def change(lines):
        chosen = [line for line in lines if line["is"] == what][number]
        rest = [line for line in lines if line is not chosen]
        rest[-1]["events" if what == "event" else "blobs"] -= 1
        return rest

    return change


TAMPERED = {
    "time": _set(3, at=5),
    "value": _set(1, value=0.5),
    "id": _set(2, id="0" * 64),
    "no hash": _set(2, id="xyz"),
    "world": _set(2, world='"'),
    "parent": _set(2, parent="0" * 64),
    "run": _set(2, run="b"),
    "kind": _set(2, kind="step.asked"),
    "position": _set(2, pos=9),
    "event": _without("event", 3),
    "first event": _without("event", 0),
    "no end": lambda lines: lines[:-1],
    "more": lambda lines: [*lines, lines[-2]],
    "no head": lambda lines: lines[1:],
    "a run less": lambda lines: [{**lines[0], "runs": lines[0]["runs"][1:]}, *lines[1:]],
    "a run more": lambda lines: [
        {**lines[0], "runs": [*lines[0]["runs"], ["z", "", 0]]}, *lines[1:],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
async def test_what_was_changed_is_refused(source: Path, tmp_path: Path, name: str):
    await export_runs(source, None, tmp_path / "file")
    store = MemoryStore()
    unchanged = rewrite(tmp_path / "file", lambda lines: lines)
    assert (await import_archive(unchanged, MemoryStore())).events == 40
    with pytest.raises(Corrupt) as caught:
        await import_archive(rewrite(tmp_path / "file", TAMPERED[name]), store)
    assert "changed" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.events == []


async def test_content_that_is_missing_is_noticed(source: Path, tmp_path: Path):
    moved = await export_runs(source, None, tmp_path / "file")
    for number in range(0, moved.blobs, 3):
        store = MemoryStore()
        with pytest.raises(Corrupt):
            await import_archive(rewrite(tmp_path / "file", _without("blob", number)), store)
        assert store.events == []


async def test_cut_off_at_any_byte(source: Path, tmp_path: Path):
    await export_runs(source, None, tmp_path / "file")
    whole = (tmp_path / "file").read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "part").write_bytes(whole[:size])
        with pytest.raises(Corrupt):
            await import_archive(tmp_path / "part", MemoryStore())


async def test_not_an_archive(tmp_path: Path):
    with pytest.raises(NotFound):
        await import_archive(tmp_path / "none", MemoryStore())
    for content in (b"hello", zstandard.compress(b"hello\n"), zstandard.compress(b'{"a":1}\n')):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(Corrupt, match="is not a Holdfast archive"):
            await import_archive(tmp_path / "file", MemoryStore())
    store = MemoryStore()
    await begin(store, "r")
    await export_runs(store, None, tmp_path / "good")
    newer = rewrite(tmp_path / "good", lambda lines: [{**lines[0], "version": 9}, *lines[1:]])
    with pytest.raises(Misuse, match="update Holdfast"):
        await import_archive(newer, MemoryStore())
    with pytest.raises(Misuse, match="exists already"):
        await export_runs(store, None, tmp_path / "good")
    with pytest.raises(NotFound):
        await export_runs(store, ["none"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


async def test_a_journal_that_is_not_sound_is_not_exported(tmp_path: Path):
    store = MemoryStore()
    await begin(store, "r", settled("1"), settled("1"))
    with pytest.raises(Corrupt, match=r"r#2: step 1 has an outcome already"):
        await export_runs(store, None, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert not (tmp_path / "file.part").exists()


@pytest.mark.parametrize("name", sorted(OWN))
async def test_j64_runs_of_holdfasts_own_come_from_nowhere_else(
    store, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANT J64"""
    other = MemoryStore()
    await keep_record(other, name, 1, "theirs")
    await other.append((Batch(name, (signal("$kill"),)),), {})
    with monkeypatch.context() as forging:
        forging.setattr(archive, "OWN", frozenset())
        await export_runs(other, [name], tmp_path / "file")
    with pytest.raises(Misuse, match=f"holds run {name}"):
        await import_archive(tmp_path / "file", store)
    with pytest.raises(Misuse, match="its own store"):
        store.adopt(await other.read(name))
    await keep_record(store, name, 1, "ours")
    with pytest.raises(Misuse, match="its own store"):
        store.adopt(await other.read(name))
    assert len(await store.read(name)) == 2


@pytest.mark.parametrize("name", sorted(OWN))
async def test_j64_no_user_takes_the_name_of_a_run_of_holdfasts_own(store, name: str):
    """INVARIANT J64"""
    me = getattr(store, "name", "tester")
    await begin(store, "a", owner=me)
    for first, lease in (
        (started("agent"), me), (started("agent"), ""), (started(name), me),
        (started("agent", fork_of="a", fork_pos=0), ""), (started("agent", parent="a"), me),
    ):  # fmt: skip
        with pytest.raises(Misuse, match="Holdfast's own: choose another"):
            await store.append((Batch(name, (first,), -1, lease=lease),), {})
    await keep_record(store, name, 1, "ours")


CHARGED = {
    "below": ([-5], False),
    "below later": ([4, -5], False),
    "below, then made up": ([-5, 9], False),
    "below on the way": ([5, -6, 9], False),
    "given back": ([5, -5], True),
    "used less": ([5, -2], True),
}


@pytest.mark.parametrize("name", CHARGED)
async def test_j65_no_import_lowers_a_meter(store, tmp_path: Path, name: str):
    """INVARIANT J65"""
    amounts, fine = CHARGED[name]
    other = MemoryStore()
    await begin(other, "z", owner="tester")
    for number, amount in enumerate(amounts):
        body = StepPlanned(str(number), Plan("t"), charges={"budget/x": amount, "y": 1})
        await other.append((Batch("z", (draft(body, args=b"{}"),), epoch=1),), {})
    await export_runs(other, None, tmp_path / "file")
    mine = draft(StepSettled("1", Plan("t"), charges={"budget/x": 3}), args=b"{}", value=b"1")
    await begin(store, "own", mine)
    if fine:
        await import_archive(tmp_path / "file", store)
        assert store.meters(["budget/x"])["budget/x"] == 3 + sum(amounts)
    else:
        with pytest.raises(Misuse, match=r"more from meter budget/x than its run charged"):
            await import_archive(tmp_path / "file", store)
        assert store.meters(["*"]) == {"budget/x": 3}
        assert set(await heads(store)) == {"own"}
