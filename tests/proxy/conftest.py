"""A front in this process, for clients over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from holdfast.gate import parse_policy
from holdfast.proxy.door import Door, tokens
from holdfast.proxy.front import Front
from holdfast.proxy.listen import serve_door
from holdfast.proxy.opening import front_on, fronted
from holdfast.proxy.upstream import Server
from holdfast.runtime import Runtime
from holdfast.runtime.settings import Settings
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemClock, SystemDice
from tests.proxy import packages
from tests.proxy.support import ALLOW, WAIT

TOKEN = "a-token-of-the-tests"


class Place:
    """A door that is open: its address, its runtime, and the front of ``TOKEN``."""

    def __init__(self, url: str, runtime: Runtime, front: Front) -> None:
        self.url = url
        self.runtime = runtime
        self.front = front

    @asynccontextmanager
    async def client(self, mode: str, **how: Any) -> AsyncGenerator[Client]:
        """A client of the reference SDK. ``mode``: legacy or 2026-07-28."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=WAIT) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode, **how) as made,
        ):
            yield made

    async def events(self) -> list[Any]:
        """The events of the front's run."""
        guest: Any = self.front.stepping.guest
        return list(await self.runtime.store.read(guest.id, 0))


@asynccontextmanager
async def _opened(
    store: Path,
    servers: Sequence[Server] | Callable[[Runtime], Sequence[Server]],
    policy: str = ALLOW,
    **how: Any,
) -> AsyncGenerator[Place]:
    stop, said = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = Settings(store=str(store), user="ann")
    async with (
        Runtime(settings, policy=parse_policy(policy, "test")) as runtime,
        fronted(runtime, servers(runtime) if callable(servers) else servers, agent="tester",
                **how) as front,
    ):  # fmt: skip
        guest: Any = front.stepping.guest

        def piped(token: str) -> Callable[[Server], Front] | None:
            if token != TOKEN:
                return None
            return lambda server: front_on(runtime, guest, [server], ask="client", patience=0)

        door = Door(
            tokens({TOKEN: front}), clock=SystemClock(),
            mark=lambda: new_id(SystemDice(), chars=26), piped=piped,
        )  # fmt: skip
        serving = asyncio.create_task(serve_door(door, "127.0.0.1", 0, stop, said.set_result))
        try:
            await asyncio.wait([serving, said], return_when=asyncio.FIRST_COMPLETED)
            yield Place((await said).removeprefix("listening: "), runtime, front)
        finally:
            stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Any]:
    """Opens a door: ``opened(servers, policy)``."""

    def begin(servers: Sequence[Server], policy: str = ALLOW, **how: Any) -> Any:
        return _opened(tmp_path / "store", servers, policy, **how)

    return begin


@pytest.fixture
def npm() -> Callable[[str, str], str]:
    """A file of an npm package; the test is skipped, loudly, if there are none."""
    if not packages.installed():
        pytest.skip("NO NPM PACKAGES: run `make setup` where the npm registry can be reached")
    return packages.script
