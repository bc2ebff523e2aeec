"""Who hears of changes: subscriptions of modern clients, and what legacy ones get unasked."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.proxy import eras, frames
from holdfast.proxy.exchange import Exchange, Peer
from holdfast.proxy.links import Links
from holdfast.proxy.upstream import Sent, Upstream, Who

_CAPABILITIES = {"toolsListChanged": "tools", "promptsListChanged": "prompts",
                 "resourcesListChanged": "resources"}  # fmt: skip


class _Stream:
    """A subscription at a modern server. ``sent``: where it was asked for."""

    def __init__(self, exchange: Exchange | None) -> None:
        self.exchange = exchange
        self.sent: tuple[Upstream, Sent] | None = None
        self.task: asyncio.Task[None] | None = None

    async def hold(self, upstream: Upstream, params: dict[str, Any]) -> None:
        try:
            await upstream.request("subscriptions/listen", params, call=self)
        except (frames.RpcError, ConnectionError):
            return

    def note(self, frame: bytes) -> None:
        """Nothing is said about a subscription but through it."""

    async def end(self) -> None:
        if self.sent is not None:
            await self.sent[0].cancel(self.sent[1], "")
        if self.task is not None:
            self.task.cancel()


class _Listener:
    def __init__(self, exchange: Exchange, links: Links, wanted: dict[str, Any]) -> None:
        self.exchange = exchange
        self.links = links
        self.wanted = wanted
        self.streams: list[_Stream] = []

    @property
    def uris(self) -> list[str]:
        found = self.wanted.get("resourceSubscriptions")
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    def matches(self, method: str, params: dict[str, Any]) -> bool:
        if method == "notifications/resources/updated":
            return params.get("uri") in self.uris
        return self.wanted.get(eras.CHANGES.get(method, "")) is True


class Listening:
    """The subscriptions of one front."""

    def __init__(self) -> None:
        self._listeners: list[_Listener] = []
        self._streams: dict[tuple[int, str], _Stream] = {}
        self._later: set[asyncio.Task[None]] = set()

    def _go(self, doing: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(doing)
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return task

    # Modern clients -----------------------------------------------------------------------------

    async def begin(self, exchange: Exchange, links: Links, params: dict[str, Any]) -> None:
        """A client subscribes; it is told to what."""
        wanted = params.get("notifications")
        if not isinstance(wanted, dict):
            raise frames.RpcError(frames.INVALID_PARAMS, "params.notifications must be an object")
        upstreams = await links.all()
        can = {name for one in upstreams for name in one.can}
        honoured = {
            name: True
            for name, capability in _CAPABILITIES.items()
            if wanted.get(name) is True and capability in can
        } | {
            name: wanted[name]
            for name in ("resourceSubscriptions", "taskIds")
            if wanted.get(name) and (name == "taskIds" or "resources" in can)
        }
        listener = _Listener(exchange, links, honoured)
        self._listeners.append(listener)
        exchange.send(
            _stamped("notifications/subscriptions/acknowledged", {"notifications": honoured},
                     exchange.id)
        )  # fmt: skip
        for upstream in upstreams:
            if upstream.modern:
                stream = _Stream(exchange)
                body = upstream.dressed({"notifications": honoured}, {}, exchange.who)
                stream.task = self._go(stream.hold(upstream, body))
                listener.streams.append(stream)
            elif "resources" in upstream.can:
                for uri in listener.uris:
                    await upstream.request("resources/subscribe", {"uri": uri})

    def end(self, exchange: Exchange) -> None:
        """A client does not listen any more."""
        for one in [one for one in self._listeners if one.exchange is exchange]:
            self._listeners.remove(one)
            for stream in one.streams:
                self._go(stream.end())
            others = {uri for other in self._listeners for uri in other.uris}
            for upstream in list(one.links.open.values()):
                if not upstream.modern:
                    for uri in set(one.uris) - others:
                        self._go(_tell(upstream, "resources/unsubscribe", {"uri": uri}))

    def heard(self, links: Links, upstream: Upstream, method: str, params: bytes) -> None:
        """A server says that something changed."""
        if method == "notifications/subscriptions/acknowledged":
            return
        if links.peer is not None:
            if upstream.modern:
                params = frames.plain(_without_mark(frames.fields(params)))
            links.peer.push(frames.note(method, params), None)
            return
        found = frames.fields(params)
        mark = _meta_of(found).get(eras.SUBSCRIPTION)
        for one in list(self._listeners):
            mine = any(
                stream.sent is not None and stream.sent[0] is upstream and stream.sent[1].id == mark
                for stream in one.streams
            )
            if mine if upstream.modern else one.matches(method, found):
                one.exchange.send(_stamped(method, found, one.exchange.id))

    # Legacy clients of modern servers -----------------------------------------------------------

    async def for_peer(self, peer: Peer, upstream: Upstream, links: Links) -> None:
        """A legacy client hears of every change of the lists, as it expects."""
        wanted = {
            name: True
            for name, capability in _CAPABILITIES.items()
            if _object(upstream.can.get(capability)).get("listChanged")
        }
        if wanted:
            self._begin(peer, upstream, links, "", wanted)

    async def resource(
        self, peer: Peer, upstream: Upstream, links: Links, uri: str, *, begins: bool
    ) -> None:
        """A legacy client begins, or ceases, to follow a resource of a modern server."""
        stream = self._streams.pop((id(peer), uri), None)
        if stream is not None:
            await stream.end()
        if begins:
            self._begin(peer, upstream, links, uri, {"resourceSubscriptions": [uri]})

    def _begin(
        self, peer: Peer, upstream: Upstream, links: Links, uri: str, wanted: dict[str, Any]
    ) -> None:
        stream = _Stream(None)
        who = links.who(upstream, Who(peer.who.client, peer.who.capabilities))
        body = upstream.dressed({"notifications": wanted}, {}, who)
        stream.task = self._go(stream.hold(upstream, body))
        self._streams[id(peer), uri] = stream

    async def close(self) -> None:
        """Tell everybody that it is over."""
        for one in self._listeners:
            mark = {eras.SUBSCRIPTION: one.exchange.id}
            said = {"resultType": "complete", "_meta": mark}
            await one.exchange.result(frames.plain(said))
        for task in list(self._later):
            task.cancel()


async def _tell(upstream: Upstream, method: str, params: dict[str, Any]) -> None:
    try:
        await upstream.request(method, params)
    except (frames.RpcError, ConnectionError):
        return


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _meta_of(params: dict[str, Any]) -> dict[str, Any]:
    return _object(params.get("_meta"))


def _without_mark(params: dict[str, Any]) -> dict[str, Any]:
    meta = {k: v for k, v in _meta_of(params).items() if k != eras.SUBSCRIPTION}
    params.pop("_meta", None)
    return {**params, "_meta": meta} if meta else params


def _stamped(method: str, params: dict[str, Any], mark: frames.Id) -> bytes:
    meta = {**_meta_of(params), eras.SUBSCRIPTION: mark}
    return frames.note(method, frames.plain({**params, "_meta": meta}))
