"""A stand-in model server: real HTTP on loopback that speaks OpenAI Chat Completions and Responses,
Anthropic Messages (and token counting) and Gemini, streamed and not, and answers from a script.

    script = ["Hello", {"calls": [{"name": "look_up", "arguments": {"x": 1}}]}, {"error": 429}]
    async with StandIn(script) as server:       # or: with StandIn(script) as server
        client = AsyncOpenAI(base_url=server.url + "/v1", api_key="any")
        client = AsyncAnthropic(base_url=server.url, api_key="any")
        ...
    server.requests        # what it was asked: method, path, headers, raw, body, dialect, model
    server.left            # how many clients went away before their answer was whole

A script is a list of answers, or a (possibly async) function from the request to an answer. An
answer is a text, a dictionary or an `Answer` with the fields that `scripted.Answer` documents:
text, tool calls, usage, errors with ``retry_after``, slow, broken, half-closed and hanging ones.

As a process it prints its URL first, and ends with its standard input if told so:

    python -m holdfast.testing.standin --port 0 --script FILE.json [--key KEY] [--with-stdin]

FILE.json is such a list; ``"when"`` and ``"again"`` help with clients that ask things by the way.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from holdfast.models import sse
from holdfast.models.dialects import DIALECTS, asked_at
from holdfast.models.plain import mapping
from holdfast.testing.scripted import (
    Answer,
    Answers,
    Request,
    Script,
    counted,
    failure,
    read,
    wants_usage,
    whole,
)
from holdfast.values import limits

__all__ = ["Answer", "Request", "StandIn"]

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
            429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip


class _Gone(Exception):
    """The connection is of no use any more."""


class StandIn:
    """The server, while the block lasts: with ``async with`` in the running event loop, with
    ``with`` in a thread of its own. ``key``: requests without it get 401; ``models``: what
    ``/v1/models`` lists."""

    def __init__(
        self,
        script: Script = (),
        *,
        port: int = 0,
        key: str = "",
        models: tuple[str, ...] = ("standin",),
    ) -> None:
        self.requests: list[Request] = []
        self.left = 0
        self.url = ""
        self.connections = 0
        self.key = key
        self.models = models
        self._port = port
        self._script: Callable[[Request], Any] = script if callable(script) else Answers(script)
        self._asked = 0
        self._open: set[asyncio.Task[None]] = set()

    # While it runs ------------------------------------------------------------------------------

    async def __aenter__(self) -> StandIn:
        self._loop = asyncio.get_running_loop()
        self._goes = asyncio.Event()
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._port, limit=limits.WIRE_BODY_BYTES
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *why: object) -> None:
        self._server.close()
        for one in tuple(self._open):
            one.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def __enter__(self) -> StandIn:
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._alone(ready),), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()

    async def _alone(self, ready: threading.Event) -> None:
        self._ends = asyncio.Event()
        async with self:
            ready.set()
            await self._ends.wait()

    def go(self) -> None:
        """Lets answers that hang go on, those to come too."""
        self._loop.call_soon_threadsafe(self._goes.set)

    # Connections --------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._open.add(this)
        self.connections += 1
        early = b""
        try:
            while (request := await _request(reader, writer, early)) is not None:
                early = await self._respond(request, reader, writer)
        except (_Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._open.discard(this)
            writer.close()

    async def _respond(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Answer; what the client sent meanwhile is the beginning of its next request."""
        name, counts = asked_at(request.path.partition("?")[0])
        self._asked += bool(name) and not counts
        request = msgspec.structs.replace(request, dialect=name, number=self._asked)
        self.requests.append(request)
        status, found = self._fixed(request, counts=counts)
        if status:
            await _whole(writer, status, msgspec.json.encode(found))
            return b""
        telling = asyncio.ensure_future(self._tell(request, writer))
        meanwhile = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({telling, meanwhile}, return_when=asyncio.FIRST_COMPLETED)
            early = meanwhile.result() if meanwhile.done() else None
            if early == b"" and not telling.done():
                self.left += 1
                raise _Gone
            await telling
        except ConnectionError:
            self.left += 1
            raise
        finally:
            telling.cancel()
            meanwhile.cancel()
            await asyncio.gather(telling, meanwhile, return_exceptions=True)
        return early or b""

    def _fixed(self, request: Request, *, counts: bool) -> tuple[int, Any]:
        """What needs no script: status and body; status 0: the script is asked."""
        dialect = DIALECTS[request.dialect or "openai.chat"]
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        keys = (given, request.headers.get("x-api-key"), request.headers.get("x-goog-api-key"))
        if self.key and self.key not in keys:
            return 401, failure(dialect, 401, "invalid x-api-key or bearer token")
        if request.method == "GET" and request.path.partition("?")[0].endswith("/models"):
            return 200, _models(self.models, anthropic="anthropic-version" in request.headers)
        if request.method in {"GET", "HEAD"} and request.path == "/":
            return 200, {}
        if not request.dialect or request.method != "POST":
            text = f"the stand-in knows no {request.method} {request.path}"
            return 404, failure(dialect, 404, text)
        if not request.body or not request.model:
            return 400, failure(dialect, 400, "the body must be a JSON object that names a model")
        return (200, counted(request)) if counts else (0, None)

    async def _answer(self, request: Request) -> Answer:
        try:
            said = self._script(request)
            return read(await said if inspect.isawaitable(said) else said)
        except Exception as error:  # noqa: BLE001  # the script is a test's: its client is told
            why = f"the stand-in's script failed: {type(error).__name__}: {error}"
            return Answer(error=400, message=why)

    async def _tell(self, request: Request, writer: asyncio.StreamWriter) -> None:
        answer = await self._answer(request)
        await asyncio.sleep(answer.wait)
        if answer.raw:
            await _whole(writer, answer.error or 200, answer.raw.encode())
            return
        found = whole(answer, request)
        more = {"request-id": f"req_{request.number}", "x-request-id": f"req_{request.number}"}
        if answer.retry_after is not None:
            more["retry-after"] = f"{answer.retry_after:g}"
        if request.stream and not answer.error:
            await self._stream(request, answer, found, writer, more)
            return
        body = msgspec.json.encode(found)
        head = _head(answer.error or 200, {**more, "content-length": str(len(body))})
        await self._send(_two(head, body, answer), answer, writer)

    async def _stream(
        self,
        request: Request,
        answer: Answer,
        found: dict[str, Any],
        writer: asyncio.StreamWriter,
        more: dict[str, str],
    ) -> None:
        kind = "text/event-stream; charset=utf-8"
        head = _head(200, {**more, "content-type": kind, "transfer-encoding": "chunked"})
        shape = DIALECTS[request.dialect].events
        events = shape(found, max(1, answer.size), usage=wants_usage(request))

        async def parts() -> AsyncIterator[bytes]:
            yield head
            for place, event in enumerate(events):
                if place and answer.pause:
                    await asyncio.sleep(answer.pause)
                piece = sse.encode(event)
                yield b"%x\r\n%b\r\n" % (len(piece), piece)
            yield b"0\r\n\r\n"

        await self._send(parts(), answer, writer)

    async def _send(
        self, parts: AsyncIterator[bytes], answer: Answer, writer: asyncio.StreamWriter
    ) -> None:
        """The head, then pieces; before the piece ``answer.after``, what is to happen happens."""
        sent = -1
        async for part in parts:
            if answer.then and sent == max(-1, answer.after):
                await self._fault(answer, writer)
            writer.write(part)
            await writer.drain()
            sent += 1

    async def _fault(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        if answer.then == "hang":
            await self._goes.wait()
            return
        if answer.then == "reset":
            writer.transport.abort()
        else:
            writer.write_eof()
        raise _Gone


async def _two(head: bytes, body: bytes, answer: Answer) -> AsyncIterator[bytes]:
    """Without a stream, ``after`` counts bytes of the body."""
    yield head
    if answer.then and answer.after > 0:
        for one in body:
            yield bytes((one,))
    else:
        yield body


async def _whole(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(_head(status, {"content-length": str(len(body))}) + body)
    await writer.drain()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = {"content-type": "application/json", **headers}
    text = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n"
    return (text + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode()


def _models(names: tuple[str, ...], *, anthropic: bool) -> dict[str, Any]:
    if not anthropic:
        made = {"object": "model", "created": 1_700_000_000, "owned_by": "standin"}
        return {"object": "list", "data": [{"id": name, **made} for name in names]}
    made = {"type": "model", "created_at": "2024-01-01T00:00:00Z"}
    listed = [{"id": name, "display_name": name, **made} for name in names]
    return {"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]}


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes
) -> Request | None:
    """The next request of a connection, which begins with ``early``; None at its end."""
    try:
        head = early + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, *_ = [*first.split(" "), "", ""]
    headers = {name.strip().lower(): value.strip() for name, _, value in
               (line.partition(":") for line in lines)}  # fmt: skip
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        raw = await _chunks(reader)
    else:
        raw = await reader.readexactly(int(headers.get("content-length") or 0))
    return Request(method, path, headers, raw, mapping(sse.decoded(raw)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while await reader.readline() not in (b"\r\n", b""):
        pass
    return bytes(body)


def main(arguments: list[str] | None = None) -> None:
    """Serve as a process until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.testing.standin")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path, help="a JSON list of answers")
    parser.add_argument("--key", default="", help="requests without this key get 401")
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input ends")
    chosen = parser.parse_args(arguments)
    script = msgspec.json.decode(chosen.script.read_bytes()) if chosen.script else []
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(StandIn(script, port=chosen.port, key=chosen.key), chosen.with_stdin))


async def _serve(server: StandIn, with_stdin: bool) -> None:
    async with server:
        print(server.url, flush=True)
        if with_stdin:
            await asyncio.to_thread(sys.stdin.read)
        else:
            await asyncio.Event().wait()


if __name__ == "__main__":
    main()
