"""Large content in packs: durable, verified, shared by processes, given back (INVARIANT S8)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.journal.events import Draft, Plan, RunEnded, RunStarted, StepSettled
from holdfast.journal.store import Batch
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.blobs import read_blob
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.memory import MemoryStore
from holdfast.stores.salvage import salvage
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.still import reading_file
from holdfast.testing.drafts import begin, signal, sound
from holdfast.values import limits
from holdfast.values.canon import Blobs, digest, pack, unpack
from holdfast.values.errors import Corrupt, HoldfastError, Misuse, Outside

CHILD = Path(__file__).with_name("packing.py")


def noise(number: int, size: int = 20_000) -> bytes:
    """Content that zstd cannot shorten, the same for the same number."""
    return b"".join(bytes.fromhex(digest(b"%d %d" % (number, n))) for n in range(size // 32))


def named(*contents: bytes) -> Blobs:
    return {digest(content): content for content in contents}


def step(number: int, key: str) -> tuple[Draft, Blobs]:
    """A step whose value is large."""
    blobs: Blobs = {}
    value = pack(noise(number), blobs)
    return Draft(StepSettled(key, Plan("test")), 1, value=value), blobs


async def fill(store: SqliteStore, run: str, numbers: range) -> None:
    await begin(store, run, owner=store.name)
    for number in numbers:
        draft, blobs = step(number, str(number))
        await store.append((Batch(run, (draft,), epoch=1),), blobs)


async def values(store: SqliteStore | MemoryStore, run: str) -> list[bytes]:
    return [unpack(event.value, store.get) for event in await sound(store, run) if event.value]


def places(store: SqliteStore) -> list[tuple[int, int, int]]:
    sql = "SELECT pack,start,size FROM blob WHERE pack IS NOT NULL ORDER BY id"
    return store.reader().execute(sql).fetchall()


def packs(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("pack.*"))


# ---- where content goes ----------------------------------------------------------------------


async def test_large_content_is_packed_as_stored(tmp_path: Path):
    store = SqliteStore(tmp_path)
    small, zeros, large = noise(1, limits.PACK_MIN_BYTES - 32), bytes(900_000), noise(2)
    squeezed = noise(3, 40_000).hex().encode()  # large, and shorter as stored
    contents = named(small, zeros, large, squeezed)
    store.put_now(contents)
    store.put_now(contents)
    (one, two) = places(store)
    assert one[2] == len(large)
    assert limits.PACK_MIN_BYTES < two[2] < len(squeezed)
    assert (tmp_path / "pack.1").stat().st_size == two[1] + two[2]
    assert (tmp_path / "pack.1").stat().st_mode & 0o777 == 0o600
    other = SqliteStore(tmp_path)
    other.put_now(contents)  # there already, though this one does not know
    assert len(places(store)) == 2
    found: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(store.get(name) == one for name, one in contents.items())
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 16
    assert all(other.get(name) == content for name, content in contents.items())
    assert (check(tmp_path).problems, check(tmp_path).unused) == ([], 0)
    await other.close()
    await store.close()


async def test_large_content_is_not_written_on_the_event_loop(tmp_path: Path, monkeypatch):
    store = SqliteStore(tmp_path)
    await begin(store, "r", owner=store.name)
    threads: list[str] = []
    real = os.pwritev

    def noted(*words):
        threads.append(threading.current_thread().name)
        return real(*words)

    monkeypatch.setattr(os, "pwritev", noted)
    for number in range(5):
        draft, blobs = step(number, str(number))
        await store.append((Batch("r", (draft,), epoch=1),), blobs)
        store.put_now(named(noise(100 + number)))
    assert set(threads) == {"holdfast-writer"}
    assert len(threads) >= 10
    await store.close()


@pytest.mark.parametrize("column", ["pack", "start", "size"])
async def test_a_damaged_place_is_said_to_be_damaged(tmp_path: Path, column: str):
    store, content = SqliteStore(tmp_path), noise(1)
    store.put_now(named(content))
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as conn, conn:
        conn.execute(f"UPDATE blob SET {column}=x'ff' WHERE pack IS NOT NULL")
        assert conn.execute("SELECT changes()").fetchone() == (1,)
    store = SqliteStore(tmp_path)
    with pytest.raises(Corrupt, match="is damaged"):
        store.get(digest(content))
    await store.close()


async def test_two_stores_share_a_pack(tmp_path: Path):
    stores = [SqliteStore(tmp_path), SqliteStore(tmp_path)]
    for number in range(20):
        stores[number % 2].put_now(named(noise(number), noise(1000 + number // 2)))
    for number in range(20):
        assert stores[1 - number % 2].get(digest(noise(number))) == noise(number)
    assert (check(tmp_path).problems, check(tmp_path).blobs) == ([], 30)
    for store in stores:
        await store.close()


async def test_archives_carry_it(tmp_path: Path):
    store = SqliteStore(tmp_path / "a")
    await fill(store, "r", range(5))
    await export_runs(store, None, tmp_path / "file")
    salvage(tmp_path / "a", tmp_path / "saved")
    for number, file in enumerate(("file", "saved")):
        other = SqliteStore(tmp_path / f"b{number}")
        await import_archive(tmp_path / file, other)
        assert await values(other, "r") == [noise(n) for n in range(5)]
        assert len(places(other)) == 5
        await other.close()
        assert check(tmp_path / f"b{number}").problems == []
    await store.close()


# ---- durability ------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_bytes_are_synced_before_their_row_is_committed_s8(
    tmp_path: Path, monkeypatch, synchronous: str
):
    """INVARIANT S8: power is lost after any commit; of the pack only what was synced is left."""
    synced = [0]

    def noted(real):
        def sync(opened: int) -> None:
            real(opened)
            there, path = os.fstat(opened), tmp_path / "s" / "pack.1"
            if path.exists() and path.stat().st_ino == there.st_ino:
                synced[0] = there.st_size

        return sync

    monkeypatch.setattr(os, "fsync", noted(os.fsync))
    monkeypatch.setattr(os, "fdatasync", noted(os.fdatasync))
    store = SqliteStore(tmp_path / "s", synchronous=synchronous)
    await begin(store, "r", owner=store.name)
    for number in range(6):
        draft, blobs = step(number, str(number))
        await store.append((Batch("r", (draft,), epoch=1),), {**blobs, **named(noise(50 + number))})
        shutil.copytree(tmp_path / "s", tmp_path / "c", ignore=shutil.ignore_patterns("bells"))
        os.truncate(tmp_path / "c" / "pack.1", synced[0])
        assert check(tmp_path / "c").problems == []
        shutil.rmtree(tmp_path / "c")
    await store.close()


async def test_a_pack_that_refuses_undoes_its_append_alone(tmp_path: Path, monkeypatch):
    """The disk is full for large content: its event is not there, smaller appends go on."""
    store = SqliteStore(tmp_path)
    await fill(store, "r", range(2))
    size = (tmp_path / "pack.1").stat().st_size
    real, calls = os.pwritev, []

    def full(opened: int, pieces, at: int) -> int:
        calls.append(at)
        if len(calls) % 2:
            return real(opened, [bytes(pieces[0])[:5_000]], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    draft, blobs = step(7, "7")
    large = store.append((Batch("r", (draft,), epoch=1),), blobs)
    small = store.append((Batch("r", (signal(),)),), {})
    with pytest.raises(Outside, match=r"pack\.1: the disk is full") as caught:
        await large
    assert caught.value.retryable
    await small
    assert (tmp_path / "pack.1").stat().st_size == size  # the room is given back
    with pytest.raises(Outside, match="full"):
        store.put_now(named(noise(8)))
    monkeypatch.setattr(os, "pwritev", real)
    monkeypatch.setattr(os, "fdatasync", lambda opened: (_ for _ in ()).throw(OSError(5, "I/O")))
    with pytest.raises(Outside, match="cannot be written"):
        store.put_now(named(noise(9)))
    monkeypatch.undo()
    assert [event.kind for event in await sound(store, "r")][-1] == "signal.received"
    await store.append((Batch("r", (draft,), epoch=1),), blobs)
    assert await values(store, "r") == [noise(n) for n in (0, 1, 7)]
    assert (check(tmp_path).problems, check(tmp_path).unused) == ([], 0)
    await store.close()


def test_a_crash_at_any_write_s8(tmp_path: Path):
    """INVARIANT S8: a process dies at, or in the middle of, every write, sync, cut or deletion of a
    pack, while it appends and while it compacts; what it had acknowledged is there."""
    done = subprocess.run(
        [sys.executable, str(CHILD), "crashes", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 30, done.stdout


def test_kill_nine_while_packing(tmp_path: Path):
    """Two processes append and compact; one is killed again and again."""
    steady = subprocess.Popen(
        [sys.executable, str(CHILD), "append", str(tmp_path), "steady", "60"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said: list[str] = []
    for life in range(4):
        command = [sys.executable, str(CHILD), "append", str(tmp_path), f"r{life}", "9999"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said += [process.stdout.readline() for _ in range(3 + life * 4)]
        process.kill()
        said += process.communicate()[0].splitlines(keepends=True)
    said += steady.communicate()[0].splitlines(keepends=True)
    assert steady.returncode == 0
    store = SqliteStore(tmp_path, create=False)
    for line in said:
        words = line.split()
        if line.endswith("\n") and words:
            assert digest(store.get(words[0])) == words[0]
    assert len(said) > 60
    store._writer.close()
    assert check(tmp_path).problems == []


# ---- giving space back -----------------------------------------------------------------------


def old(number: int) -> tuple[Batch, Blobs]:
    """A run that ended long ago."""
    draft, blobs = step(number, "1")
    drafts = (Draft(RunStarted("t"), 5), draft, Draft(RunEnded("done"), 6))
    return Batch(f"old{number}", drafts, -1), blobs


async def half_dead(store: SqliteStore) -> None:
    """Runs "r" (stays) and many old ones, their contents side by side."""
    await begin(store, "r", owner=store.name)
    for number in range(12):
        batch, blobs = old(100 + number)
        await store.append((batch,), blobs)
        draft, blobs = step(number, str(number))
        await store.append((Batch("r", (draft,), epoch=1),), blobs)


async def test_compacting_gives_space_back(tmp_path: Path):
    store, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await half_dead(store)
    assert await values(other, "r") == [noise(n) for n in range(12)]
    size = (tmp_path / "pack.1").stat().st_size
    found = collect(store, ended_before=100, grace_ms=0)
    assert (found.blobs, found.bytes) == (12, 12 * 20_000)
    assert check(tmp_path).unused == 12 * 20_000
    assert packs(tmp_path) == ["pack.1"]
    collect(store, grace_ms=0, compact=True)
    assert packs(tmp_path) == ["pack.2"]
    assert (tmp_path / "pack.2").stat().st_size < size * 0.51
    for one in (store, other):
        assert await values(one, "r") == [noise(n) for n in range(12)]
        one.put_now(named(noise(500)))
        assert set(one.reader().packs) == {2}  # what is deleted is not held open
    assert (check(tmp_path).problems, check(tmp_path).unused) == ([], 0)
    collect(store, compact=True)
    assert packs(tmp_path) == ["pack.2"]  # nothing to gain
    await store.close()
    await other.close()


async def test_who_reads_during_compacting_reads_on_s8(tmp_path: Path, monkeypatch):
    """INVARIANT S8: rows read before, whole states held before, and threads that never stop."""
    store = SqliteStore(tmp_path)
    await half_dead(store)
    kept = named(*[noise(n) for n in range(12)])
    collect(store, ended_before=100, grace_ms=0)
    wrong: list[object] = []
    over = threading.Event()

    def read() -> None:
        try:
            while not over.is_set():
                wrong.extend(name for name, content in kept.items() if store.get(name) != content)
        except HoldfastError as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    monkeypatch.setattr(limits, "STAGE_FLUSH_BYTES", 50_000)  # several pages
    monkeypatch.setattr(limits, "BUSY_SECONDS", 0.1)  # the log cannot be cut while it is read
    with reading_file(store.path) as held:
        collect(store, compact=True)
        assert packs(tmp_path) == ["pack.2"]
        assert all(read_blob(held, store.path, name) == kept[name] for name in kept)
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    # a row read just before the file went: asked again
    conn = store.reader()
    store.get(next(iter(kept)))
    moved = (tmp_path / "pack.2").rename(tmp_path / "away")
    for opened in list(conn.packs.values()):
        os.close(opened)
    conn.packs.clear()
    with pytest.raises(Corrupt, match=r"pack\.2: is missing"):
        store.get(next(iter(kept)))
    moved.rename(tmp_path / "pack.2")
    assert store.get(next(iter(kept)))
    await store.close()


async def test_early_content_is_spared_by_ranges(tmp_path: Path):
    store = SqliteStore(tmp_path)
    await fill(store, "r", range(2))
    store.put_now(named(*[b"%d" % n * 300 for n in range(50)]))
    (count,) = store.reader().execute("SELECT count(*) FROM early").fetchone()
    assert count == 1
    collect(store, grace_ms=-1000)  # the marks go as well
    assert store.reader().execute("SELECT count(*) FROM early").fetchone() == (0,)
    store.put_now(named(noise(0), b"new" * 200, noise(77)))  # the first one is there already
    spans = store.reader().execute("SELECT first,last FROM early").fetchall()
    known = store.reader().execute("SELECT id FROM blob WHERE hash=?",
                                   (bytes.fromhex(digest(noise(0))),)).fetchone()  # fmt: skip
    assert (known[0], known[0]) in spans
    assert sum(last - first + 1 for first, last in spans) == 3
    assert collect(store).blobs == 0
    assert collect(store, grace_ms=-1000).blobs == 2
    await store.close()


# ---- damage ----------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30_000)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10_000] ^= 1
    path.write_bytes(bytes(content))


def newer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"holdfast pack 1 ", b"holdfast pack 9 ", 1))


DAMAGE = {
    "cut off": (cut, Corrupt, "is cut off after"),
    "missing": (Path.unlink, Corrupt, "is missing"),
    "empty": (lambda path: path.write_bytes(b""), Corrupt, "cut off after 0 bytes"),
    "foreign": (lambda path: path.write_bytes(b"hello " * 50_000), Corrupt, "is not a Holdfast pa"),
    "newer": (newer, Misuse, "pack version 9"),
    "another's": (
        lambda path: shutil.copy(path.parent.parent / "other" / "pack.1", path),
        Corrupt, "of another store",
    ),
    "flipped": (flip, Corrupt, "is damaged"),
    "a directory": (lambda path: (path.unlink(), path.mkdir()), HoldfastError, "cannot be opened"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
async def test_damage_is_one_clear_error(tmp_path: Path, name: str):
    for place in ("store", "other"):
        made = SqliteStore(tmp_path / place)
        await fill(made, "r", range(4))
        await made.append((Batch("r", (signal(),)),), {})
        await made.close()
    spoil, error, text = DAMAGE[name]
    path = tmp_path / "store" / "pack.1"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    store = SqliteStore(tmp_path / "store")
    with pytest.raises(error) as caught:
        store.get(digest(noise(3)))
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    if name != "flipped":
        with pytest.raises(HoldfastError, match=r"pack\.1"):
            store.put_now(named(noise(99)))
    await store.append((Batch("r", (signal(),)),), {})  # small content needs no pack
    await store.close()
    assert (path.read_bytes() if path.is_file() else None) == before or name == "flipped"
    report = check(tmp_path / "store")
    assert digest(noise(3)) in report.lost
    assert "pack.1" in str(report.problems)
    saved = salvage(tmp_path / "store", tmp_path / "saved")
    assert (saved.runs, saved.gone, saved.cut) == (1, [], {})
    again = MemoryStore()
    await import_archive(tmp_path / "saved", again)
    assert len(await sound(again, "r")) == 7
    if name in ("cut off", "flipped"):
        assert again.get(digest(noise(0))) == noise(0)


@pytest.mark.parametrize(
    ("sql", "kind", "text"),
    [
        ("UPDATE blob SET start=start+1 WHERE id=3", "blob", "does not have the content"),
        ("UPDATE blob SET start=40 WHERE id=3", "pack", "overlaps"),
        ("UPDATE pack SET size=size-7", "pack", "beyond the pack's recorded end"),
        ("UPDATE pack SET size=size+7", "pack", "is cut off after"),
        ("DELETE FROM pack", "pack", "beyond the pack's recorded end"),
        ("UPDATE blob SET pack=8 WHERE id=3", "pack", "beyond the pack's recorded end"),
        ("UPDATE blob SET start=-5 WHERE id=3", "blob", "does not have the content"),
        ("UPDATE blob SET size=1<<62 WHERE id=3", "blob", "does not have the content"),
        ("UPDATE blob SET data=x'00' WHERE id=3", "blob", "is not legible"),
    ],
)
async def test_damaged_places_are_found(tmp_path: Path, sql: str, kind: str, text: str):
    store = SqliteStore(tmp_path)
    await fill(store, "r", range(4))
    await store.close()
    conn = sqlite3.connect(tmp_path / "journal.db")
    conn.execute(sql)
    conn.commit()
    conn.close()
    found = [(problem.kind, problem.text) for problem in check(tmp_path).problems]
    assert any(one[0] == kind and text in one[1] for one in found), found


@pytest.mark.parametrize("change", ["pack=x'41'", "start=x'41'", "size='many'"])
async def test_a_damaged_place_is_one_clear_error(tmp_path: Path, change: str):
    store = SqliteStore(tmp_path)
    await fill(store, "r", range(2))
    await store.close()
    conn = sqlite3.connect(tmp_path / "journal.db")
    conn.execute(f"UPDATE blob SET {change} WHERE pack IS NOT NULL")
    conn.commit()
    conn.close()
    store = SqliteStore(tmp_path)
    with pytest.raises(Corrupt, match="is damaged; see `holdfast fsck`"):
        store.get(digest(noise(1)))
    await store.close()


def test_a_store_from_before_packs_is_refused(tmp_path: Path):
    SqliteStore(tmp_path)._writer.close()
    conn = sqlite3.connect(tmp_path / "journal.db")
    conn.execute("DROP TABLE pack")
    conn.commit()
    conn.close()
    for attempt in (lambda: SqliteStore(tmp_path), lambda: check(tmp_path)):
        with pytest.raises(Misuse, match="before packs"):
            attempt()


def test_a_file_that_is_no_pack_is_not_written_s1(tmp_path: Path):
    """INVARIANT S1."""
    store = SqliteStore(tmp_path)
    (tmp_path / "pack.1").write_text("mine")
    with pytest.raises(Misuse, match="move it"):
        store.put_now(named(noise(1)))
    assert (tmp_path / "pack.1").read_text() == "mine"
    asyncio.run(store.close())
