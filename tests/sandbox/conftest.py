from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.sandbox.support import NOBODY, Walls, need


@asynccontextmanager
async def _walls(tier: Any, who: str) -> AsyncGenerator[Walls]:
    need(tier)
    root = os.geteuid() == 0
    if who == "root" and not root:
        pytest.skip("the tests do not run as root")
    found = Walls(tier, NOBODY if root and who == "user" else None)
    try:
        async with found.sandbox:
            yield found
    finally:
        found.place.remove()


@pytest.fixture(params=["root", "user"])
async def walls(request: pytest.FixtureRequest) -> AsyncIterator[Walls]:
    """Walls of namespaces, as root and as an ordinary user."""
    async with _walls("namespaces", request.param) as found:
        yield found


@pytest.fixture(params=["root", "user"])
async def lower(request: pytest.FixtureRequest) -> AsyncIterator[Walls]:
    """Walls without namespaces."""
    async with _walls("landlock", request.param) as found:
        yield found
