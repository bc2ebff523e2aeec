"""Serving an ASGI application on a socket of our own, until somebody says stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from holdfast.values.errors import Outside

PATH = "/mcp"
"""Where clients find the door."""


async def serve_door(
    app: Any, host: str, port: int, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Serve ``app`` at host and port (0: any free one), and ``say`` where. `Outside` if it cannot
    listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # said to be TCP, so that asyncio sends what is written at once: else each answer, whose head
    # and body are two writes, waits some 40 ms for the client to acknowledge the first
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen()
    except OSError as error:
        door.close()
        raise Outside(f"cannot listen on {host}:{port}: {error.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    say(f"listening: http://{shown}:{door.getsockname()[1]}{PATH}")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", server_header=False,
        date_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # without its own handlers of signals: when to stop is the caller's to say
    serving = asyncio.get_running_loop().create_task(
        server._serve([door])  # pyright: ignore[reportPrivateUsage]  # it has no public name
    )
    stopped = asyncio.get_running_loop().create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        door.close()
