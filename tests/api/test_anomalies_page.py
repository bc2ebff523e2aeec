"""The console's page of anomalies: what watches is asked, or one state is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.explain import anomaly
from holdfast.runtime import watching
from holdfast.runtime.watching import Watching
from holdfast.testing.days import PLANTED, Days, pour
from tests.api.sites import TOKENS, Reply, call, site_on, until

DAYS = Days(7)
for _ in range(6):
    DAYS.live(10)
DAYS.live(10, PLANTED)
EXPECTED = anomaly.fold(anomaly.no_state(), DAYS.events)


async def get(site: Any) -> Reply:
    reply = await call(site, "GET", "/anomalies", token=TOKENS["viewer"])
    assert reply.status == 200, reply.body
    return reply


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each fold took."""
    folded: list[int] = []
    fold = watching.fold

    def count(state: Any, events: Any) -> Any:
        folded.append(len(events))
        return fold(state, events)

    monkeypatch.setattr(watching, "fold", count)
    return folded


async def test_each_event_is_folded_once_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watching, "save", lambda *_: None)  # a disk that refuses
    folded = counted(monkeypatch)
    async with site_on(tmp_path, goes_on=False) as site:
        await pour(site.store, DAYS.events, "x")
        replies = await asyncio.gather(*(get(site) for _ in range(4)))
        assert all(EXPECTED[0].place.encode() in reply.body for reply in replies)
        assert sum(folded) == await site.store.last_seq()


async def test_what_watches_is_asked_and_says_its_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with site_on(tmp_path) as site:
        await pour(site.store, DAYS.events, "x")
        last = await site.store.last_seq()
        async with Watching(site.settings) as watched:
            site.watching = watched
            await until(lambda: watched.seq >= last)
            folded = counted(monkeypatch)
            reply = await get(site)
            assert EXPECTED[0].place.encode() in reply.body
            assert b"Not all is watched" not in reply.body
            assert folded == []
            watched.trouble = "run <b>: is damaged"
            assert b"Not all is watched: run &lt;b&gt;: is damaged" in (await get(site)).body
