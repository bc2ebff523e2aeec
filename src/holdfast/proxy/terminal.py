"""A client at the standard streams of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

from holdfast.proxy import frames
from holdfast.proxy.exchange import Exchange, Peer
from holdfast.proxy.front import Front
from holdfast.proxy.lines import Lines, Reader, Writer
from holdfast.values import limits
from holdfast.values.errors import Misuse


class LinePeer(Peer):
    """A client that reads and writes lines. ``closing``: it says nothing any more, so it may not
    listen either: it is answered, but nothing counts as delivered."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.closing = False
        self._writer = writer
        self._order = asyncio.Lock()

    def push(self, frame: bytes, about: Exchange | None) -> None:
        """Send something that is no answer."""
        del about
        if self._writer.transport is not None and not self._writer.lost.is_set():
            self._writer.transport.write(frames.flat(frame) + b"\n")

    async def deliver(self, frame: bytes, about: Exchange) -> bool:
        """Send an answer; whether the client's end has taken it."""
        del about
        return await self._writer.write(frame) and not self.closing


class LineFront:
    """Feeds a front with what one client says in lines."""

    def __init__(self, front: Front, writer: Writer) -> None:
        self._front = front
        self.peer = LinePeer(writer)
        self.lines = Lines(self._line, self._too_long)

    def _line(self, line: bytes) -> None:
        # INVARIANT D20: what cannot be read is answered as the protocol says, and the next message
        # is read as if nothing had been
        try:
            self._front.take(self.peer, frames.parse(line))
        except frames.Broken as error:
            self.peer.push(frames.error(error.about, error.code, str(error)), None)

    def _too_long(self) -> None:
        text = f"a message has at most {limits.FRAME_BYTES:,} bytes"
        self.peer.push(frames.error(None, frames.INVALID_REQUEST, text), None)


async def serve(front: Front, stop: asyncio.Event) -> None:
    """Serve the client at stdin and stdout until it closes them, or ``stop`` is set."""
    loop = asyncio.get_running_loop()
    writer = Writer()
    client = LineFront(front, writer)
    reader = Reader(client.lines)
    # what prints by mistake must not speak to the client: stdout is ours alone from now on
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        read, _ = await loop.connect_read_pipe(lambda: reader, os.fdopen(os.dup(0), "rb", 0))
        await loop.connect_write_pipe(lambda: writer, out)
    except ValueError:
        raise Misuse("mcp: a client must be connected to stdin and stdout through pipes") from None
    try:
        await _first(reader.ended.wait(), writer.lost.wait(), stop.wait())
        if not stop.is_set():
            client.peer.closing = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.LEAVE_SECONDS):
                    await _first(client.peer.answered_all(), writer.lost.wait(), stop.wait())
    finally:
        read.close()
        front.gone(client.peer)
        await front.settle(limits.LEAVE_SECONDS)
        if writer.transport is not None:
            writer.transport.close()


async def _first(*many: Any) -> None:
    tasks = [asyncio.get_running_loop().create_task(one) for one in many]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
