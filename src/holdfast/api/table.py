"""The table of the JSON interface."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from holdfast.api import alarms, governing, live, openapi, runs, steering, worlds
from holdfast.api.ways import Ask, Way


async def _describe(ask: Ask) -> Any:
    # not as payloads are, whose keys must not begin with $
    return Response(msgspec.json.encode(openapi.document(WAYS)), media_type="application/json")


WAYS: list[Way] = [
    *runs.WAYS, *steering.WAYS, *governing.WAYS, *alarms.WAYS, *worlds.WAYS, *live.WAYS,
    Way("GET", "/openapi.json", "viewer", _describe, "This description.", dict[str, Any]),
]  # fmt: skip
"""Every route of the JSON interface."""
