"""The proxy in front of one server, for a suite that cannot show a token: ``python proxied.py
STORE (URL | COMMAND ... | own)`` on a free port, which it prints. It adds the token to what comes
in."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from holdfast.cli.serving import offer
from holdfast.gate import parse_policy
from holdfast.proxy import config
from holdfast.proxy.door import Door, tokens
from holdfast.proxy.listen import serve_door
from holdfast.proxy.opening import fronted
from holdfast.proxy.upstream import Server
from holdfast.runtime import Runtime
from holdfast.runtime.settings import Settings
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemClock, SystemDice

ALLOW = "version: 1\nrules: [{id: all, when: {tool: '*'}, then: allow}]\n"
TOKEN = b"Bearer 0123456789abcdef"


def _server(runtime: Runtime, said: list[str]) -> Server:
    if said == ["own"]:
        return offer.server(runtime, "suite")
    if said[0].startswith("http"):
        return config.from_url(said[0], "reference")
    return config.from_command(tuple(said), "reference")


async def main() -> None:
    store, *server = sys.argv[1:]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        Runtime(Settings(store=store), policy=parse_policy(ALLOW, "test")) as runtime,
        fronted(runtime, [_server(runtime, server)], agent="suite") as front,
    ):
        door = Door(
            tokens({TOKEN[7:].decode(): front}), clock=SystemClock(),
            mark=lambda: new_id(SystemDice(), chars=26),
        )  # fmt: skip

        async def with_token(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope = {**scope, "headers": [*scope["headers"], (b"authorization", TOKEN)]}
            await door(scope, receive, send)

        await serve_door(with_token, "127.0.0.1", 0, stop, told)


def told(text: str) -> None:
    print(text, flush=True)


asyncio.run(main())
