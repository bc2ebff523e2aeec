"""``holdfast anomalies``."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.days import PLANTED, Days, pour
from tests.cli.support import documents, invoke, start


@pytest.fixture
def watched(place: Path) -> Path:
    """A store of some days, the last of which is today."""
    days = Days(7)
    for _ in range(6):
        days.live(10)
    days.live(10, PLANTED)

    async def fill() -> None:
        store = SqliteStore(place / ".holdfast", synchronous="NORMAL")
        later = int(time.time() * 1000) - days.events[-1].at
        await pour(store, days.events, store.name, later_ms=later)
        await store.close()

    asyncio.run(fill())
    return place


def test_list_and_judge(watched: Path):
    found = documents(invoke("anomalies", "--json").stdout)
    assert found
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    first = found[0]
    said = invoke("anomalies", "--limit", "1")
    assert first["place"] in said.stdout
    assert first["parts"][0]["sentence"] in said.stdout
    assert f"--limit {len(found)}" in said.stderr
    one = invoke("anomalies", "--json", "--agent", first["agent"], "--since", "30d").stdout
    assert {each["agent"] for each in documents(one)} == {first["agent"]}
    assert documents(invoke("anomalies", "--json", "--since", "2099-01-01").stdout) == []
    assert "no alarm" in invoke("anomalies", "--agent", "nobody").stderr
    invoke("anomalies", "--judge", first["place"], "normal", "--note", "as agreed")
    again = documents(invoke("anomalies", "--json").stdout)[-1]
    assert (again["place"], again["judged"], again["by"]) == (first["place"], "normal", "ann")
    said = invoke("anomalies", "--judge", found[1]["place"], "bad").stdout
    assert f"holdfast prevent {found[1]['place'] if found[1]['key'] else found[1]['run']}" in said
    assert "bad (ann)" in invoke("anomalies").stdout
    log = invoke("show", first["run"]).stdout
    assert "finding anomaly about" in log
    assert "finding anomaly.judged about" in log
    invoke("fsck")


def test_what_is_wrong_is_said(watched: Path):
    assert "no alarm about it" in invoke("anomalies", "--judge", "day0-1@1", "bad", code=2).stderr
    assert "normal" in invoke("anomalies", "--judge", "day0-1", "fine", code=2).stderr
    assert "--judge" in invoke("anomalies", "--note", "x", code=2).stderr
    both = invoke("anomalies", "-f", "--judge", "day0-1", "bad", code=2)
    assert "do not go together" in both.stderr
    assert "is not in this store" in invoke("anomalies", "--judge", "zz@1", "bad", code=2).stderr


def test_following_writes_findings(watched: Path):
    listed = documents(invoke("anomalies", "--json").stdout)
    process = start("anomalies", "-f", "--json", cwd=watched)
    try:
        assert process.stdout is not None
        shown = [json.loads(process.stdout.readline()) for _ in listed]
        while len(written(watched)) < len(listed):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert shown == listed
    assert sorted(written(watched)) == sorted((one["run"], one["pos"]) for one in listed)


def written(place: Path) -> list[tuple[str, int]]:
    events = documents(invoke("log", "--json").stdout)
    return [
        (event["run"], event["body"]["about"])
        for event in events
        if event["kind"] == "finding.added" and event["body"]["type"] == "anomaly"
    ]
