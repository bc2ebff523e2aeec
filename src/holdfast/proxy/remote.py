"""A server over HTTP (streamable HTTP, both eras)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from holdfast.proxy import frames
from holdfast.proxy.eras import NAMED_BY
from holdfast.proxy.sse import Events
from holdfast.values import limits
from holdfast.values.errors import TooLarge

_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def header_value(text: str) -> str:
    """A text as a header says it: as it is, or in base64 where it could be taken for more."""
    if _PLAIN.fullmatch(text) and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def mirrored(schema: Any, arguments: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The headers that repeat arguments which a tool's schema wants repeated."""
    found: dict[str, str] = {}
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, one in (properties or {}).items() if isinstance(properties, dict) else ():
        value = arguments.get(name)
        wanted = one.get("x-mcp-header") if isinstance(one, dict) else None
        if isinstance(value, dict):
            found |= mirrored(one, value)
        elif isinstance(wanted, str) and _TOKEN.fullmatch(wanted) and value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[f"Mcp-Param-{wanted}"] = header_value(text)
    return found


class Remote:
    """One server over HTTP. ``receive`` gets each message with the request that it belongs to."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        receive: Callable[[bytes, Any], None],
        lost: Callable[[str], None],
    ) -> None:
        self.url = url
        self._given = dict(headers)
        self._receive = receive
        self._lost = lost
        self._http: aiohttp.ClientSession | None = None
        self._streams: set[asyncio.Task[None]] = set()
        self.mark = ""  # the server's name for this connection, in the legacy era
        self.version = ""
        self.modern = False

    async def open(self) -> None:
        """Nothing is sent yet."""
        # no limit of time: a call may take as long as its server says, and people take longer
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.PROBE_SECONDS),
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=True,
        )

    def _headers(self, method: str, params: Mapping[str, Any], schema: Any) -> dict[str, str]:
        found = {"Content-Type": "application/json",
                 "Accept": "application/json, text/event-stream", **self._given}  # fmt: skip
        if self.version:
            found["MCP-Protocol-Version"] = self.version
        if self.mark:
            found["Mcp-Session-Id"] = self.mark
        if self.modern and method:
            found["Mcp-Method"] = method
            name = params.get(NAMED_BY.get(method, ""))
            if isinstance(name, str):
                found["Mcp-Name"] = header_value(name)
            arguments = params.get("arguments")
            if schema and isinstance(arguments, dict):
                found |= mirrored(schema, arguments)
        return found

    async def send(self, line: bytes, sent: Any) -> None:
        """Post one message; what comes back goes to ``receive``. ``sent``: the request that it is,
        None for others. `Unsent` if it cannot be, `ConnectionError` if the answer is lost."""
        assert self._http is not None
        method, params = (sent.method, sent.params) if sent is not None else ("", {})
        headers = self._headers(method, params, sent.schema if sent is not None else None)
        try:
            async with self._http.post(
                self.url, data=line, headers=headers, allow_redirects=False
            ) as response:
                await self._answered(response, sent)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise frames.Unsent(f"{type(error).__name__}: {_host(error)}") from None
        except (aiohttp.ClientError, TimeoutError, TooLarge) as error:
            raise ConnectionResetError(f"{type(error).__name__}: {_host(error)}") from None

    async def _answered(self, response: aiohttp.ClientResponse, sent: Any) -> None:
        if sent is None:
            return
        mark = response.headers.get("Mcp-Session-Id", "")
        if mark and sent.method == "initialize":
            self.mark = mark
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream" and response.status == 200:
            await self._read(response, sent)
            return
        body = await _body(response)
        # a refusal in words of its own is one all the same: see below
        if kind == "application/json" and (response.status < 400 or _is_message(body)):
            self._receive(body, sent)
            if not sent.done:  # an error about no request in particular
                sent.fail(_said(response.status, body))
            return
        if response.status == 404 and self.mark:
            self._lost("it does not know this connection any more")
            raise ConnectionResetError("the server does not know this connection any more")
        sent.fail(_said(response.status, body))

    async def _read(self, response: aiohttp.ClientResponse, sent: Any) -> None:
        """Read a stream to the answer, taking it up again where the server lets us."""
        last, pause, tries = "", -1, 0
        while True:
            events = Events()
            try:
                async for piece in response.content.iter_any():
                    for event in events.feed(piece):
                        last, tries = event.id or last, 0
                        pause = event.retry if event.retry >= 0 else pause
                        if event.data:
                            self._receive(event.data, sent)
            except (aiohttp.ClientError, TimeoutError):
                pass  # it is taken up again below, or lost
            finally:
                response.close()
            if sent.done:
                return
            if not last or self.modern or tries >= limits.RESUME_ATTEMPTS:
                raise ConnectionResetError("the stream ended before the answer")
            # INVARIANT D5: a stream that ends early is taken up again, never the call repeated
            await asyncio.sleep(_pause(pause if pause >= 0 else 1000 * 2**tries))
            tries += 1
            again = await self._take_up(last)
            if again is None:
                raise ConnectionResetError("the stream ended before the answer")
            response = again

    async def _take_up(self, last: str) -> aiohttp.ClientResponse | None:
        assert self._http is not None
        headers = self._headers("", {}, None) | {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        try:
            response = await self._http.get(self.url, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, TimeoutError):
            return None
        kind = response.headers.get("Content-Type", "")
        if response.status == 200 and kind.startswith("text/event-stream"):
            return response
        response.release()
        return None

    def listen(self) -> None:
        """Follow what a legacy server says of its own accord, if it says anything."""
        task = asyncio.get_running_loop().create_task(self._follow())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _follow(self) -> None:
        last, pause, tries = "", 1000, 0
        while tries <= limits.RESUME_ATTEMPTS:
            response = await self._take_up(last)
            if response is None:
                return
            tries += 1
            events = Events()
            try:
                async for piece in response.content.iter_any():
                    for event in events.feed(piece):
                        last, tries = event.id or last, 0
                        pause = event.retry if event.retry >= 0 else pause
                        if event.data:
                            self._receive(event.data, None)
            except (aiohttp.ClientError, TimeoutError, TooLarge):
                pass  # a stream may end; another is asked for
            finally:
                response.close()
            await asyncio.sleep(_pause(pause))

    async def close(self) -> None:
        """Say goodbye and let go of the connections."""
        for task in list(self._streams):
            task.cancel()
        if self._http is None:
            return
        if self.mark:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(limits.CHILD_END_SECONDS):
                    async with self._http.delete(
                        self.url, headers=self._headers("", {}, None), allow_redirects=False
                    ):
                        pass
        await self._http.close()


def _pause(wanted: int) -> float:
    """Seconds until a stream is taken up again: a server may say how many ms, within reason."""
    return min(max(wanted / 1000, 0.05), limits.PROBE_SECONDS)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limits.FRAME_BYTES:
            raise TooLarge(f"mcp: an answer has more than {limits.FRAME_BYTES:,} bytes")
    return bytes(body)


def _is_message(body: bytes) -> bool:
    with contextlib.suppress(frames.Broken):
        return bool(frames.parse(body))
    return False


def _said(status: int, body: bytes) -> Exception:
    """What an answer that is no message means."""
    with contextlib.suppress(frames.Broken):
        frame = frames.parse(body)
        if frame.error is not frames.UNSET:
            return frames.error_of(frame.error)
    if status in (401, 403):
        return frames.RpcError(frames.INTERNAL_ERROR, f"the server refused us (HTTP {status}): "
                               "give its credential with --header or in the config")  # fmt: skip
    if 400 <= status < 500:
        return frames.RpcError(frames.INVALID_REQUEST, f"the server answered HTTP {status}")
    return ConnectionResetError(f"the server answered HTTP {status} without a message")


def _host(error: BaseException) -> str:
    """What is known of a failed connection, without addresses that may hold credentials."""
    return getattr(error, "strerror", "") or "the connection to the server failed"
