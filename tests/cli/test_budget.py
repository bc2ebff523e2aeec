"""``holdfast budget``: what is reserved, used and left."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import begin
from holdfast.testing.meters import closed, planned
from tests.cli.support import invoke

DAY = "money/daily/agent/2026-01-02/ada"


def charged(place: Path) -> None:
    async def play() -> None:
        store = SqliteStore(place / ".holdfast")
        plan = planned("1", **{f"budget/{DAY}": 900_000, "budget/tokens/all/team/-/red": 12_000})
        end = closed("1", **{f"budget/{DAY}": -500_000, f"used/{DAY}": 400_000})
        await begin(store, "r", plan, end, owner=store.name)
        await store.close()

    asyncio.run(play())


def test_budgets_in_use(place: Path):
    charged(place)
    said = invoke("budget").stdout
    assert [line.split() for line in said.splitlines()[1:]] == [
        ["daily", "agent", "ada", "2026-01-02", "0.00", "0.40", "money"],
        ["all", "team", "red", "ever", "12,000", "0", "tokens"],
    ]
    first, second = json.loads(invoke("budget", "--json").stdout)
    assert (first["used"], first["reserved"], first["limit"]) == (0.4, 0, None)
    assert (second["used"], second["reserved"], second["unit"]) == (0, 12_000, "tokens")


def test_rebuilding_mends_what_fsck_reports(place: Path):
    charged(place)
    with sqlite3.connect(place / ".holdfast" / "journal.db") as conn:
        conn.execute("UPDATE meter SET value=1 WHERE name LIKE 'used/%'")
    found = invoke("fsck", code=6)
    assert f"used/{DAY}" in found.output
    assert "differed from their events: 1" in invoke("budget", "--rebuild").stderr
    invoke("fsck")


def test_no_budget_in_use(place: Path):
    invoke("run", "agents.py:add", "1", "-q")
    assert "nothing was used of any budget" in invoke("budget").stderr
