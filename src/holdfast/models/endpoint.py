"""Asking a model over the wire, with aiohttp; and what an answer is as the value of a step."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from holdfast.engine import scope
from holdfast.engine.verbs import attempt
from holdfast.models import chat, messages, responses, sse
from holdfast.models.bodies import Asking, body
from holdfast.models.dialects import named
from holdfast.models.exchange import Answered, Usage
from holdfast.models.known import PROVIDERS
from holdfast.models.plain import dicts, mapping, string
from holdfast.models.prices import Prices
from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside
from holdfast.values.masking import masked
from holdfast.values.ports import SystemClock

Heard = Callable[[str], None]
"""Is told each piece of text as it comes."""

_CLOCK = SystemClock()
_PRICES = Prices()
_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_AFTER = {chat.NAME: "/chat/completions", responses.NAME: "/responses", messages.NAME: "/messages"}


class Source(Protocol):
    """Where answers come from: an endpoint, a library, a script, a recording."""

    dialect: str

    def request(self, asking: Asking) -> dict[str, Any]:
        """What is recorded of a request: its body."""
        ...

    async def ask(self, args: Mapping[str, Any], heard: Heard | None) -> dict[str, Any]:
        """The value of a step with these arguments (decision 0012); `Outside` if there is none."""
        ...


KNOWN = {name: one for name, one in PROVIDERS.items() if one.dialect}
"""Providers that are asked from here without more being said."""


def base_of(provider: str) -> str:
    """The base URL that the environment says for a provider, or the one it is known by; ""."""
    told = os.environ.get(f"{_word(provider)}_BASE_URL", "")
    return told or (KNOWN[provider].url if provider in KNOWN else "")


def _word(provider: str) -> str:
    return provider.upper().replace("-", "_").replace(".", "_")


def check_url(url: str) -> str:
    """``url``, if it can be a base; `Misuse` without its text, which may hold a key."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise Misuse("base_url must be an http or https address")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise Misuse("base_url may hold no query, fragment, user or password: say key= instead")
    return url.rstrip("/")


class Endpoint:
    """An endpoint that speaks one of the written dialects. ``url`` and ``key``: "" for what the
    environment says when it is asked (``PROVIDER_BASE_URL``, ``PROVIDER_API_KEY``)."""

    def __init__(
        self,
        provider: str,
        dialect: str,
        *,
        url: str = "",
        key: str = "",
        timeout: float = limits.MODEL_SECONDS,
        retries: int = 0,
    ) -> None:
        if dialect not in _AFTER:
            raise Misuse(f"dialect {dialect!r} is not asked directly: {', '.join(_AFTER)}")
        self.provider = provider
        self.dialect = dialect
        self.timeout = timeout
        self.retries = retries
        self._url = check_url(url) if url else ""
        self._key = key

    def __repr__(self) -> str:  # no key may get into a log
        return f"<endpoint {self.provider}, {self.dialect}>"

    @property
    def url(self) -> str:
        """The base URL."""
        return self._url or check_url(base_of(self.provider))

    def _headers(self) -> tuple[dict[str, str], str]:
        variable = f"{_word(self.provider)}_API_KEY"
        key = self._key or os.environ.get(variable, "")
        if not key and self.provider in KNOWN and self.url == KNOWN[self.provider].url:
            raise Misuse(f"provider {self.provider}: it wants a key: set {variable}, or say key=")
        if not (key.isascii() and key.isprintable()):
            raise Misuse(f"provider {self.provider}: its key cannot stand in a header")
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if self.dialect == messages.NAME:
            return headers | {"x-api-key": key, "anthropic-version": "2023-06-01"}, key
        return headers | ({"authorization": f"Bearer {key}"} if key else {}), key

    def _target(self) -> str:
        base = self.url
        if self.dialect == messages.NAME and not base.endswith("/v1"):
            base += "/v1"
        return base + _AFTER[self.dialect]

    def request(self, asking: Asking) -> dict[str, Any]:
        """The JSON body."""
        return body(self.dialect, asking)

    async def ask(self, args: Mapping[str, Any], heard: Heard | None) -> dict[str, Any]:
        """Ask once. `Outside` (retryable where it helps) for whatever is no whole answer."""
        import aiohttp

        headers, key = self._headers()
        reading = _Reading(args, key, heard)
        limit = aiohttp.ClientTimeout(self.timeout, sock_connect=limits.MODEL_CONNECT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(connector=await _connector(), connector_owner=False) as http,
                http.post(
                    self._target(), data=msgspec.json.encode(args["request"]), headers=headers,
                    timeout=limit, allow_redirects=False,
                ) as got,
            ):  # fmt: skip
                reading.begin(got.status, streams=got.content_type == "text/event-stream")
                async for part in got.content.iter_any():
                    reading.take(part)
        except TimeoutError:
            text = f"{reading.place}: no answer within {self.timeout:g} s"
            raise Outside(text, retryable=not reading.told) from None
        except (aiohttp.ClientError, OSError) as error:
            text = f"{reading.place}: the connection failed: {_plainly(error)}"
            raise Outside(text, retryable=not reading.told) from None
        if reading.status in _BUSY and attempt() <= self.retries:
            await _wait(got.headers.get("retry-after", ""))
        return reading.value(self.url)


def _plainly(error: BaseException) -> str:
    """What failed, without addresses: they may hold a key."""
    text = getattr(getattr(error, "os_error", error), "strerror", None)
    return text if isinstance(text, str) and text else type(error).__name__


async def _wait(told: str) -> None:
    """Wait as long as the endpoint wants, before the step asks again."""
    try:
        seconds = float(told)
    except ValueError:
        return
    await asyncio.sleep(min(max(0.0, seconds), limits.MODEL_RETRY_SECONDS))


class _Reading:
    """One answer, as its bytes come. ``told``: somebody heard a piece of its text already."""

    def __init__(self, args: Mapping[str, Any], key: str, heard: Heard | None) -> None:
        self.place = f"model {args['provider']}:{args['model']}"
        self.status = 0
        self.told = False
        self._args = args
        self._key = key.encode()
        self._heard = heard
        self._held = ""
        self._dialect = named(args["dialect"])
        self._began = _CLOCK.ticks_ns()
        self._first: float | None = None
        self._streams = False
        self._lines = sse.Lines()
        self._gather = self._dialect.gather()
        self._whole = bytearray()

    def begin(self, status: int, *, streams: bool) -> None:
        """The head came."""
        self.status, self._streams = status, streams and status < 400

    def take(self, part: bytes) -> None:
        """A part of the body came."""
        if self._first is None:
            self._first = round((_CLOCK.ticks_ns() - self._began) / 1e6, 1)
        if not self._streams:
            self._whole += part
            if len(self._whole) > limits.WIRE_BODY_BYTES:
                raise Outside(f"{self.place}: its answer is longer than what is read of one")
            return
        for event in self._lines.feed(part):
            self._event(event)
        if self._lines.broken:
            raise Outside(f"{self.place}: its answer is longer than what is read of one")

    def _event(self, event: sse.Event) -> None:
        self._gather.take(event)
        piece = _piece(self._dialect.name, event) if self._heard is not None else ""
        if piece:
            self._say(piece)

    def _say(self, piece: str) -> None:
        """A piece goes on, but for an end of it that the next one could make the key (D65)."""
        key = self._key.decode()
        text = (self._held + piece).replace(key, "[key]") if key else piece
        most = range(min(len(key) - 1, len(text)), 0, -1)
        keep = next((n for n in most if text.endswith(key[:n])), 0)
        text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        if text and self._heard is not None:
            self.told = True
            self._heard(text)

    def value(self, url: str) -> dict[str, Any]:
        """The step's value; `Outside` if this is no whole answer."""
        if self._streams:
            for event in self._lines.close():
                self._event(event)
            message, error = self._gather.message, self._gather.error
            if message is None or not (self._gather.done or error):
                text = f"{self.place}: its answer broke off"
                raise Outside(text, retryable=not self.told)
            if self._held and self._heard is not None and not error:
                self._heard(self._held)
        else:
            message, error = sse.decoded(bytes(self._whole)), ""
        message = self._hidden(message)
        read = self._dialect.answer(mapping(message))
        error = error or read.error
        if error or self.status != 200 or not isinstance(message, dict):
            raise failed(
                self.place, self.status, self._hidden(error) or self._nothing(), told=self.told
            )
        return answered(self._args, message, read, first_ms=self._first, url=url)

    def _nothing(self) -> str:
        return "no text" if self.status != 200 else "what it sent is no JSON object"

    def _hidden(self, found: Any) -> Any:
        """INVARIANT D65: no answer and no error holds the key, should the endpoint repeat it; nor
        does a piece of a stream."""
        if not self._key:
            return found
        content = msgspec.json.encode(found)
        if self._key not in content:
            return found
        return msgspec.json.decode(content.replace(self._key, b"[key]"))


def failed(place: str, status: int, text: str, *, told: bool = False) -> Outside:
    """The error for an answer that is none."""
    performing = scope.call.get()
    if performing is not None:
        performing.spend({"tokens": 0, "money": 0})  # nobody charges for it
    shown = masked("".join(one if one.isprintable() else " " for one in text))
    retryable = (status in _BUSY or status == 200) and not told
    shown = shown[: limits.CHECKED_TEXT_CHARS]
    return Outside(f"{place}: status {status}: {shown}", retryable=retryable)


def answered(
    args: Mapping[str, Any],
    message: dict[str, Any],
    read: Answered,
    *,
    first_ms: float | None = None,
    url: str = "",
) -> dict[str, Any]:
    """The value of a model step (decision 0012); tells budgets what was used.

    INVARIANT D66: what an answer used is told once, by whoever asked the model; where it says
    nothing, or nobody knows the price, nothing is told, and what was reserved counts.
    """
    provider, now = args["provider"], _CLOCK.now_ms()
    models = dict.fromkeys((args["model"], read.model or args["model"]))
    rows = [_PRICES.row(provider, one, now, url) for one in models]
    row = next((one for one in rows if one is not None), None)
    price: dict[str, Any] = {"unknown": _PRICES.why_unknown(provider, args["model"])}
    if row is not None:
        price = {**msgspec.to_builtins(row), "currency": "USD"}
        if read.usage is not None:
            price["money"] = row.cost(read.usage)
    value = {
        "status": 200,
        "response": message,
        "usage": None if read.usage is None else msgspec.to_builtins(read.usage),
        "usage_verbatim": read.verbatim,
        "price": price,
        "first_ms": first_ms,
        "finish": read.finish,
    }
    tell(value)
    return value


def tell(value: Mapping[str, Any]) -> None:
    """Tell budgets what the answer in a step's value used."""
    performing, usage = scope.call.get(), value.get("usage")
    if performing is None or not usage:
        return
    spent: dict[str, float] = {"tokens": msgspec.convert(usage, Usage).total}
    money = mapping(value.get("price")).get("money")
    performing.spend(spent if money is None else {**spent, "money": money})


def worst_money(provider: str, model: str, usage: Any, url: str = "") -> float | None:
    """What so many tokens cost; None: nobody knows."""
    row = _PRICES.row(provider, model, _CLOCK.now_ms(), url)
    return None if row is None else row.cost(usage)


def _piece(dialect: str, event: sse.Event) -> str:
    """The text that an event of a stream adds to the answer."""
    found = mapping(event.data)
    if dialect == chat.NAME:
        choices = dicts(found.get("choices"))[:1]
        return "".join(string(mapping(one.get("delta")).get("content")) for one in choices)
    if dialect == responses.NAME:
        is_text = found.get("type") == "response.output_text.delta"
        return string(found.get("delta")) if is_text else ""
    delta = mapping(found.get("delta"))
    return string(delta.get("text")) if delta.get("type") == "text_delta" else ""


# ---- connections ---------------------------------------------------------------------------------

_POOLS: dict[asyncio.AbstractEventLoop, AsyncGenerator[Any]] = {}
_OPEN: dict[asyncio.AbstractEventLoop, Any] = {}


async def _connector() -> Any:
    """The connections of this loop, kept for the next request."""
    loop = asyncio.get_running_loop()
    if loop not in _OPEN:
        _POOLS[loop] = _pool(loop)
        await anext(_POOLS[loop])
    return _OPEN[loop]


async def _pool(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Any]:
    """Holds connections until its loop ends, which finishes the generators that it began."""
    import aiohttp

    _OPEN[loop] = aiohttp.TCPConnector(limit=0)  # how many at once, the run says
    try:
        yield _OPEN[loop]
    finally:
        connector = _OPEN.pop(loop)
        del _POOLS[loop]
        await connector.close()
