"""What else a process does with a store's file must not cost it SQLite's locks on it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from holdfast.journal.events import Draft, RunStarted, SignalReceived
from holdfast.journal.store import Batch
from holdfast.stores.fsck import check
from holdfast.stores.sqlite import SqliteStore

VISIT = """
import asyncio, sys
from holdfast.stores.sqlite import SqliteStore
async def main():
    await SqliteStore(sys.argv[1], create=False).close()
asyncio.run(main())
"""


async def test_a_second_store_in_the_process_and_a_visitor_harm_nothing(tmp_path: Path):
    """INVARIANT S7: opening the file again in this process leaves the locks; so a process that
    comes and goes does not take itself for the last one and delete the log."""
    mine = SqliteStore(tmp_path, grow=True)
    second = SqliteStore(tmp_path)
    await mine.append((Batch("r", (Draft(RunStarted("x"), 1),), expect=-1),), {})
    for _ in range(3):
        check(tmp_path / "journal.db")
        visit = [sys.executable, "-c", VISIT, str(tmp_path)]
        await asyncio.to_thread(subprocess.run, visit, check=True, timeout=60)
        assert (tmp_path / "journal.db-wal").exists()
        for _ in range(20):
            await mine.append((Batch("r", (Draft(SignalReceived("s"), 1),)),), {})
    assert await second.last_seq() == 61
    await mine.close()
    await second.close()
    again = SqliteStore(tmp_path, create=False)
    assert await again.last_seq() == 61
    await again.close()
    assert check(tmp_path / "journal.db").sound
