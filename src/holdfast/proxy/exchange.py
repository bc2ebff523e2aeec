"""The client's side: one request of a client, and one client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.proxy import eras, frames
from holdfast.proxy.upstream import Who
from holdfast.values import limits


class Exchange:
    """One request of a client that waits for its answer. ``gone``: nobody waits any more; ``away``:
    the stream is broken, and may be taken up again;
    ``later`` is called if its answer, which did not reach the client, does after all."""

    __slots__ = (
        "away", "gone", "id", "later", "meta", "method", "modern", "params", "peer", "stream",
        "token", "who",
    )  # fmt: skip

    def __init__(self, peer: Peer, frame: frames.Frame, params: dict[str, Any]) -> None:
        self.peer = peer
        self.id: frames.Id = None if frame.id is frames.UNSET else frame.id
        self.method = str(frame.method)
        meta = params.pop("_meta", None)
        self.params = params
        self.meta: dict[str, Any] = meta if isinstance(meta, dict) else {}
        self.token = self.meta.pop("progressToken", None)
        self.modern = eras.is_modern(self.meta)
        self.gone = False
        self.away = False
        self.stream: Any = None
        self.later: Callable[[], None] | None = None
        self.who = peer.who
        if self.modern:
            capabilities = self.meta.get(eras.CAPABILITIES)
            can: Mapping[str, Any] = capabilities if isinstance(capabilities, dict) else {}
            level = self.meta.get(eras.LEVEL)
            client = self.meta.get(eras.CLIENT)
            self.who = Who(client, can, level if isinstance(level, str) else "")

    def send(self, frame: bytes) -> None:
        """Something about this request, before its answer."""
        if not self.gone:
            self.peer.push(frame, self)

    async def finish(self, frame: bytes) -> bool:
        """The answer; whether the client has got it."""
        self.peer.closed(self.id)
        if self.gone:
            return False
        return await self.peer.deliver(frame, self)

    async def result(self, raw: bytes) -> bool:
        """`finish` with a result."""
        return await self.finish(frames.result(self.id, frames.flat(raw)))

    async def fail(self, code: int, text: str, data: Any = None) -> bool:
        """`finish` with an error."""
        return await self.finish(frames.error(self.id, code, text, data))


class Peer:
    """One client. ``greeting``: what it said when it began, if it is of the legacy era;
    ``exchanges``: its requests that wait, by id; ``links``: its own connections to servers."""

    def __init__(self) -> None:
        self.greeting: dict[str, Any] | None = None
        self.who = Who()
        self.links: Any = None
        self.exchanges: dict[frames.Id, Exchange] = {}
        self._idle = asyncio.Event()
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._last = 0

    def push(self, frame: bytes, about: Exchange | None) -> None:
        """Send something that is no answer."""
        raise NotImplementedError

    async def deliver(self, frame: bytes, about: Exchange) -> bool:
        """Send an answer; whether the client has got it."""
        raise NotImplementedError

    def greet(self, params: dict[str, Any]) -> None:
        """The client says who it is. INVARIANT D8: that is noted and passed on; what it may do
        depends on its token alone."""
        self.greeting = params
        capabilities = params.get("capabilities")
        can: Mapping[str, Any] = capabilities if isinstance(capabilities, dict) else {}
        self.who = Who(params.get("clientInfo"), can, self.who.level)

    def level(self, level: str) -> None:
        """From which level on it wants logs."""
        self.who = Who(self.who.client, self.who.capabilities, level)

    async def ask(self, method: str, params: Any, about: Exchange | None) -> bytes:
        """Ask a client of the legacy era something; `RpcError` is what it answers."""
        if not eras.can(self.who.capabilities, method):
            raise frames.RpcError(frames.METHOD_NOT_FOUND, f"the client cannot be asked {method}")
        self._last += 1
        name = f"holdfast-{self._last}"
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[name] = future
        try:
            self.push(frames.request(name, method, frames.plain(params)), about)
            return await asyncio.wait_for(future, limits.INPUT_SECONDS)
        except TimeoutError:
            raise frames.RpcError(frames.INTERNAL_ERROR, "the client gave no answer") from None
        finally:
            del self._asked[name]

    def answered(self, frame: frames.Frame) -> None:
        """The client answers what it was asked; an answer to anything else counts for nothing."""
        future = self._asked.get(str(frame.id))
        if future is None or future.done():
            return
        if frame.error is not frames.UNSET:
            future.set_exception(frames.error_of(frame.error))
        else:
            future.set_result(frames.raw(frame.result))

    async def answered_all(self) -> None:
        """Wait until no request of this client is open."""
        while self.exchanges:
            self._idle.clear()
            await self._idle.wait()

    def closed(self, about: frames.Id) -> None:
        """A request is being answered."""
        self.exchanges.pop(about, None)
        if not self.exchanges:
            self._idle.set()

    def leave(self) -> list[Exchange]:
        """The client is gone: the requests for which nobody waits any more."""
        left = list(self.exchanges.values())
        self.exchanges.clear()
        for one in left:
            one.gone = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(frames.RpcError(frames.INTERNAL_ERROR, "the client is gone"))
        return left
