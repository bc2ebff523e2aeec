"""An ASGI application on a port of this machine: how all that listens here does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from holdfast.values import limits
from holdfast.values.errors import Outside


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """None are."""
        yield


@asynccontextmanager
async def served(
    app: Any, host: str = "127.0.0.1", port: int = 0, *, leave: float = limits.LEAVE_SECONDS
) -> AsyncGenerator[str]:
    """Serve ``app`` while the block lasts; its URL. ``port`` 0: any free one. `Outside` if it
    cannot listen there. At the end, requests in progress are given ``leave`` seconds."""
    try:
        door = socket.create_server((host, port), backlog=limits.WIRE_BACKLOG_CONNECTIONS)
    except OSError as error:
        raise Outside(f"cannot listen on {host}:{port}: {error.strerror}") from None
    # inherited by connections: asyncio sets it only on those whose protocol it sees
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app, log_config=None, log_level="critical", access_log=False, lifespan="off", ws="none",
        server_header=False, date_header=False, proxy_headers=False,
        timeout_graceful_shutdown=int(leave),
    )  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[door]))
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        door.close()
