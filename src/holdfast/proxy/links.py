"""Connections to all servers on behalf of one client of the legacy era, or of all modern ones.

A legacy server cannot be asked on behalf of two clients over one connection: what it asks back has
no address. Modern ones are; and a legacy server is greeted once for all modern clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from holdfast.proxy import eras, frames
from holdfast.proxy.call import Call
from holdfast.proxy.exchange import Peer
from holdfast.proxy.upstream import Sent, Server, Upstream, Who
from holdfast.values.errors import HoldfastError

ALL = {"elicitation": {}, "sampling": {}, "roots": {}}
"""What a legacy server that serves many modern clients is told that they can: who cannot says so
when asked."""


class Links:
    """The connections. ``peer``: whose they are, None for modern clients; ``calls``: what is in
    progress over them, oldest first; ``heard`` gets what servers say to nobody in particular;
    ``tried``: each server that was to be connected to, and why it is not (None: it is);
    ``names``: by kind, what clients call something, and whose it is under which name; ``shown``:
    the same of all that they were ever shown."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        peer: Peer | None,
        heard: Callable[[Links, Upstream, frames.Frame], None],
        tried: Callable[[str, HoldfastError | None], None],
    ) -> None:
        self.servers = servers
        self.peer = peer
        self.heard = heard
        self._tried = tried
        self.calls: dict[int, Call] = {}
        self.tokens: dict[int, Call] = {}
        self.open: dict[str, Upstream] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._greeting: set[Upstream] = set()
        self._later: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._last = 0
        self.level = ""
        self.names: dict[str, dict[str, tuple[str, str]]] = {}
        self.shown: dict[str, dict[str, tuple[str, str]]] = {}

    async def to(self, name: str) -> Upstream:
        """The connection to a server; one that was lost is made anew. `Outside` if it cannot be."""
        found = self.open.get(name)
        if found is not None and not found.lost:
            return found
        async with self._opening.setdefault(name, asyncio.Lock()):
            found = self.open.get(name)
            if found is None or found.lost:
                found = Upstream(self.servers[name], self)
                self._greeting.add(found)
                try:
                    await self._greet(found)
                    self.open[name] = found
                except BaseException as error:  # nobody else knows of it, its process may be there
                    self._begin_closing(found)
                    if isinstance(error, HoldfastError):
                        self._tried(name, error)
                    raise
                finally:
                    self._greeting.discard(found)
                self._tried(name, None)
                if self.level:
                    await self.wants(self.level)
            return found

    async def _greet(self, found: Upstream) -> None:
        peer = self.peer
        if peer is None:
            await found.open({}, Who(None, ALL), modern=True)
            return
        can = eras.for_legacy_server(peer.who.capabilities)
        if len(self.servers) == 1:  # it is told just what the client says
            can = dict(peer.who.capabilities)
        await found.open(peer.greeting or {}, Who(peer.who.client, can), modern=False)

    async def all(self) -> list[Upstream]:
        """Connections to all servers that can be reached; the first error if none can."""
        found: list[Upstream] = []
        errors: list[HoldfastError] = []
        results = await asyncio.gather(
            *(self.to(name) for name in self.servers), return_exceptions=True
        )
        for one in results:
            if isinstance(one, Upstream):
                found.append(one)
            elif isinstance(one, HoldfastError):
                errors.append(one)
            else:
                raise one
        if not found and errors:
            raise errors[0]
        return found

    def who(self, upstream: Upstream, call_or_who: Who) -> Who:
        """On whose behalf a request to this server is made, in the words of its era."""
        if upstream.modern and self.peer is not None:
            can = eras.for_modern_server(call_or_who.capabilities)
            return Who(call_or_who.client, can, call_or_who.level)
        return call_or_who

    def token(self, call: Call) -> int:
        """A name for the progress of a call, unique on these connections."""
        self._last += 1
        self.tokens[self._last] = call
        return self._last

    async def wants(self, level: str) -> None:
        """Somebody wants logs from this level on: legacy servers are told the lowest."""
        if level not in eras.LEVELS:
            return
        if not self.level or eras.LEVELS.index(level) < eras.LEVELS.index(self.level):
            self.level = level
        for upstream in list(self.open.values()):
            if not upstream.modern and "logging" in upstream.can:
                await upstream.request("logging/setLevel", {"level": self.level})

    # What servers say -----------------------------------------------------------------------------

    def _call_of(self, upstream: Upstream, sent: Sent | None) -> Call | None:
        """The call about which a server speaks: the one whose stream it uses, else the newest that
        is carried out there (over standard streams it does not say)."""
        if sent is not None and sent.call is not None:
            return sent.call
        for call in reversed(self.calls.values()):
            if call.sent is not None and call.sent[0] is upstream:
                return call
        return None

    def server_note(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        """A notification of a server."""
        params = bytes(frame.params) if frame.params is not frames.UNSET else b"{}"
        method = str(frame.method)
        match method:
            case "notifications/progress":
                said = frames.fields(params)
                token = said.get("progressToken")
                call = self.tokens.get(token) if type(token) is int else None
                if call is None or call.exchange is None or call.exchange.token is None:
                    return
                said["progressToken"] = call.exchange.token
                call.note(frames.note(method, frames.plain(said)))
            case "notifications/message":
                self._logged(upstream, params, self._call_of(upstream, sent))
            case "notifications/cancelled":
                return  # a legacy server gives up a question: its answer will count for nothing
            case _:
                self.heard(self, upstream, frame)

    def _logged(self, upstream: Upstream, params: bytes, call: Call | None) -> None:
        line = frames.note("notifications/message", frames.flat(params))
        exchange = call.exchange if call is not None else None
        if self.peer is not None:
            self.peer.push(line, exchange)
        elif exchange is not None:
            level = frames.fields(params).get("level")
            if eras.listens(level if isinstance(level, str) else "", exchange.who.level):
                exchange.send(line)

    def server_asks(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        """A request of a legacy server: it goes to the client, in the words of its era."""
        task = asyncio.get_running_loop().create_task(self._pass_on(upstream, frame, sent))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _pass_on(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        method, call = str(frame.method), self._call_of(upstream, sent)
        answer: bytes | frames.RpcError
        try:
            params = frames.fields(frame.params)
            if method == "ping":
                answer = b"{}"
            elif self.peer is not None:
                exchange = call.exchange if call is not None else None
                answer = await self.peer.ask(method, params, exchange)
            elif call is None:
                raise frames.RpcError(frames.METHOD_NOT_FOUND, f"nobody can be asked {method} now")
            else:
                found = await call.ask({"1": {"method": method, "params": params}})
                answer = frames.plain(found["1"])
        except frames.RpcError as error:
            answer = error
        except frames.Broken as error:
            answer = frames.RpcError(error.code, str(error))
        await upstream.answer(None if frame.id is frames.UNSET else frame.id, answer)

    def server_lost(self, upstream: Upstream, why: str) -> None:
        """A server is gone; the next request begins it anew."""
        if self.open.get(upstream.server.name) is upstream:
            del self.open[upstream.server.name]
        self._begin_closing(upstream)

    async def close(self) -> None:
        """Let go of all servers; whoever cancels this leaves none behind either."""
        for task in list(self._later):
            task.cancel()
        for one in [*self.open.values(), *self._greeting]:
            self._begin_closing(one)
        self.open = {}
        while self._closing:
            await asyncio.shield(asyncio.wait(list(self._closing)))

    def _begin_closing(self, upstream: Upstream) -> None:
        task = asyncio.get_running_loop().create_task(upstream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
