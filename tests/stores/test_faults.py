"""Full disks, read-only directories, damaged pages, files and logs cut off at any byte."""

# ruff: noqa: ASYNC110, ASYNC221, ASYNC240, PT012, PT017
# (mounts and files are what is tested; what an error says is looked at where it is caught)

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

from holdfast.journal.events import Draft, SignalReceived
from holdfast.journal.store import Batch
from holdfast.stores.archive import import_archive
from holdfast.stores.fsck import check
from holdfast.stores.memory import MemoryStore
from holdfast.stores.reading import wakeable
from holdfast.stores.salvage import salvage
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.writer import Writer
from holdfast.testing.drafts import begin, sound
from holdfast.testing.drafts import signal as signal_draft
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, HoldfastError, NotFound, Outside
from tests.stores.scenes import rich

# ---- order -----------------------------------------------------------------------------------


async def test_work_is_done_in_the_order_of_the_calls(tmp_path: Path):
    """INVARIANT S5: whether the loop or the thread commits, appends small or large."""
    store = SqliteStore(tmp_path)
    await begin(store, "r")
    waiting, expected = [], []
    large = {digest(b"%d" % n * 400_000): b"%d" % n * 400_000 for n in range(3)}
    for number in range(120):
        name = f"s{number}"
        batch = (Batch("r", (Draft(SignalReceived(name), 1),)),)
        expected.append(name)
        if number % 17 == 5:
            store.append_now(batch, {})
        elif number % 31 == 9:
            waiting.append(store.append(batch, large))
        else:
            waiting.append(store.append(batch, {}))
        if number % 23 == 11:
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    chain = await sound(store, "r")
    assert [event.body.split(b'"')[3].decode() for event in chain[1:]] == expected
    await store.close()


async def test_answers_come_in_the_order_of_the_calls(tmp_path: Path, monkeypatch):
    """INVARIANT S5: what the thread has committed and not yet answered is behind the loop."""
    store = SqliteStore(tmp_path)
    await begin(store, "r")
    real, committed, answer = Writer._deliver, threading.Event(), threading.Event()

    def held(self: Writer, items: list) -> None:
        committed.set()
        answer.wait()
        real(self, items)

    monkeypatch.setattr(Writer, "_deliver", held)
    large = random.Random(1).randbytes(limits.INLINE_COMMIT_BYTES + 1)
    answered: list[str] = []
    waiting: list[asyncio.Future] = []

    def ask(name: str, blobs: dict[str, bytes]) -> None:
        future = store.append((Batch("r", (Draft(SignalReceived(name), 1),)),), blobs)
        future.add_done_callback(lambda _: answered.append(name))
        waiting.append(future)

    ask("first", {digest(large): large})
    while not committed.is_set():
        await asyncio.sleep(0)
    ask("second", {})  # a small one, and nothing else to do: the loop could commit it itself
    while store._writer._gathered:
        await asyncio.sleep(0)
    answer.set()
    await asyncio.gather(*waiting)
    assert answered == ["first", "second"]
    await store.close()


async def test_appends_in_a_row_let_the_loop_turn(tmp_path: Path):
    """INVARIANT S9: whoever steps alone does not keep the loop from hearing what comes."""
    store, heard = SqliteStore(tmp_path), []
    await begin(store, "r")
    ours, theirs = os.pipe()
    asyncio.get_running_loop().add_reader(ours, lambda: heard.append(os.read(ours, 1)))
    for number in range(1, 6):
        os.write(theirs, b"!")
        for _ in range(limits.INLINE_COMMIT_BATCHES + 1):
            await store.append((Batch("r", (signal_draft(),)),), {})
        assert len(heard) == number
    asyncio.get_running_loop().remove_reader(ours)
    os.close(ours)
    os.close(theirs)
    await store.close()


async def test_threads_and_the_loop_append_at_once(tmp_path: Path):
    store = SqliteStore(tmp_path)
    await begin(store, "r")

    def work() -> None:
        for _ in range(40):
            store.append_now((Batch("r", (signal_draft(),)),), {})

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        await store.append((Batch("r", (signal_draft(),)),), {})
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0.001)
    assert len(await sound(store, "r")) == 161
    await store.close()


async def test_an_empty_store_is_small(tmp_path: Path):
    """Each table and index has one page; that they exist stands on the first."""
    await SqliteStore(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as conn:
        trees = conn.execute("SELECT count(*) FROM sqlite_schema WHERE rootpage > 0").fetchone()[0]
        assert conn.execute("PRAGMA page_count").fetchone()[0] == trees + 1
        assert conn.execute("PRAGMA page_size").fetchone()[0] == limits.PAGE_BYTES


async def test_looking_for_runs_that_can_go_on_reads_no_others(tmp_path: Path):
    """However many are parked or done: each question has an index of its own."""
    await SqliteStore(tmp_path).close()
    asked: list[str] = []
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as conn:
        conn.set_trace_callback(asked.append)
        assert wakeable(conn, 5, 10, lambda _, __: False) == ([], 0)
        conn.set_trace_callback(None)
        plans = [row[3] for sql in asked for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}")]
    reads = [plan for plan in plans if " run" in plan]
    assert sorted(plan.split("INDEX ")[1].split()[0] for plan in reads) == [
        "run_due", "run_due", "run_lively", "run_status",
    ]  # fmt: skip


# ---- disks -----------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(place: Path, *args: str):
    """A file system of its own, for as long as the block."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *args, str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


async def fill(store: SqliteStore, size: int = 20_000) -> int:
    """Append until the disk refuses; how many appends were acknowledged."""
    done = 0
    while True:
        content = os.urandom(size)
        try:
            await store.append((Batch("r", (signal_draft(),)),), {digest(content): content})
        except Outside as error:
            assert "disk is full" in str(error) or "I/O" in str(error)
            assert str(store.directory) in str(error)
            assert "\n" not in str(error)
            return done
        done += 1


async def test_a_full_disk(tmp_path: Path):
    place = tmp_path / "disk"
    with mounted(place, "-t", "tmpfs", "-o", "size=3m", "none"):
        store = SqliteStore(place / "store")
        await begin(store, "r")
        done = await fill(store)
        assert done > 20
        assert len(await sound(store, "r")) == done + 1
        with pytest.raises(Outside):
            store.put_now({digest(b"x" * 900_000): b"x" * 900_000, "00" * 32: os.urandom(900_000)})
        assert not check(place / "store").lost
        subprocess.run(["mount", "-o", "remount,size=30m", str(place)], check=True)
        await store.append((Batch("r", (signal_draft(),)),), {})  # it goes on where it was
        assert len(await sound(store, "r")) == done + 2
        await store.close()
        assert check(place / "store").problems == []


async def test_a_disk_that_is_full_from_the_start(tmp_path: Path):
    place = tmp_path / "disk"
    with mounted(place, "-t", "tmpfs", "-o", "size=16k", "none"):
        with pytest.raises(Outside, match="full"):
            SqliteStore(place / "store")
        assert [path.name for path in (place / "store").iterdir()] == []


async def test_a_limit_of_sqlite_stands_for_a_full_disk(tmp_path: Path):
    """The same without the right to mount."""
    store = SqliteStore(tmp_path)
    await begin(store, "r")
    store.maintain(lambda conn: conn.execute("PRAGMA max_page_count=60").fetchall())
    done = await fill(store, 10_000)  # none of it in a pack
    store.maintain(lambda conn: conn.execute("PRAGMA max_page_count=100000").fetchall())
    await store.append((Batch("r", (signal_draft(),)),), {})
    assert len(await sound(store, "r")) == done + 2
    await store.close()
    assert check(tmp_path).problems == []


async def test_a_read_only_directory(tmp_path: Path):
    inner = tmp_path / "inner"
    store = SqliteStore(inner / "store")
    await rich(store)
    await store.close()
    with mounted(tmp_path / "view", "--bind", str(inner)):
        view = tmp_path / "view"
        subprocess.run(["mount", "-o", "remount,ro,bind", str(view)], check=True)
        with pytest.raises(Outside) as caught:
            SqliteStore(view / "new")
        assert "cannot be created" in str(caught.value)
        with pytest.raises(Outside) as caught:
            opened = SqliteStore(view / "store")
            try:
                await begin(opened, "r")
            finally:
                await opened.close()
        assert "\n" not in str(caught.value)
        report = check(view / "store")  # checking needs no writing
        assert (report.problems, report.events) == ([], 40)
        saved = salvage(view / "store", tmp_path / "saved")
        assert (saved.runs, saved.events, saved.gone) == (5, 40, [])


# ---- damage ----------------------------------------------------------------------------------


@pytest.fixture
async def rich_file(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "rich")
    await rich(store, scale=200)
    await store.close()
    assert not (tmp_path / "rich" / "journal.db-wal").exists()  # a clean close leaves one file
    return tmp_path / "rich" / "journal.db"


async def saved_prefixes(path: Path, target: Path, heads: dict) -> None:
    """What is saved of a damaged file is a sound prefix of every run that is saved."""
    if target.exists():
        target.unlink()
    saved = salvage(path, target)
    store = MemoryStore()
    await import_archive(target, store)
    for run, ids in heads.items():
        try:
            chain = await sound(store, run)
        except NotFound:
            assert run in saved.gone or saved.runs < len(heads)
            continue
        assert [event.id for event in chain] == ids[: len(chain)]


async def ids_of(path: Path) -> dict[str, list[str]]:
    store = SqliteStore(path.parent, create=False)
    ids = {run: [event.id for event in await store.read(run)] for run in "abcdw"}
    await store.close()
    return ids


async def test_a_damaged_page_anywhere(rich_file: Path, tmp_path: Path):
    heads = await ids_of(rich_file)
    whole = rich_file.read_bytes()
    pages = len(whole) // limits.PAGE_BYTES
    unnoticed = 0
    for page in range(pages):
        broken = bytearray(whole)
        start = page * limits.PAGE_BYTES
        first = start + (100 if page == 0 else 8)
        broken[first : start + limits.PAGE_BYTES] = random.Random(page).randbytes(
            start + limits.PAGE_BYTES - first
        )
        rich_file.write_bytes(bytes(broken))
        try:
            report = check(rich_file)
        except HoldfastError as error:
            assert isinstance(error, Corrupt)
            assert str(rich_file) in str(error)
            assert "\n" not in str(error)
            continue
        empty = whole[start + 3 : start + 5] == b"\0\0"  # a page of a table without rows
        unnoticed += report.sound and not empty
        await saved_prefixes(rich_file, tmp_path / "saved", heads)
    assert unnoticed == 0


async def test_a_file_cut_off_at_any_place(rich_file: Path, tmp_path: Path):
    heads = await ids_of(rich_file)
    whole = rich_file.read_bytes()
    sizes = [*range(0, 5000, 333), *range(5000, len(whole), 9_973), len(whole) - 1]
    for size in sizes:
        rich_file.write_bytes(whole[:size])
        try:
            report = check(rich_file)
        except HoldfastError as error:
            assert isinstance(error, Corrupt)
            assert "\n" not in str(error)
        else:
            assert not report.sound, size
            await saved_prefixes(rich_file, tmp_path / "saved", heads)
        assert rich_file.read_bytes() == whole[:size]  # nothing is rewritten
        with pytest.raises(HoldfastError):
            opened = SqliteStore(rich_file.parent)
            try:
                for run in heads:
                    await sound_with_content(opened, run)
                assert check(rich_file).sound
            except AssertionError as error:
                raise Corrupt(str(error)) from None
            finally:
                await opened.close()
        rich_file.write_bytes(whole)
        for name in ("journal.db-wal", "journal.db-shm"):
            (rich_file.parent / name).unlink(missing_ok=True)


async def sound_with_content(store: SqliteStore, run: str) -> None:
    for event in await sound(store, run):
        assert event.run


# ---- the log ---------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_a_log_cut_off_at_any_place_leaves_a_prefix(tmp_path: Path, synchronous: str):
    """As after power loss: what comes back is a prefix of the commits, never a hole."""
    source = tmp_path / "source"
    store = SqliteStore(source, synchronous=synchronous)
    lengths = []
    log = source / "journal.db-wal"
    (first,) = await begin(store, "r")
    ids = [first.id]
    lengths.append(log.stat().st_size)
    for number in range(25):
        (event,) = await store.append((Batch("r", (signal_draft(),), number),), {})
        ids.append(event.id)
        lengths.append(log.stat().st_size)
    shutil.copytree(source, tmp_path / "live", ignore=shutil.ignore_patterns("bells"))
    whole = log.read_bytes()
    await store.close()
    for size in sorted({*range(0, len(whole), 1777), *lengths, *(n - 1 for n in lengths)}):
        place = tmp_path / "cut"
        shutil.copytree(tmp_path / "live", place)
        (place / "journal.db-shm").unlink(missing_ok=True)
        (place / "journal.db-wal").write_bytes(whole[:size])
        assert check(place).problems == []
        again = SqliteStore(place, create=False)
        try:
            found = [event.id for event in await sound(again, "r")]
        except NotFound:
            found = []
        assert found == ids[: len(found)]
        complete = sum(length <= size for length in lengths)
        assert len(found) == complete  # every commit whose log is whole, and no other
        if found:
            await again.append((Batch("r", (signal_draft(),)),), {})
        await again.close()
        assert check(place).problems == []
        shutil.rmtree(place)


async def test_another_program_holds_the_file(tmp_path: Path, monkeypatch):
    """A lock that does not go away is one clear error, and nothing is lost."""
    monkeypatch.setattr(limits, "BUSY_SECONDS", 0.3)
    store = SqliteStore(tmp_path)
    await begin(store, "r")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Outside, match="locked") as caught:
        await store.append((Batch("r", (signal_draft(),)),), {})
    assert caught.value.retryable
    other.execute("ROLLBACK")
    other.close()
    await store.append((Batch("r", (signal_draft(),)),), {})
    assert len(await sound(store, "r")) == 2
    await store.close()


@pytest.mark.parametrize("seed", range(12))
async def test_random_damage(rich_file: Path, tmp_path: Path, seed: int):
    """Flipped bytes, zeroed pages, misplaced pages: what is saved are sound prefixes."""
    heads = await ids_of(rich_file)
    whole, rng = rich_file.read_bytes(), random.Random(seed)
    pages = len(whole) // limits.PAGE_BYTES
    for _ in range(4):
        broken = bytearray(whole)
        start = rng.randrange(1, pages) * limits.PAGE_BYTES
        how = rng.randrange(3)
        if how == 0:
            for _ in range(rng.randrange(1, 30)):
                broken[start + rng.randrange(limits.PAGE_BYTES)] = rng.randrange(256)
        elif how == 1:
            broken[start : start + limits.PAGE_BYTES] = bytes(limits.PAGE_BYTES)
        else:
            other = rng.randrange(1, pages) * limits.PAGE_BYTES
            broken[start : start + limits.PAGE_BYTES] = whole[other : other + limits.PAGE_BYTES]
        rich_file.write_bytes(bytes(broken))
        check(rich_file)
        await saved_prefixes(rich_file, tmp_path / "saved", heads)
