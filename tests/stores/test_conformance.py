"""Both stores pass the shipped suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.conformance import StoreConformance


class TestMemory(StoreConformance):
    async def open_store(self):
        return MemoryStore()

    def bury(self, store, owner):
        assert isinstance(store, MemoryStore)
        store.owner_died(owner)


class TestSqliteFull(StoreConformance):
    synchronous = "FULL"

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path):
        self.directory = tmp_path / "store"

    async def open_store(self):
        return SqliteStore(self.directory, synchronous=self.synchronous)

    async def reopen(self, store):
        await store.close()
        return SqliteStore(self.directory, create=False, synchronous=self.synchronous)


class TestSqliteNormal(TestSqliteFull):
    synchronous = "NORMAL"
