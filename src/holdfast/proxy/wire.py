"""The model wire: an ASGI application between clients and the providers of models.

Each call is one step of a guest run (kind ``model``): judged, budgeted and recorded, while its
bytes pass as they are. `Wire.admit` gives a guest's clients their token; a client reaches provider
NAME at ``/NAME`` with that token where it would put its key, or at ``/~TOKEN/NAME``.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hmac
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import aiohttp
import msgspec

from holdfast.engine.described import Described, Perform, journal_name
from holdfast.engine.guest import Guest, Taken
from holdfast.models import gemini, sse
from holdfast.models.dialects import DIALECTS, asked_at
from holdfast.models.estimate import worst
from holdfast.models.exchange import Answered, Asked, Usage
from holdfast.models.plain import mapping
from holdfast.models.prefix import Break, Prefixes, seen
from holdfast.models.prices import Prices
from holdfast.models.words import Heard, strings_in
from holdfast.proxy.bodies import read_body, says_twice
from holdfast.proxy.providers import Provider, check, given_token, without_token
from holdfast.proxy.refusals import Refusal, refusal_of, tell
from holdfast.proxy.relay import BUSY, Client, Order, Relay, Send, Wires
from holdfast.proxy.retelling import retell
from holdfast.proxy.tape import Tape
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import HoldfastError, Misuse, NotFound, Suspended
from holdfast.values.ports import Clock, Dice

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a call goes that a provider was too busy for, or unreachable. ``when``: pattern of
    ``PROVIDER.MODEL``; ``to``: another provider of the same dialect; ``model``: what it is asked
    for ("": the same, and the same bytes)."""

    when: str
    to: str
    model: str = ""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a wire behaves. ``patience``: seconds that a call waits for a person; ``drain``: a call
    whose client went away is read to its end; ``record``: with a tape, what is not on it is asked
    of the provider."""

    fallback: tuple[Fallback, ...] = ()
    patience: float = limits.WIRE_PATIENCE_SECONDS
    drain: bool = False
    record: bool = False


class _Line:
    """One guest, and what its clients said so far."""

    def __init__(self, guest: Guest, mark: str) -> None:
        self.guest = guest
        self.mark = mark
        self.heard = Heard()
        self.prefixes: defaultdict[str, Prefixes] = defaultdict(Prefixes)
        """By model: each keeps what it read apart."""
        self.known: set[int] = set()
        self.unpriced: set[str] = set()


class Wire:
    """The application. ``say`` gets a line for whoever watches. Close it when it is done with."""

    def __init__(
        self,
        providers: Iterable[Provider],
        *,
        clock: Clock,
        dice: Dice,
        rules: Rules | None = None,
        prices: Prices | None = None,
        tape: Tape | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._providers = {one.name: check(one) for one in providers}
        self._clock = clock
        self._dice = dice
        self._rules = rules or Rules()
        self._prices = prices or Prices()
        self._tape = tape
        self._say = say
        self._lines: dict[str, _Line] = {}
        self._tools: dict[tuple[str, str], Described] = {}
        self._wires: Wires | None = None
        for one in self._rules.fallback:
            if one.to not in self._providers:
                raise Misuse(f"fallback to {one.to!r}: no upstream has that name")

    def admit(self, guest: Guest) -> str:
        """A new token for the clients of ``guest``: all that come with it are that run."""
        token = "hf-" + base64.urlsafe_b64encode(self._dice.take(32)).decode().rstrip("=")
        mark = digest(token.encode())
        self._lines[mark] = _Line(guest, mark)
        return token

    def dismiss(self, token: str) -> None:
        """The token is worth nothing any more."""
        self._lines.pop(digest(token.encode()), None)

    async def close(self) -> None:
        """Close the connections to providers."""
        if self._wires is not None:
            await self._wires.http.close()
            self._wires = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._request(scope, receive, Client(send))

    async def _request(self, scope: Mapping[str, Any], receive: Receive, client: Client) -> None:
        path = _path(scope)
        name, counts = asked_at(path)
        dialect = DIALECTS[name or "openai.chat"]
        try:
            line, provider, rest, token = self._find(scope, path)
            content = await read_body(receive)
            if content is None:
                return  # it went away before it had said what it wants
            headers, query = without_token(token, scope["headers"], scope.get("query_string", b""))
            order = Order(
                provider=provider, dialect=dialect, asked=Asked(dialect.name, ""),
                method=scope["method"], path=rest, query=query, headers=headers, content=content,
                counts=counts,
            )  # fmt: skip
            if name and scope["method"] == "POST":
                await self._call(line, _read(order), receive, client)
            else:
                await self._other(order, client, asks=bool(name))
        except Refusal as refusal:
            await tell(client, dialect, refusal)

    def _find(self, scope: Mapping[str, Any], path: str) -> tuple[_Line, Provider, str, str]:
        """Who asks whom for which path, with which token.

        INVARIANT D40: without a token that was given out nothing is read, sent or said.
        """
        token = ""
        if path.startswith("/~"):
            token, _, path = path[2:].partition("/")
            path = f"/{path}"
        token = token or given_token(scope)
        mark = digest(token.encode("utf-8", "surrogateescape"))
        known = [one for one in self._lines.values() if hmac.compare_digest(one.mark, mark)]
        if not known:
            raise Refusal(401, "this is no token of this proxy")
        _, name, rest = [*path.split("/", 2), "", ""][:3]
        provider = self._providers.get(name)
        if provider is None:
            names = ", ".join(f"/{one}" for one in self._providers)
            raise Refusal(404, f"no provider is at /{name[:80]}: {names}")
        below = f"/{rest}" if rest else ""
        if any(odd in below for odd in ("..", "//", "%", "\\", token)):
            raise Refusal(404, "this path is not plain")
        return known[0], provider, below, token

    # Calls of models ----------------------------------------------------------------------------

    async def _call(self, line: _Line, order: Order, receive: Receive, client: Client) -> None:
        """One call, and the same of others while providers are too busy for it."""
        task = asyncio.current_task()
        assert task is not None

        def leave(_: asyncio.Future[None]) -> None:
            waits = client.asking is None  # for a person, or was not begun
            client.leave(drain=self._rules.drain)
            if waits:
                task.cancel()

        leaving = asyncio.ensure_future(_gone(receive))
        leaving.add_done_callback(leave)
        try:
            try:
                await self._listen(line, order)
            except (HoldfastError, Suspended) as error:
                raise refusal_of(error) from None
            for one in self._choices(order):
                relay = Relay(self._shared(), one, client)
                taken = await self._attend(line, relay)
                if taken is None or await self._answered(line, relay, taken):
                    return
        except asyncio.CancelledError:
            if not client.gone or task.uncancel():
                raise
        finally:
            leaving.remove_done_callback(leave)
            leaving.cancel()

    def _choices(self, order: Order) -> list[Order]:
        """The order, and as it goes to others by rule."""
        found = [order]
        for rule in self._rules.fallback:
            name = f"{found[-1].provider.name}.{found[-1].asked.model}"
            if fnmatch.fnmatchcase(name, rule.when):
                provider = self._providers[rule.to]
                other = msgspec.structs.replace(order, provider=provider)
                found.append(_asking_for(other, rule.model) if rule.model else other)
        now = self._clock.now_ms()
        return [
            msgspec.structs.replace(
                one, last=place == len(found) - 1,
                row=self._prices.row(one.provider.name, one.asked.model, now, one.provider.url),
            )
            for place, one in enumerate(found)
        ]  # fmt: skip

    async def _attend(self, line: _Line, relay: Relay) -> Taken | None:
        """Take the step; None if the client is gone, or has had something of it."""
        client, order = relay.client, relay.order
        try:
            return await self._step(line, relay)
        except (HoldfastError, Suspended) as error:
            if client.gone or client.begun:
                self._say(f"{order.provider.name}.{order.asked.model}: {error}")
                return None
            refusal = refusal_of(error)
            if refusal.status == 502 and not order.last:
                return Taken({"status": 502}, "", "", replayed=False)
            raise refusal from None

    async def _step(self, line: _Line, relay: Relay) -> Taken:
        order, guest = relay.order, line.guest
        args = {
            "provider": order.provider.name,
            "model": order.asked.model,
            "dialect": f"{order.dialect.name}/count" if order.counts else order.dialect.name,
            "request": order.body,
        }
        patience = self._rules.patience
        if self._tape is not None:
            found = self._tape.take(args)
            if found is not None:
                tool = self._tool(order, found.perform, free=True)
                return await guest.step(tool, args, patience=patience)
            if not self._rules.record:
                name = self._tool(order).name
                raise NotFound(
                    f"nothing recorded answers this request of {name}: record it first, or "
                    "replay with --record"
                )

        async def perform(args: dict[str, Any]) -> dict[str, Any]:
            value = await relay.perform(args)
            # before the client has it: what it makes of it comes later
            _hear(line, relay.read)
            return value

        tool = self._tool(order, perform)
        taken = await guest.step(tool, args, patience=patience, reads=False)
        if taken.value is not None:
            return taken
        if relay.value is None:  # it was performed for another call, which is gone
            return await guest.step(self._tool(order), args, key=taken.key)
        self._price_told(line, order, relay.value)
        return taken._replace(value=relay.value)

    def _tool(
        self, order: Order, perform: Perform | None = None, *, free: bool = False
    ) -> Described:
        """The model as the journal names it, with what this call can use at most."""
        of = (order.provider.name, order.asked.model)
        known = self._tools.get(of)
        if known is None:
            if len(self._tools) >= limits.PREFIX_KEPT_ITEMS:
                self._tools.clear()
            known = Described(journal_name(*of), _unasked, effect="read", kind="model")
            self._tools[of] = known

        def estimate(**args: Any) -> Mapping[str, float]:
            del args
            none = free or order.counts
            most = Usage() if none else worst(order.asked, len(order.content))
            told = {"tokens": float(most.total)}
            if order.row is not None:
                told["money"] = order.row.cost(most)
            return told

        tool = known.with_(perform or _unasked)
        tool.estimate = estimate
        return tool

    async def _answered(self, line: _Line, relay: Relay, taken: Taken) -> bool:
        """Whether the client has its answer: from the provider, or told again."""
        client, order, value = relay.client, relay.order, mapping(taken.value)
        failed = value.get("status") in BUSY or "broken" in value
        if failed and not (client.begun or client.gone or order.last):
            self._delivered(line, taken)
            return False
        try:
            if client.begun or (relay.value is not None and not relay.broken):
                await relay.release()
            else:
                _hear(line, order.dialect.answer(mapping(value.get("response"))))
                await retell(client, order, value)
        finally:
            self._delivered(line, taken)
        return True

    @staticmethod
    def _delivered(line: _Line, taken: Taken) -> None:
        if taken.key:
            line.guest.delivered(taken.key)

    # What is noticed ----------------------------------------------------------------------------

    async def _listen(self, line: _Line, order: Order) -> None:
        """Tell the run what its person said, and notice a broken prefix."""
        if order.counts:
            return
        marks = seen(order.asked)
        if len(line.prefixes) > limits.PREFIX_KEPT_ITEMS:
            line.prefixes.clear()
        name = f"{order.dialect.name} {order.provider.name}.{order.asked.model}"
        broken = line.prefixes[name].take(marks)
        if len(line.known) > limits.WIRE_LEARN_ENTRIES:
            line.known.clear()
        fresh = [
            message
            for message, mark in zip(order.asked.messages, marks.messages, strict=True)
            if mark not in line.known
        ]
        line.known.update(marks.messages)
        for text in line.heard.take(order.dialect, fresh):
            await line.guest.said(text)
        if broken is not None:
            await self._alarm(line, order, broken)

    async def _alarm(self, line: _Line, order: Order, broken: Break) -> None:
        name = journal_name(order.provider.name, order.asked.model)
        where = "the tools" if broken.at < 0 else f"message {broken.at + 1} of {broken.of}"
        text = (
            f"{name}: {where} differ{'s' if broken.at >= 0 else ''} from the request before, so "
            f"{broken.size:,} bytes that the provider had kept are read and paid anew"
        )
        found = {**broken._asdict(), "model": name, "text": text}
        await line.guest.found("model.prefix", found, by="door:model")
        self._say(text)

    def _price_told(self, line: _Line, order: Order, value: Any) -> None:
        unknown = mapping(mapping(value).get("price")).get("unknown")
        if isinstance(unknown, str) and unknown not in line.unpriced:
            line.unpriced.add(unknown)
            self._say(f"{unknown}; budgets of money do not count it")

    # Everything else ----------------------------------------------------------------------------

    async def _other(self, order: Order, client: Client, *, asks: bool) -> None:
        """A list of models passes; all else only where the settings say so: nobody judges it.
        ``asks``: a model is asked at this path, by another method."""
        # INVARIANT D49: what could be a call of a model under another method is no list of models
        reads = order.method in {"GET", "HEAD"} and not order.content and not asks
        lists = reads and "/models/" in f"{order.path}/"
        root = order.method in {"GET", "HEAD"} and order.path in {"", "/"}
        if root:
            await client.whole(200, b"{}")
            return
        if not lists and not order.provider.other:
            raise Refusal(
                403, f"{order.method} {order.path[:200]} is no call of a model that this proxy "
                f"reads; `other: true` of {order.provider.name} passes such requests unread",
            )  # fmt: skip
        if self._tape is not None and not self._rules.record:
            raise Refusal(409, "only recorded calls of models are answered")
        relay = Relay(self._shared(), order, client)
        try:
            await relay.forward()
        except HoldfastError as error:
            raise refusal_of(error) from None

    def _shared(self) -> Wires:
        if self._wires is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=limits.WIRE_CONNECT_SECONDS,
                sock_read=limits.WIRE_SILENCE_SECONDS,
            )  # fmt: skip
            http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False, timeout=timeout, trust_env=False,
                skip_auto_headers=("user-agent", "accept", "content-type"),
            )  # fmt: skip
            self._wires = Wires(http, self._prices, self._clock)
        return self._wires


def _hear(line: _Line, heard: Answered) -> None:
    """Note what a model said, so that it does not come back as a person's words."""
    line.heard.tell([heard.text, *strings_in([call.arguments for call in heard.calls])])


async def _unasked(args: dict[str, Any]) -> Any:
    raise Misuse("a call of a model is performed by the wire that took it")


def _path(scope: Mapping[str, Any]) -> str:
    """The path below where the application is mounted, as it was sent."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1").removeprefix(scope.get("root_path", ""))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _read(order: Order) -> Order:
    """The order with what its body asks for."""
    content, headers = order.content, dict(order.headers)
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Refusal(415, "this proxy reads no compressed requests: send it as it is")
    body = sse.decoded(content)
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be a JSON object that this proxy can read")
    # INVARIANT D42: a request that providers could read otherwise than the gate did goes nowhere
    if twice := says_twice(content, body):
        raise Refusal(400, f"the body says {twice[:80]!r} twice")
    told = body
    if order.dialect.name == gemini.NAME:
        streams = order.path.endswith(":streamGenerateContent")
        told = {**body, "model": gemini.model(order.path), "stream": streams}
    asked = order.dialect.request(told)
    if not asked.model or not asked.model.isprintable() or len(asked.model) > limits.NAME_MAX_BYTES:
        raise Refusal(400, "the request must name a model")
    return msgspec.structs.replace(order, asked=asked, body=body)


def _asking_for(order: Order, model: str) -> Order:
    """The same for another model: its bytes are new ones."""
    if order.dialect.name == gemini.NAME:
        head, _, tail = order.path.rpartition("/models/")
        path = f"{head}/models/{model}:{tail.partition(':')[2]}"
        return _read(msgspec.structs.replace(order, path=path))
    body = {**order.body, "model": model}
    return _read(msgspec.structs.replace(order, content=msgspec.json.encode(body)))
