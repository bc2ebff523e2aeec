"""The table of the JSON interface."""

from __future__ import annotations

from typing import Any

from holdfast.api import governing, live, openapi, runs, steering, worlds
from holdfast.api.ways import Ask, Way


async def _describe(ask: Ask) -> Any:
    return openapi.document(WAYS)


WAYS: list[Way] = [
    *runs.WAYS, *steering.WAYS, *governing.WAYS, *worlds.WAYS, *live.WAYS,
    Way("GET", "/openapi.json", "viewer", _describe, "This description.", dict[str, Any]),
]  # fmt: skip
"""Every route of the JSON interface."""
