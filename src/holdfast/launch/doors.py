"""The doors of one launched command: the models' wire and MCP servers, on one port, for one run."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import msgspec

from holdfast.engine.guest import Guest
from holdfast.launch.builtin import BuiltIn
from holdfast.proxy.door import PIPE, Door
from holdfast.proxy.front import Front
from holdfast.proxy.opening import front_on
from holdfast.proxy.providers import given_token
from holdfast.proxy.upstream import Server
from holdfast.proxy.wire import Wire
from holdfast.runtime import Runtime
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemClock, SystemDice

HOOK = "/hook"
"""Where hooks of agents ask."""


class Doors:
    """An ASGI application. ``token``: what clients show; ``offer`` gives an MCP server a token of
    its own. ``free``: whoever has ``token`` may name servers to start (a command without walls can
    start them anyway). ``agent``: what its own tools are called after."""

    def __init__(
        self, runtime: Runtime, guest: Guest, wire: Wire, *, agent: str, ask: str,
        patience: float, free: bool,
    ) -> None:  # fmt: skip
        self._runtime, self._guest, self._wire = runtime, guest, wire
        self._ask, self._patience = ask, patience
        self._free = free
        self.token = wire.admit(guest)
        self.built_in = BuiltIn(
            guest, agent, lambda name: runtime.policy.tool(name).effect, patience,
            lambda: {one.name for one in self._servers.values()},
        )  # fmt: skip
        self._servers: dict[str, Server] = {}
        self._fronts: list[Front] = []
        self._door = Door(
            lambda token: None, clock=SystemClock(), mark=self._mark, piped=self._piped
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == HOOK and _same(self.token, given_token(scope)):
            await self.built_in(receive, send)
        elif path.endswith(PIPE):
            await self._door(scope, receive, send)
        else:
            await self._wire(scope, receive, send)

    def offer(self, server: Server) -> str:
        """A token for a server: whoever shows it gets that one and no other."""
        token = self._mark()
        self._servers[token] = server
        return token

    def _mark(self) -> str:
        return new_id(SystemDice(), chars=40)

    def _piped(self, token: str) -> Callable[[Server], Front] | None:
        # INVARIANT D85: behind walls nobody names what is started outside of them, nor where: a
        # token stands for a server of the person's files, whatever the pipe says
        server = next((one for mark, one in self._servers.items() if _same(mark, token)), None)
        if server is None and not (self._free and _same(self.token, token)):
            return None
        return lambda asked: self._front_of(server, asked)

    def _front_of(self, server: Server | None, asked: Server) -> Front:
        if server is None:
            server = asked
        elif self._free:
            server = msgspec.structs.replace(server, cwd=server.cwd or asked.cwd)
        front = front_on(
            self._runtime, self._guest, [server], ask=self._ask, patience=self._patience
        )
        self._fronts.append(front)
        return front

    async def close(self, seconds: float) -> None:
        """Let what is being carried out end, for so long; then nothing is open any more."""
        for front in self._fronts:
            await front.settle(seconds)
            await front.close()
        await self._wire.close()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))


Say = Callable[[str], None]
"""Tells whoever watches."""
