"""Sending a client over HTTP what it is answered, for as long as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from holdfast.proxy import frames
from holdfast.proxy.front import Front
from holdfast.proxy.streams import GENERAL, Stream, WebPeer, event
from holdfast.values import limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON, _SSE = b"application/json", b"text/event-stream"
_STATUS = {frames.PARSE_ERROR: 400, frames.INVALID_REQUEST: 400, frames.INVALID_PARAMS: 400,
           frames.HEADER_MISMATCH: 400, frames.MISSING_CAPABILITY: 400,
           frames.UNSUPPORTED_VERSION: 400, frames.METHOD_NOT_FOUND: 404}  # fmt: skip
"""HTTP statuses that the modern era gives to errors."""


class Answering:
    """Sends a stream to a client, as one answer or as events, as long as the client is there."""

    def __init__(
        self, front: Front, peer: WebPeer, stream: Stream,
        receive: Receive, send: Send,
    ) -> None:  # fmt: skip
        self.front = front
        self.peer = peer
        self.stream = stream
        self._answered = False
        self.headers: list[tuple[bytes, bytes]] = []
        self._receive = receive
        self._send = send
        self._away: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer a request: with one message if that is all there is, else with events."""
        stream = self.stream
        stream.followed = True
        self._away = asyncio.get_running_loop().create_task(self._watch())
        try:
            if not stream.news.is_set():
                await self._wait(stream, limits.STREAM_PING_SECONDS)
            if self._away.done():
                return
            if stream.final and stream.exchange is not None and len(stream.messages) == 1:
                (frame,) = stream.messages
                await say(self._send, self._status(frame), JSON, frame, self.headers)
                self._done()
                return
            await self.follow(stream.first, begun=False)
        finally:
            self._leave()

    def _status(self, frame: bytes) -> int:
        if self.peer.mark or b'"error"' not in frame[:200]:
            return 200
        error = frames.parse(frame).error
        return 200 if error is frames.UNSET else _STATUS.get(frames.error_of(error).code, 200)

    async def follow(self, start: int, *, begun: bool) -> None:
        """Send messages from ``start`` on as events, and those that come."""
        stream = self.stream
        numbered = bool(self.peer.mark)
        stream.followed = True
        if self._away is None:
            self._away = asyncio.get_running_loop().create_task(self._watch())
        try:
            if not begun:
                await self._send({
                    "type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", _SSE), (b"cache-control", b"no-cache"),
                                (b"x-accel-buffering", b"no"), *self.headers],
                })  # fmt: skip
                first = (
                    event(stream, start - 1, b"", numbered=True) if numbered and start else b":\n\n"
                )
                await self._piece(first)
            while not self._away.done():
                stream.news.clear()
                for number, frame in stream.since(start):
                    await self._piece(event(stream, number, frame, numbered=numbered))
                    start = number + 1
                if stream.number == GENERAL:
                    while stream.first < start:
                        stream.drop()
                if stream.final:
                    await self._send({"type": "http.response.body", "body": b""})
                    self._done()
                    return
                if not await self._wait(stream, limits.STREAM_PING_SECONDS):
                    await self._piece(b": still here\n\n")
        finally:
            self._leave()

    async def _wait(self, stream: Stream, seconds: float) -> bool:
        """Wait for news, for the client's leaving, or so long; whether there are news."""
        news = asyncio.get_running_loop().create_task(stream.news.wait())
        assert self._away is not None
        try:
            await asyncio.wait(
                [news, self._away], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            news.cancel()
        return stream.news.is_set()

    async def _piece(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.stream.exchange is not None and not self.stream.final:
            self.stream.exchange.away = True  # at once: who asks again may come right behind

    def _done(self) -> None:
        """The answer was written: to a client that was there, as far as anybody can know."""
        there = self._away is not None and not self._away.done()
        self.stream.settle(written=there)
        self._answered = there
        if there:
            self.peer.streams.pop(self.stream.number, None)

    def _leave(self) -> None:
        self.stream.followed = False
        if self._away is not None:
            self._away.cancel()
        exchange = self.stream.exchange
        if exchange is not None and not self._answered:
            exchange.away = True
            self.stream.settle(written=False)
            if not self.peer.mark:  # this era knows no way back
                self.front.left([exchange])


async def say(
    send: Send, status: int, kind: bytes, body: bytes, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    """A whole answer."""
    headers = [(b"content-length", str(len(body)).encode()), *(more or [])]
    if kind:
        headers.append((b"content-type", kind))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
