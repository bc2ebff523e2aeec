from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from tests.sandbox.support import NOBODY, Walls, need


@pytest.fixture(params=["root", "user"])
async def walls(request: pytest.FixtureRequest) -> AsyncIterator[Walls]:
    """Walls of namespaces, as root and as an ordinary user."""
    need("namespaces")
    root = os.geteuid() == 0
    if request.param == "root" and not root:
        pytest.skip("the tests do not run as root")
    found = Walls("namespaces", NOBODY if root and request.param == "user" else None)
    try:
        async with found.sandbox:
            yield found
    finally:
        found.place.remove()


@pytest.fixture(params=["root", "user"])
async def lower(request: pytest.FixtureRequest) -> AsyncIterator[Walls]:
    """Walls without namespaces."""
    need("landlock")
    root = os.geteuid() == 0
    if request.param == "root" and not root:
        pytest.skip("the tests do not run as root")
    found = Walls("landlock", NOBODY if root and request.param == "user" else None)
    try:
        async with found.sandbox:
            yield found
    finally:
        found.place.remove()
