"""An open runtime signs by itself, delays nothing, and loses no root when a second place fails."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

import holdfast
from holdfast.runtime import Runtime, Settings
from holdfast.stores.entries import newest_statement, statements
from holdfast.stores.fsck import check
from holdfast.stores.keys import make_key
from holdfast.stores.proving import prove_roots
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.witness import kept_in
from holdfast.values.errors import Misuse, NotFound


@holdfast.tool(effect="read")
def look(n: int) -> int:
    return n


@holdfast.agent
async def looks(n: int):
    return sum(look(i) for i in range(n))


def settings(tmp_path: Path, *places: Path) -> Settings:
    key = tmp_path / "key"
    if not key.exists():
        make_key(key)
    return Settings(
        store=str(tmp_path / "s"), key=str(key), witness=tuple(str(place) for place in places)
    )


async def test_a_last_root_on_close(tmp_path: Path):
    mine = settings(tmp_path, tmp_path / "roots", tmp_path / "more")
    for n in range(3):
        async with Runtime(mine) as runtime:
            assert await (await runtime.start(looks, n)).result() == sum(range(n))
    store = SqliteStore(tmp_path / "s")
    roots = [one.signed for one in store.ask(statements)]
    await store.close()
    assert len(roots) >= 3
    assert kept_in(str(tmp_path / "roots")) == kept_in(str(tmp_path / "more")) == roots
    report = check(tmp_path / "s")
    proven = prove_roots(tmp_path / "s", [roots[0].key], report, [("w", roots)])
    assert report.problems == []
    assert proven.left == 1  # the last root itself


async def test_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("holdfast.values.limits.SIGN_LOOK_SECONDS", 0.01)
    async with Runtime(settings(tmp_path, tmp_path / "roots")) as runtime:
        await (await runtime.start(looks, 2)).result()
        while not (tmp_path / "roots").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert isinstance(runtime.store, SqliteStore)
        assert runtime.store.ask(newest_statement) is not None


async def test_j59_a_place_that_fails_stops_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """INVARIANT J59"""
    monkeypatch.setattr("holdfast.values.limits.SIGN_LOOK_SECONDS", 0.01)
    monkeypatch.setattr("holdfast.values.limits.WITNESS_RETRY_SECONDS", 0.05)
    (tmp_path / "taken").mkdir()
    place = tmp_path / "taken" / "roots"
    place.mkdir()  # a directory is in the way of the file
    with caplog.at_level(logging.WARNING, logger="holdfast.audit"):
        async with Runtime(settings(tmp_path, place, tmp_path / "good")) as runtime:
            await (await runtime.start(looks, 2)).result()
            while not caplog.records:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert "does not take signed roots" in caplog.text
            await (await runtime.start(looks, 3)).result()
            place.rmdir()
            while not place.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert kept_in(str(place)) == kept_in(str(tmp_path / "good")) != []


async def test_two_processes_sign_one_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("holdfast.values.limits.SIGN_LOOK_SECONDS", 0.003)
    mine = settings(tmp_path, tmp_path / "roots")
    async with Runtime(mine) as one, Runtime(mine) as two:
        for n in range(6):
            ran = [(await runtime.start(looks, n)).result() for runtime in (one, two)]
            await asyncio.gather(*ran)
    roots = kept_in(str(tmp_path / "roots"))
    report = check(tmp_path / "s")
    prove_roots(tmp_path / "s", [roots[0].key], report, [("w", roots)])
    assert report.problems == []


async def test_what_cannot_be_is_refused_before_anything_runs(tmp_path: Path):
    store = str(tmp_path / "s")
    with pytest.raises(NotFound, match="there is no key"):
        async with Runtime(Settings(store=store, key=str(tmp_path / "none"))):
            pass
    with pytest.raises(Misuse, match="outside of the store"):
        async with Runtime(settings(tmp_path, tmp_path / "s" / "roots")):
            pass
    async with Runtime(Settings(key=str(tmp_path / "none")), store="memory") as runtime:
        assert await (await runtime.start(looks, 1)).result() == 0
