"""Several processes on one store: bells, leases, and `kill -9` at any moment."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.journal.store import Batch
from holdfast.stores.bells import Bell
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import begin, settled, sound, started
from holdfast.testing.drafts import signal as signal_draft
from holdfast.values.canon import unpack
from holdfast.values.errors import LeaseLost

CHILD = Path(__file__).with_name("child.py")


def child(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> str:
    """Kill -9; what it had still said."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    return said


# ---- two stores, one directory ---------------------------------------------------------------


async def test_a_bell_rings_in_the_other_store(tmp_path: Path):
    """INVARIANT S3: whoever listens is rung, also by stores that were open before."""
    first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await begin(first, "r")
    rung = asyncio.Event()
    second.listen(rung.set)
    await first.append((Batch("r", (signal_draft(),)),), {})
    await asyncio.wait_for(rung.wait(), 60)
    rung.clear()
    first.append_now((Batch("r", (signal_draft(),)),), {})
    await asyncio.wait_for(rung.wait(), 60)
    own = asyncio.Event()
    third = SqliteStore(tmp_path)
    third.listen(own.set)
    await third.append((Batch("r", (signal_draft(),)),), {})
    await asyncio.wait_for(rung.wait(), 60)
    assert not own.is_set()  # nobody is woken by what they did themselves
    for store in (third, second, first):
        await store.close()
    assert list((tmp_path / "bells").iterdir()) == []


async def test_interleaved_appends_of_two_stores(tmp_path: Path):
    stores = [SqliteStore(tmp_path), SqliteStore(tmp_path)]
    for number, store in enumerate(stores):
        await begin(store, f"r{number}", owner=store.name)
    for turn in range(40):
        store, other = stores[turn % 2], stores[1 - turn % 2]
        own = Batch(f"r{turn % 2}", (settled(str(turn)),), epoch=1)
        news = Batch(f"r{1 - turn % 2}", (signal_draft(),))
        await store.append((own, news), {})
        with pytest.raises(LeaseLost):
            await other.append((Batch(own.run, own.drafts),), {})
        with pytest.raises(LeaseLost):
            await other.claim(f"r{turn % 2}", other.name)
    for store in stores:
        assert [event.seq for event in await store.tail(0)] == list(range(1, 83))
        for run in ("r0", "r1"):
            assert len(await sound(store, run)) == 41
    for store in stores:
        await store.close()


async def test_a_lease_that_is_not_renewed_is_over(tmp_path: Path):
    """INVARIANT S2: a stopped process keeps its bell, but its lease runs out."""

    class Clock:
        now = 1_000_000

        def now_ms(self) -> int:
            return self.now

        def ticks_ns(self) -> int:
            return 0

    clock = Clock()
    first = SqliteStore(tmp_path, clock=clock)
    second = SqliteStore(tmp_path, clock=clock)
    await begin(first, "r", owner=first.name)
    with pytest.raises(LeaseLost):
        await second.claim("r", second.name)
    clock.now += 9_000
    await begin(first, "x")  # any transaction renews
    clock.now += 9_000
    with pytest.raises(LeaseLost):
        await second.claim("r", second.name)
    clock.now += 2_000
    assert await second.claim("r", second.name) == 2
    with pytest.raises(LeaseLost):
        await first.append((Batch("r", (settled("1"),), epoch=1),), {})
    await first.close()
    await second.close()


def test_a_bell_that_is_being_hung_is_not_taken_down(tmp_path: Path, monkeypatch):
    """Between making a FIFO and reading it, nobody may take it for a dead one's."""
    bells = tmp_path / "bells"
    one, two = Bell(bells, "one"), Bell(bells, "two")
    two.hang()
    make = os.mkfifo

    def interrupted(path, mode):
        make(path, mode)
        two.look_around()
        two.ring_others()
        assert Path(path).exists()

    monkeypatch.setattr(os, "mkfifo", interrupted)
    one.hang()
    assert two.alive("one")
    one.remove()
    assert not two.alive("one")
    two.remove()


# ---- two processes ---------------------------------------------------------------------------


def test_two_processes_talk_by_bells_alone(tmp_path: Path):
    SqliteStore(tmp_path)._writer.close()
    processes = [child("chat", tmp_path, "a", "b", 150), child("chat", tmp_path, "b", "a", 150)]
    for process in processes:
        said, _ = process.communicate(timeout=100)
        assert said.split("\n")[:2] == ["ready", "heard 150"]
        assert process.returncode == 0

    async def check() -> None:
        store = SqliteStore(tmp_path)
        for run in "ab":
            assert len(await sound(store, run)) == 301
        await store.close()

    asyncio.run(check())


async def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path):
    process = child("hold", tmp_path, "r")
    assert line(process).startswith("held")
    store = SqliteStore(tmp_path)
    assert await store.wakeable(0, 10) == ([], 0)
    with pytest.raises(LeaseLost):
        await store.claim("r", store.name)
    kill(process)
    assert (await store.wakeable(0, 10))[0] == ["r"]
    assert await store.claim("r", store.name) == 2
    await store.close()


@pytest.mark.parametrize("seed", range(6))
def test_kill_nine_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int):
    """In a loop on one store: after each kill, what was said is there and the chain is sound."""
    rng = random.Random(seed)
    said: dict[int, tuple[int, str]] = {}
    for _ in range(4):
        process = child("append", tmp_path, "r")
        assert line(process) == "ready"
        for _ in range(rng.randrange(1, 60)):
            seq, pos, name = line(process).split()
            said[int(seq)] = (int(pos), name)
        for rest in kill(process).splitlines():
            words = rest.split()
            if len(words) == 3 and len(words[2]) == 64:
                said[int(words[0])] = (int(words[1]), words[2])

        async def check() -> None:
            store = SqliteStore(tmp_path, create=False)
            chain = await sound(store, "r")
            found = {event.seq: (event.pos, event.id) for event in chain}
            assert said.items() <= found.items()
            assert len(chain) <= len(said) + 8  # started, and at most one unsaid per life
            for event in chain[1:]:
                unpack(event.value or b"", store.get)
            await store.close()

        asyncio.run(check())


def test_a_process_that_only_starts_runs_is_heard(tmp_path: Path):
    """Runs left by a process that ended cleanly are free for others."""

    async def play() -> None:
        first = SqliteStore(tmp_path)
        await first.append((Batch("r", (started(),), -1, lease=first.name),), {})
        await first.close()
        second = SqliteStore(tmp_path)
        assert (await second.wakeable(0, 5))[0] == ["r"]
        await second.close()

    asyncio.run(play())
