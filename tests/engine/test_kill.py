"""`kill -9` of a real process, again and again, on a real file."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from holdfast.journal.events import body_of
from holdfast.journal.store import RunQuery
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing import oracles
from tests.engine import kill_program

ROOT = Path(__file__).resolve().parents[2]
MOST_KILLS = 15


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again_nothing_is_lost_or_repeated(tmp_path: Path):
    chance = random.Random(7)
    environment = {**os.environ, "HOLDFAST_TEST_PLACE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    kills = 0
    deadline = time.monotonic() + 120
    while True:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.kill_program"], env=environment, cwd=ROOT
        )
        # By what it has done, not by the clock: a fast machine is killed as often as a slow one.
        limit = effects_in(tmp_path) + chance.randrange(10, 60) if kills < MOST_KILLS else None
        while child.poll() is None and (limit is None or effects_in(tmp_path) < limit):
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.001)
        if child.poll() is not None:
            assert child.returncode == 0
            break
        time.sleep(chance.random() * 0.005)
        child.send_signal(signal.SIGKILL)
        if child.wait() == 0:
            break
        kills += 1
    print(f"killed {kills} times")
    assert kills >= 1
    check(tmp_path)


def effects_in(place: Path) -> int:
    file = place / "effects"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def check(place: Path) -> None:
    lines = (place / "effects").read_text().splitlines()
    effects = [line.split() for line in lines]
    once = Counter((run, key, n) for kind, run, key, n, _ in effects if kind == "once")
    assert not [place for place, count in once.items() if count > 1]
    keys: dict[tuple[str, ...], set[str]] = {}
    for _, run, key, n, token in effects:
        keys.setdefault((run, key, n), set()).add(token)
    assert all(len(tokens) == 1 for tokens in keys.values())
    reads = Counter(run for kind, run, *_ in effects if kind == "read")

    async def look() -> None:
        store = SqliteStore(place / "store", create=False)
        try:
            programs = {one.name: one for one in (kill_program.worker, kill_program.child)}
            rows = await store.runs(RunQuery(limit=1000))
            assert {row.status for row in rows} == {"done"}
            assert len(rows) == kill_program.RUNS * 4
            watch = oracles.Watch()
            events = await oracles.all_events(store)
            for event in events:
                watch.see(event)
            await watch.compare(store)
            assert watch.problems == []
            assert await oracles.replays(store, programs) == []
            ends = {one.run: one.value for one in events if one.kind == "run.ended"}
            wanted = str(sum(i + 100 + i + 200 + i for i in range(25)) + 3 + 13 + 23).encode()
            assert {ends[f"run{n}"] for n in range(kill_program.RUNS)} == {wanted}
            recorded = Counter(
                one.run
                for one in events
                if one.kind == "step.settled"
                and (plan := body_of(one).plan) is not None
                and plan.name == "look"
            )
        finally:
            await store.close()
        # what was recorded is not done again: at most one more for each time the process died
        for run, count in recorded.items():
            assert count <= reads[run] <= count + MOST_KILLS

    asyncio.run(look())
