"""What clients are answered to all that is no call: lists, greetings, subscriptions, and whatever
passes through to the server that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from holdfast.proxy import eras, frames, naming
from holdfast.proxy.call import Call
from holdfast.proxy.exchange import Exchange
from holdfast.proxy.links import Links
from holdfast.proxy.listening import Listening
from holdfast.proxy.longcalls import LongCalls
from holdfast.proxy.upstream import Server, Upstream


class Answers:
    """The answers of one front. ``long``: its calls that servers go on with."""

    def __init__(
        self, servers: Mapping[str, Server], listening: Listening, long: LongCalls
    ) -> None:
        self.servers = servers
        self.listening = listening
        self.long = long

    async def answer(self, exchange: Exchange, links: Links) -> bytes | None:
        """The answer to a request that is no call; None if it is given later."""
        method, params = exchange.method, exchange.params
        if exchange.modern:
            if method == "server/discover":
                return await self._discovered(links)
            if method == "subscriptions/listen":
                await self.listening.begin(exchange, links, params)
                return None
            if method in eras.GONE:
                raise frames.RpcError(frames.METHOD_NOT_FOUND, f"Method not found: {method}")
            if exchange.who.level:
                await links.wants(exchange.who.level)
        else:
            match method:
                case "initialize":
                    return await self._initialized(exchange, links)
                case "ping":
                    return b"{}"
                case "logging/setLevel":
                    exchange.peer.level(str(params.get("level")))
                    await links.wants(str(params.get("level")))
                    return b"{}"
                case "resources/subscribe" | "resources/unsubscribe":
                    await self._subscribed(exchange, links)
                    return b"{}"
                case _:
                    pass
        if method in naming.FIELDS and len(self.servers) > 1:
            found = await naming.gathered(links, method, exchange.who)
            return frames.plain(_told(exchange, method, found, None))
        return await self._passed(exchange, links)

    async def _passed(self, exchange: Exchange, links: Links) -> bytes:
        """A request that goes to the server that it is about, and what that answers."""
        method = exchange.method
        errors: list[frames.RpcError] = []
        for upstream, params in await self._about(exchange, links):
            try:
                raw = await self._asked_of(upstream, exchange, links, params)
            except frames.RpcError as error:
                errors.append(error)
                continue
            if method == "tools/list":
                learn(upstream, frames.fields(raw), exchange.params)
            if method.startswith("tasks/"):
                self.long.heard(method, exchange.params, raw)
            return self.told(exchange, method, raw, upstream)
        raise (
            errors[0]
            if errors
            else frames.RpcError(frames.METHOD_NOT_FOUND, f"Method not found: {method}")
        )

    async def _asked_of(
        self, upstream: Upstream, exchange: Exchange, links: Links, params: dict[str, Any]
    ) -> bytes:
        call = Call(exchange, "", "")
        call.task = asyncio.current_task()
        meta = exchange.meta
        token = links.token(call) if exchange.token is not None else 0
        if token:
            meta = {**meta, "progressToken": token}
        links.calls[id(call)] = call
        try:
            who = links.who(upstream, exchange.who)
            return await upstream.request(
                exchange.method, upstream.dressed(params, meta, who), call=call
            )
        finally:
            del links.calls[id(call)]
            links.tokens.pop(token, None)

    async def _about(
        self, exchange: Exchange, links: Links
    ) -> list[tuple[Upstream, dict[str, Any]]]:
        """The servers that a request may be about, the likeliest first, each with what it is
        asked."""
        params = exchange.params
        if len(self.servers) == 1:
            return [(one, params) for one in await links.all()]
        if exchange.method == "completion/complete":
            ref = params.get("ref")
            name = ref.get("name") if isinstance(ref, dict) else None
            if isinstance(ref, dict) and isinstance(name, str):
                found = await naming.whose(links, "prompts", name, exchange.who)
                own = {**params, "ref": {**ref, "name": found[1]}} if found else params
                return [(found[0], own)] if found else []
            uri = ref.get("uri") if isinstance(ref, dict) else ""
            return [(one, params) for one in await naming.holders(links, str(uri))]
        server = self.long.server_of(params)
        if server:
            return [(await links.to(server), params)]
        return [(one, params) for one in await links.all()]

    def told(self, exchange: Exchange, method: str, raw: bytes, upstream: Upstream | None) -> bytes:
        """A server's result in the words of the client's era; unchanged if both speak the same."""
        if upstream is not None and upstream.modern == exchange.modern:
            return raw
        info = None if upstream is None else upstream.info
        return frames.plain(_told(exchange, method, frames.fields(raw), info))

    async def _initialized(self, exchange: Exchange, links: Links) -> bytes:
        peer = exchange.peer
        if peer.greeting is None:
            peer.greet(exchange.params)
        upstreams = await links.all()
        asked = exchange.params.get("protocolVersion")
        version = asked if asked in eras.LEGACY else eras.LEGACY[0]
        if len(upstreams) == 1 and not upstreams[0].modern:
            version = upstreams[0].version
        found: dict[str, Any] = {
            "protocolVersion": version,
            "capabilities": eras.joined(
                [eras.server_capabilities(one.can, native=not one.modern) for one in upstreams]
            ),
            "serverInfo": (len(self.servers) == 1 and upstreams[0].info) or eras.HERE,
        }
        if texts := [one.instructions for one in upstreams if one.instructions]:
            found["instructions"] = "\n\n".join(texts)
        for one in upstreams:
            if one.modern:
                await self.listening.for_peer(peer, one, links)
        return frames.plain(found)

    async def _discovered(self, links: Links) -> bytes:
        upstreams = await links.all()
        can = eras.joined(
            [eras.server_capabilities(one.can, native=one.modern) for one in upstreams]
        )
        found: dict[str, Any] = {
            "resultType": "complete",
            "supportedVersions": [eras.MODERN, *eras.LEGACY],
            "capabilities": can,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {eras.SERVER: (len(self.servers) == 1 and upstreams[0].info) or eras.HERE},
        }
        if texts := [one.instructions for one in upstreams if one.instructions]:
            found["instructions"] = "\n\n".join(texts)
        return frames.plain(found)

    async def _subscribed(self, exchange: Exchange, links: Links) -> None:
        uri = str(exchange.params.get("uri"))
        begins = exchange.method == "resources/subscribe"
        for upstream in await naming.holders(links, uri):
            if upstream.modern:
                await self.listening.resource(exchange.peer, upstream, links, uri, begins=begins)
            else:
                await self._asked_of(upstream, exchange, links, exchange.params)
            return


def learn(upstream: Upstream, found: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """The client was told a page of a server's tools."""
    known = upstream.tools if params.get("cursor") is not None else None
    tools = found.get("tools")
    upstream.learn([*(known or {}).values(), *(tools if isinstance(tools, list) else [])])


def _told(exchange: Exchange, method: str, found: dict[str, Any], info: Any) -> dict[str, Any]:
    if exchange.modern:
        return eras.for_modern_client(method, found, info)
    return eras.for_legacy_client(found)
