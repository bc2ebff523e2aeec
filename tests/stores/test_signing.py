"""Signed roots: made, kept in second places, proven by an outsider, and tampering found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.stores.keys import SigningKey, make_key
from holdfast.stores.notary import sign
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.ports import SystemClock, SystemDice
from tests.stores.scenes import rich


async def signed(store, key):
    return await sign(store, key, policy="a" * 64, clock=SystemClock(), dice=SystemDice())


async def test_smoke(tmp_path: Path):
    key = make_key(tmp_path / "key")
    store = SqliteStore(tmp_path / "s")
    await rich(store, scale=5)
    one = await signed(store, key)
    assert one is not None and one.before == 0
    assert await signed(store, key) is None
    await store.close()
