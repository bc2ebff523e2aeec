"""The engine's suite runs twice: plainly, and with ``--replay-always``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from holdfast.testing.replaying import replay_always

REPLAYING = bool(os.environ.get("HOLDFAST_TEST_REPLAY"))


@pytest.fixture(autouse=True)
def _replaying() -> Iterator[None]:
    if REPLAYING:
        with replay_always():
            yield
    else:
        yield


@pytest.fixture
def undisturbed() -> None:
    """For tests that look at how a run stays in memory: replaying always makes no sense there."""
    if REPLAYING:
        pytest.skip("looks at residence in memory, which --replay-always forbids")
