"""Serving the door of MCP clients until somebody says stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdfast.runtime.serving import served

PATH = "/mcp"
"""Where clients find the door."""


async def serve_door(
    app: Any, host: str, port: int, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Serve ``app`` at host and port (0: any free one), and ``say`` where. `Outside` if it cannot
    listen there."""
    async with served(app, host, port, leave=1.0) as url:
        say(f"listening: {url}{PATH}")
        await stop.wait()
