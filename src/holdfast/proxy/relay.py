"""One call of a model over the wire: bytes pass through as they are, and are read on the side."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import msgspec
from yarl import URL

from holdfast.engine.verbs import spent
from holdfast.models import gemini, sse
from holdfast.models.dialects import Dialect
from holdfast.models.exchange import Answered, Asked, Usage
from holdfast.models.plain import mapping
from holdfast.models.prices import Prices, Row
from holdfast.proxy.providers import Headers, Provider, response_headers
from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside
from holdfast.values.ports import Clock

BUSY = frozenset({408, 429, 500, 502, 503, 504, 529})
"""Answers after which the same request may be made again, or elsewhere."""
_LAST = b'"finishReason"'
"""Stands in the last word of a stream of Gemini's."""
AWAY = "the client went away"
_LONG = "the answer is longer than what is read of one"

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Client:
    """Whoever waits for an answer. ``begun``: it has its first byte; ``ended``: all of it;
    ``gone``: it does not listen any more."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.ended = False
        self.gone = False
        self.asking: asyncio.Task[Any] | None = None
        """What asks the provider on its behalf, while it does."""

    async def head(self, status: int, headers: Headers) -> None:
        """Begin the answer."""
        self.begun = True
        if not self.gone:
            start = {"type": "http.response.start", "status": status, "headers": headers}
            await self._send(start)

    async def body(self, part: bytes, *, more: bool = True) -> None:
        """A part of the answer; the last one without ``more``."""
        self.ended = self.ended or not more
        if not self.gone:
            await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def whole(self, status: int, content: bytes, more: Headers | None = None) -> None:
        """An answer in one piece."""
        kind = (b"content-type", b"application/json")
        length = (b"content-length", b"%d" % len(content))
        await self.head(status, [kind, length, *(more or [])])
        await self.body(content, more=False)

    def leave(self, *, drain: bool) -> None:
        """It is gone: the call is given up, or goes on for the record only."""
        self.gone = True
        if self.asking is not None and not drain:
            self.asking.cancel()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a provider. ``counts``: only how many tokens it would be; ``content``: the
    bytes to send; ``body``: what they say; ``last``: nobody else is asked if this one is busy;
    ``row``: its price, if anybody knows."""

    provider: Provider
    dialect: Dialect
    asked: Asked
    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    content: bytes
    body: dict[str, Any] = {}
    counts: bool = False
    last: bool = True
    row: Row | None = None


class Wires(NamedTuple):
    """What relays share: connections, prices, time."""

    http: aiohttp.ClientSession
    prices: Prices
    clock: Clock


class Relay:
    """Performs one order for one client; what it makes of it is the step's value."""

    def __init__(self, wires: Wires, order: Order, client: Client) -> None:
        self.wires = wires
        self.order = order
        self.client = client
        self.attempts: list[dict[str, Any]] = []
        self.status = 0
        self.first_ms: float | None = None
        self.broken = ""
        self.value: dict[str, Any] | None = None
        self.read = Answered()
        """What the answer says, once there is a value."""
        self._begun = 0
        self._lines = sse.Lines()
        self._gather = order.dialect.gather()
        self._rest = bytearray()
        self._streams = False
        self._listed = False
        """It may come as a list, piece by piece (Gemini's streams without ``alt=sse``), and said no
        last word yet."""
        self._headers: Headers = []
        self._held: list[bytes] = []
        self._long = False
        self._unread = ""
        """Why the record lacks something that the client has."""

    async def perform(self, args: dict[str, Any]) -> dict[str, Any]:
        """Ask, pass on, read. Raises `Outside` if nothing could be had."""
        # INVARIANT D45: what was judged is what is sent
        if args.get("request") is not self.order.body and args.get("request") != self.order.body:
            raise Misuse("this would send another request than was judged")
        client = self.client
        client.asking = task = asyncio.current_task()
        assert task is not None
        try:
            if client.gone:
                self.broken = AWAY
                spent(tokens=0, money=0)
            else:
                await self._tries()
        except asyncio.CancelledError:
            if not client.gone or task.uncancel():
                raise  # this process stops
            self.broken = AWAY
        except Outside:
            if self.attempts and all(one.get("unsent") for one in self.attempts):
                spent(tokens=0, money=0)  # no provider got it
            raise
        finally:
            client.asking = None
        self.value = self._value()
        return self.value

    async def forward(self) -> None:
        """Ask and pass on, without a step."""
        await self._tries()
        await self.release()

    async def release(self) -> None:
        """Give the client what was held back until the step was recorded, and the end.

        INVARIANT D46: nobody has a whole answer that is not recorded.
        """
        client = self.client
        if not client.begun:
            await client.head(self.status, self._headers)
        if not self.broken:
            await client.body(self.order.provider.hide(b"".join(self._held)), more=False)

    # Asking -------------------------------------------------------------------------------------

    async def _tries(self) -> None:
        tries = self.order.provider.retries + 1
        for left in reversed(range(tries)):
            reply = await self._ask(final=not left)
            told = None
            if reply is not None:
                try:
                    told = reply.headers.get("retry-after")
                    if not (left and reply.status in BUSY):
                        await self._pass(reply)
                        if not (left and self.broken and not self.client.begun):
                            return
                        self._forget()
                    else:
                        self._note({"status": reply.status})
                finally:
                    reply.close()  # one that was read to its end is back in the pool by now
            await asyncio.sleep(_backoff(tries - left, told))

    def _forget(self) -> None:
        """An answer broke off before the client had anything of it: another one is asked for."""
        self._note({"error": self.broken})
        self.broken, self.first_ms = "", None
        self._rest.clear()
        self._held.clear()

    async def _ask(self, *, final: bool) -> aiohttp.ClientResponse | None:
        """The head of an answer; None: there is none, and it may be tried again."""
        order, provider = self.order, self.order.provider
        self._begun = self.wires.clock.ticks_ns()
        try:
            reply = await self.wires.http.request(
                order.method,
                _url(provider.target(order.path, order.query)),
                data=order.content or None,
                headers=provider.request_headers(order.headers),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            unsent = isinstance(error, aiohttp.ClientConnectorError)
            self._note({"error": _plainly(error), **({"unsent": True} if unsent else {})})
            if final:
                text = f"provider {provider.name} cannot be reached: {_plainly(error)}"
                raise Outside(text) from None
            return None
        if 300 <= reply.status < 400:
            reply.close()
            raise Outside(f"provider {provider.name} answers with a redirect: correct its url")
        return reply

    def _note(self, attempt: dict[str, Any]) -> None:
        took = (self.wires.clock.ticks_ns() - self._begun) / 1e6
        self.attempts.append({**attempt, "ms": round(took, 1)})

    async def _pass(self, reply: aiohttp.ClientResponse) -> None:
        """INVARIANT D38: what the provider sends reaches the client as it is, each piece of a
        stream when it comes, but for its last word, which waits for the record."""
        client, provider = self.client, self.order.provider
        self.status = reply.status
        self._headers = response_headers(reply.raw_headers, provider)
        self._streams = reply.content_type == "text/event-stream" and reply.status < 400
        asked = self.order.dialect.name == gemini.NAME and self.order.asked.stream
        self._listed = asked and not self._streams and reply.status < 400
        if self._streams:
            await client.head(reply.status, self._headers)
        try:
            while part := await reply.content.readany():
                if self.first_ms is None:
                    self.first_ms = (self.wires.clock.ticks_ns() - self._begun) / 1e6
                await self._take(provider.hide(part))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.broken = f"the provider's answer broke off: {_plainly(error)}"

    async def _take(self, part: bytes) -> None:
        """Read a piece, and pass it on or hold it."""
        if self._streams:
            for event in self._lines.feed(part):
                self._gather.take(event)
            if not self._gather.done:
                await self.client.body(part)
                return
        elif self._long or len(self._rest) + len(part) > limits.WIRE_BODY_BYTES:
            await self._overflow(part)
            return
        else:
            self._rest += part
        self._held.append(part)
        if self._listed:
            # the name may lie in two pieces; in texts, its quotes are escaped
            last = self._rest.find(_LAST, -len(part) - len(_LAST)) >= 0
            self._listed = self._rest.startswith(b"[") and not last
            text = part.rstrip()  # space alone may come after the end
            if self._listed and text and not text.endswith(b"]"):
                await self._let_go()

    async def _overflow(self, part: bytes) -> None:
        """It is longer than what is read of one: it passes, unread."""
        self._held.append(part)
        self._long = True
        await self._let_go()

    async def _let_go(self) -> None:
        """The client has what was held back so far."""
        if not self.client.begun:
            await self.client.head(self.status, self._headers)
        for one in self._held:
            await self.client.body(one)
        self._held.clear()

    # Reading ------------------------------------------------------------------------------------

    def _message(self) -> Any:
        """The whole message in the dialect's own form, or what there is of it."""
        if self._streams:
            for event in self._lines.close():
                self._gather.take(event)
            ended = self._gather.done or self._gather.error
            if not ended:
                self._unread = "the stream ended before its last word"
            if self._lines.broken:
                self._unread = _LONG
            return self._gather.message
        if self._long:
            self._unread = _LONG
            return None
        whole = self.order.provider.hide(bytes(self._rest))
        found = sse.decoded(whole)
        if isinstance(found, list) and self.order.dialect.name == gemini.NAME:  # streamed as a list
            for one in found:
                self._gather.take(sse.Event("", one))
            return self._gather.message
        return whole.decode("utf-8", "replace") if found is None else found

    def _value(self) -> dict[str, Any]:
        message = self._message()
        self.read = read = self.order.dialect.answer(mapping(message))
        value: dict[str, Any] = {
            "status": self.status,
            "response": message,
            "usage": None if read.usage is None else msgspec.to_builtins(read.usage),
            "usage_verbatim": read.verbatim,
            "price": self._settle(read),
            "first_ms": None if self.first_ms is None else round(self.first_ms, 1),
            "finish": read.finish,
        }
        if error := self._gather.error or read.error:
            value["error"] = error[: limits.ERROR_TEXT_CHARS]
        if broken := self.broken or self._unread:
            value["broken"] = broken
        if self.attempts:
            value["attempts"] = self.attempts
        return value

    def _settle(self, read: Answered) -> dict[str, Any] | None:
        """Tell budgets what was used; the price row that counts.

        INVARIANT D39: an answer that broke off, or does not say its usage, tells nothing: then what
        was reserved for it counts. A price that nobody knows is said to be unknown.
        """
        order = self.order
        if self.status >= 400 or (order.counts and self.status):
            spent(tokens=0, money=0)
            return None
        row = order.row
        if row is None and read.model not in ("", order.asked.model):
            now, provider = self.wires.clock.now_ms(), order.provider
            row = self.wires.prices.row(provider.name, read.model, now, provider.url)
        whole = not (self.broken or self._unread or self._gather.error)
        usage = read.usage if whole else None
        if row is None:
            if usage is not None:
                spent(tokens=usage.total)
            unknown = self.wires.prices.why_unknown(order.provider.name, order.asked.model)
            return {"unknown": unknown}
        found = row.told(usage or Usage())
        if usage is not None:
            found["money"] = row.cost(usage)
            spent(tokens=usage.total, money=found["money"])
        return found


@functools.lru_cache(maxsize=limits.PREFIX_KEPT_ITEMS)
def _known(address: str) -> URL:
    return URL(address, encoded=True)


def _url(address: str) -> URL:
    """An address as it is. What has a query may hold a client's key, and is not kept."""
    return URL(address, encoded=True) if "?" in address else _known(address)


def _plainly(error: BaseException) -> str:
    """What failed, without addresses: they may hold a key."""
    inner = getattr(error, "os_error", error)
    text = getattr(inner, "strerror", None)
    return text if isinstance(text, str) and text else type(error).__name__


def _backoff(attempt: int, told: str | None) -> float:
    """Seconds until the next attempt: as the provider says, else doubling."""
    try:
        wait = float(told) if told else 0.5 * 2**attempt
    except ValueError:
        wait = 0.5 * 2**attempt
    return min(max(0.0, wait), limits.WIRE_RETRY_SECONDS)
