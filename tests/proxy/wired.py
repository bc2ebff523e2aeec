"""A wire in front of a stand-in: what its tests share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from holdfast.engine.guest import Guest
from holdfast.engine.history import History, Step
from holdfast.gate import parse_policy
from holdfast.models import sse
from holdfast.models.dialects import DIALECTS
from holdfast.proxy.providers import Provider
from holdfast.proxy.tape import Tape
from holdfast.proxy.wire import Rules, Wire
from holdfast.runtime import Runtime, Settings
from holdfast.runtime.serving import served
from holdfast.testing.scripted import Script
from holdfast.testing.standin import StandIn
from holdfast.values.canon import unpack
from holdfast.values.ports import SystemClock, SystemDice

KEY = "sk-provider-secret"
ALLOW = "version: 1\nrules: [{id: all, when: {agent: '*'}, then: allow}]\n"


class Wired:
    """A client of a wire, and what stands behind it."""

    def __init__(
        self, runtime: Runtime, guest: Guest, wire: Wire, url: str, token: str, server: StandIn
    ) -> None:
        self.runtime = runtime
        self.guest = guest
        self.wire = wire
        self.url = url
        self.token = token
        self.server = server
        self.said: list[str] = []
        self.http = aiohttp.ClientSession(headers={"authorization": f"Bearer {token}"})

    async def post(self, path: str, body: Any, **more: Any) -> aiohttp.ClientResponse:
        """The answer to a request, read whole."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        reply = await self.http.post(f"{self.url}{path}", data=raw, headers=headers, **more)
        await reply.read()
        return reply

    async def history(self) -> History:
        """The run as its journal has it."""
        found = History()
        found.extend(await self.runtime.store.read(self.guest.id))
        return found

    async def steps(self) -> list[Step]:
        """Its calls of models, in order."""
        found = (await self.history()).steps.values()
        return [one for one in found if one.plan is not None and one.plan.kind == "model"]

    async def values(self) -> list[dict[str, Any]]:
        """What is recorded of them."""
        return [self.read(one.value) for one in await self.steps() if one.value is not None]

    async def waits(self) -> tuple[Any, ...]:
        """What it waits for."""
        return (await self.runtime.store.run(self.guest.id)).waits

    def read(self, skeleton: bytes) -> Any:
        """A recorded value."""
        return unpack(skeleton, self.runtime.store.get)

    async def until(self, ready: Callable[[], Any]) -> Any:
        """Wait for a condition, which may be awaited; what it gives."""
        while True:
            found = ready()
            found = await found if inspect.isawaitable(found) else found
            if found:
                return found
            await asyncio.sleep(0.002)


@asynccontextmanager
async def wired(
    script: Script = (),
    *,
    policy: str = ALLOW,
    rules: Rules | None = None,
    tape: Tape | None = None,
    providers: Callable[[str], list[Provider]] | None = None,
    runtime: Runtime | None = None,
    **guest: Any,
) -> AsyncGenerator[Wired]:
    """A stand-in, a guest and a wire between them, as provider ``openai`` and ``anthropic``."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(StandIn(script, key=KEY))
        known = providers or both
        if runtime is None:
            runtime = Runtime(
                Settings(user="ann"), store="memory", policy=parse_policy(policy, "test")
            )
            await stack.enter_async_context(runtime)
        opened = await runtime.guest("client", door="model", **guest)
        await stack.enter_async_context(opened)
        said: list[str] = []
        wire = Wire(
            known(server.url), clock=SystemClock(), dice=SystemDice(), rules=rules, tape=tape,
            say=said.append,
        )  # fmt: skip
        stack.push_async_callback(wire.close)
        url = await stack.enter_async_context(served(wire))
        client = Wired(runtime, opened, wire, url, wire.admit(opened), server)
        client.said = said
        stack.push_async_callback(client.http.close)
        yield client


def both(url: str) -> list[Provider]:
    """The stand-in as two providers."""
    return [Provider(name=name, url=url, key=KEY) for name in ("openai", "anthropic", "gemini")]


def gathered(name: str, raw: bytes) -> Any:
    """The whole message of a stream."""
    gather, lines = DIALECTS[name].gather(), sse.Lines()
    for event in lines.feed(raw):
        gather.take(event)
    return gather.message
