"""What a client over HTTP is sent: streams of messages, kept until the client has them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from holdfast.proxy import frames, sse
from holdfast.proxy.exchange import Exchange, Peer
from holdfast.values import limits

GENERAL: Final = 0
"""The number of the stream that is about no request in particular."""


class Stream:
    """Messages in order. ``final``: the answer is among them, as the last; ``written``: whether the
    client has got that; ``followed``: somebody is sending them on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.messages: list[bytes] = []
        self.first = 0  # the number of the oldest message that is kept
        self.final = False
        self.exchange: Exchange | None = None
        self.written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.news = asyncio.Event()
        self.followed = False

    def add(self, frame: bytes, *, final: bool = False) -> None:
        """One more message."""
        if not self.final:
            self.messages.append(frame)
            self.final = final
            self.news.set()

    def drop(self) -> int:
        """Forget the oldest message: the bytes that were freed."""
        self.first += 1
        return len(self.messages.pop(0))

    def since(self, number: int) -> list[tuple[int, bytes]]:
        """The messages from ``number`` on that are kept."""
        start = max(number - self.first, 0)
        return list(enumerate(self.messages[start:], self.first + start))

    def end(self) -> None:
        """No answer comes any more."""
        self.final, self.exchange = True, None
        self.settle(written=False)
        self.news.set()

    def settle(self, *, written: bool) -> None:
        """The client has the answer, or cannot get it this way any more."""
        if not self.written.done():
            self.written.set_result(written)
        elif written and self.exchange is not None and self.exchange.later is not None:
            later, self.exchange.later = self.exchange.later, None
            later()


class WebPeer(Peer):
    """A client over HTTP. ``mark``: its name, "" for the one request of a modern client; ``at``:
    when it was last heard, in ns."""

    def __init__(self, mark: str = "") -> None:
        super().__init__()
        self.mark = mark
        self.at = 0
        self.general = Stream(GENERAL)
        self.streams: dict[int, Stream] = {}
        self._last = 0

    @property
    def is_idle(self) -> bool:
        """Whether it waits for nothing."""
        return not self.exchanges and not self.general.followed

    def open(self) -> Stream:
        """A stream for a request."""
        self._last += 1
        stream = self.streams[self._last] = Stream(self._last)
        return stream

    def push(self, frame: bytes, about: Exchange | None) -> None:
        """Send something that is no answer: with the request that it is about, else with any."""
        stream: Any = about.stream if about is not None else None
        if stream is None or stream.final:
            waiting = [one for one in self.streams.values() if not one.final]
            stream = self.general if self.general.followed or not waiting else waiting[-1]
        stream.add(frames.flat(frame))
        self._bound()

    async def deliver(self, frame: bytes, about: Exchange) -> bool:
        """Send an answer; whether the client has got it."""
        stream: Stream = about.stream
        stream.add(frame, final=True)
        return await stream.written

    def _bound(self) -> None:
        # INVARIANT D21: what a client does not fetch is kept up to a limit, the newest of it
        many = [self.general, *self.streams.values()]
        count = sum(len(one.messages) for one in many)
        size = sum(len(line) for one in many for line in one.messages)
        for one in many:
            while (
                one.messages
                and not one.final
                and (count > limits.RESUME_EVENTS or size > limits.RESUME_BYTES)
            ):
                size -= one.drop()
                count -= 1


def event(stream: Stream, number: int, frame: bytes, *, numbered: bool) -> bytes:
    """A message as an event; ``numbered``: with an id by which the stream can be taken up."""
    return sse.event(frame, f"{stream.number}-{number}" if numbered else "")


def place_of(text: str) -> tuple[int, int] | None:
    """The stream and the message that an id names."""
    number, dash, at = text.partition("-")
    if dash and number.isdecimal() and at.isdecimal() and len(text) < 30:
        return int(number), int(at)
    return None
