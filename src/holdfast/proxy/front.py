"""The front: what clients ask, and which server answers. A call of a tool is a step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from holdfast.proxy import eras, frames, naming
from holdfast.proxy.answers import Answers
from holdfast.proxy.call import Call, came_with
from holdfast.proxy.exchange import Exchange, Peer
from holdfast.proxy.links import Links
from holdfast.proxy.listening import Listening
from holdfast.proxy.longcalls import LongCalls
from holdfast.proxy.stepping import Stepping
from holdfast.proxy.upstream import Server, Upstream, Who
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse


class Front:
    """Stands between clients and ``servers``. Every call of a tool goes through ``stepping``,
    whose guest run they all share; everything else passes. Whoever owns it feeds it what clients
    send (`take`) and says when they are gone (`left`). ``failed``: servers that cannot be reached
    now, and why; each is told to ``say``."""

    def __init__(self, servers: Sequence[Server], stepping: Stepping) -> None:
        if not servers:
            raise Misuse("mcp: say which server: a command, --url, or a --config that names some")
        self.servers: Mapping[str, Server] = {one.name: one for one in servers}
        self.stepping = stepping
        self.say: Callable[[str], None] = lambda _: None
        self.failed: dict[str, HoldfastError] = {}
        self.shared = Links(self.servers, None, self._heard, self._tried)
        self.listening = Listening()
        self.answers = Answers(self.servers, self.listening, LongCalls())
        self._links: list[Links] = []
        self._asked: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _tried(self, name: str, error: HoldfastError | None) -> None:
        before = self.failed.pop(name, None)
        if error is not None:
            self.failed[name] = error
            if str(before) != str(error):  # it is tried again at every list
                self.say(f"server {name}: {error}")

    # What clients send --------------------------------------------------------------------------

    def take(self, peer: Peer, frame: frames.Frame, stream: Any = None) -> Exchange | None:
        """A message of a client. A request becomes an exchange (``stream``: where its answer goes),
        carried out beside the caller; anything else is done at once. `Broken` if it cannot be."""
        if frame.is_answer:
            peer.answered(frame)
            return None
        params = frames.fields(frame.params)
        if frame.id is frames.UNSET:
            self._noted(peer, str(frame.method), params)
            return None
        # INVARIANT D11: two requests with one id have no two answers: the second is refused
        if frame.id in peer.exchanges:
            raise frames.Broken(frames.INVALID_REQUEST, "a request with this id is open", None)
        if len(peer.exchanges) >= limits.CALLS_OPEN_ITEMS:
            text = f"{limits.CALLS_OPEN_ITEMS:,} requests are open: wait for some"
            raise frames.Broken(frames.INTERNAL_ERROR, text, frame.id)
        exchange = Exchange(peer, frame, params)
        exchange.stream = stream
        peer.exchanges[exchange.id] = exchange
        self._go(self._carry_out(exchange))
        return exchange

    def _go(self, doing: Any) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _noted(self, peer: Peer, method: str, params: dict[str, Any]) -> None:
        if method == "notifications/cancelled":
            about = params.get("requestId")
            found = peer.exchanges.get(about) if isinstance(about, int | str) else None
            if found is not None:
                peer.closed(found.id)
                found.gone = True
                if found.stream is not None:
                    # INVARIANT D195: what is cancelled keeps no connection open over HTTP
                    found.stream.end()
                self._cancelled(found, str(params.get("reason") or ""))
        elif method not in ("notifications/initialized", "notifications/progress"):
            links = self._links_of(peer, modern=False)
            for upstream in list(links.open.values()):
                if not upstream.modern:
                    self._go(upstream.note(method, params))

    def _cancelled(self, exchange: Exchange, reason: str) -> None:
        self.listening.end(exchange)
        for call in self._calls():
            if call.exchange is exchange:
                if call.sent is not None:
                    self._go(call.sent[0].cancel(call.sent[1], reason))
                call.cancel()

    def left(self, exchanges: Sequence[Exchange]) -> None:
        """Nobody waits for these any more. INVARIANT D12: what is being carried out goes on, and
        its outcome is recorded; what only waits is left to whoever asks the same again."""
        for exchange in exchanges:
            exchange.gone = True
            self.listening.end(exchange)
            for call in self._calls():
                waits = call.exchange is exchange and not call.begun
                if waits and call.task is not None:
                    call.task.cancel()

    def gone(self, peer: Peer) -> None:
        """A client is gone, and its own connections with it once nothing is carried out there."""
        self.left(peer.leave())
        if peer.links is not None:
            self._go(self._let_go(peer.links))

    async def _let_go(self, links: Links) -> None:
        while links.calls:
            await asyncio.wait([call.task for call in links.calls.values() if call.task])
        await links.close()
        if links in self._links:
            self._links.remove(links)

    def _calls(self) -> list[Call]:
        return [call for links in (self.shared, *self._links) for call in links.calls.values()]

    def _links_of(self, peer: Peer, *, modern: bool) -> Links:
        if modern:
            return self.shared
        if peer.links is None:
            peer.links = Links(self.servers, peer, self._heard, self._tried)
            self._links.append(peer.links)
        return peer.links

    # Carrying out -------------------------------------------------------------------------------

    async def _carry_out(self, exchange: Exchange) -> None:
        links = self._links_of(exchange.peer, modern=exchange.modern)
        try:
            if exchange.modern:
                _check_envelope(exchange)
            if exchange.method in eras.ASKING:
                await self._call(exchange, links)
                return
            raw = await self.answers.answer(exchange, links)
        except frames.RpcError as error:
            await exchange.fail(error.code, error.text, error.data)
        except frames.Broken as error:
            await exchange.fail(error.code, str(error))
        except (HoldfastError, ConnectionError) as error:
            await exchange.fail(frames.INTERNAL_ERROR, str(error))
        except Exception as error:  # noqa: BLE001 - whatever peers say, who asks is answered
            if exchange.peer.exchanges.get(exchange.id) is exchange:
                await exchange.fail(frames.INTERNAL_ERROR, frames.unexpected(error))
        else:
            if raw is not None:
                await exchange.result(raw)

    # Calls --------------------------------------------------------------------------------------

    async def _call(self, exchange: Exchange, links: Links) -> None:
        """A request about which a server may ask back: a call, or more of one."""
        mark, brought = came_with(exchange.params)
        call = self._asked.get(mark)
        key = self.stepping.key_of(exchange)
        if call is not None and call.over:
            call = None
        if call is not None and call.key != key:
            raise frames.RpcError(frames.INVALID_PARAMS, "requestState is of another request")
        if call is None and exchange.method == "tools/call":
            # INVARIANT D13: a request that repeats one for which nobody waits is that one
            call = next((one for one in self._calls() if one.key == key and not one.attended), None)
        if call is not None:
            await call.attach(exchange, brought)
            return
        call = Call(exchange, key, self.stepping.mark())
        call.first = brought
        self._asked[call.mark] = call
        links.calls[id(call)] = call
        call.task = asyncio.current_task()
        try:
            await self.stepping.carry_out(self.answers, links, call, exchange.params)
        finally:
            links.calls.pop(id(call), None)
            self._asked.pop(call.mark, None)

    async def schema_of(self, name: object) -> Any:
        """The schema of a tool's arguments, for modern clients; None if it is not known."""
        try:
            found = await naming.whose(self.shared, "tools", str(name), Who())
            definition = None if found is None else await found[0].tool(found[1], Who())
        except (HoldfastError, ConnectionError, frames.RpcError):
            return None
        return None if definition is None else definition.get("inputSchema")

    # What servers say to nobody in particular ---------------------------------------------------

    def _heard(self, links: Links, upstream: Upstream, frame: frames.Frame) -> None:
        method = str(frame.method)
        params = bytes(frame.params) if frame.params is not frames.UNSET else b"{}"
        links.names.clear()
        if method == "notifications/tasks":
            self.answers.long.heard(method, frames.fields(params), params)
        self.listening.heard(links, upstream, method, frames.flat(params))

    async def settle(self, seconds: float) -> None:
        """Let what is being carried out end, for so long."""
        tasks = [call.task for call in self._calls() if call.begun and call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    @property
    def busy(self) -> bool:
        """Whether something is being carried out."""
        return any(call.begun for call in self._calls())

    async def close(self) -> None:
        """Let go of all servers. What is being carried out is cut off."""
        self.stepping.closed = True
        await self.listening.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in (self.shared, *self._links)))


def _check_envelope(exchange: Exchange) -> None:
    """What a modern request must say of itself."""
    meta = exchange.meta
    if eras.CAPABILITIES not in meta or not isinstance(meta[eras.CAPABILITIES], dict):
        text = f"params._meta lacks {eras.CAPABILITIES}"
        raise frames.RpcError(frames.INVALID_PARAMS, text)
    version = meta[eras.VERSION]
    if not isinstance(version, str):
        raise frames.RpcError(frames.INVALID_PARAMS, f"{eras.VERSION} must be a text")
    if version != eras.MODERN:
        said = {"supported": [eras.MODERN, *eras.LEGACY], "requested": version}
        raise frames.RpcError(frames.UNSUPPORTED_VERSION, "Unsupported protocol version", said)
