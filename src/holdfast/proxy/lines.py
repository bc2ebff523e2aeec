"""Messages between line feeds: what reads them from a pipe, whatever the pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.values import limits


class Lines:
    """Cuts a stream into lines. ``each`` gets one line; ``long`` is told of one that is too long,
    of which nothing is kept."""

    def __init__(self, each: Callable[[bytes], None], long: Callable[[], None]) -> None:
        self._each = each
        self._long = long
        self._rest = bytearray()
        self._skips = False

    def feed(self, piece: bytes) -> None:
        """More of the stream."""
        if not self._rest and not self._skips and piece.endswith(b"\n"):
            for line in piece.splitlines() if piece.count(b"\n") > 1 else (piece[:-1],):
                self._give(line)
            return
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            if self._skips:
                self._skips = False
            else:
                self._rest += piece[start:end]
                line = bytes(self._rest)
                self._rest.clear()
                self._give(line)
            start = end + 1
        # INVARIANT D1: of a message that is too long nothing is kept; the next one is read
        if not self._skips:
            self._rest += piece[start:]
            if len(self._rest) > limits.FRAME_BYTES:
                self._rest.clear()
                self._skips = True
                self._long()

    def _give(self, line: bytes) -> None:
        if len(line) > limits.FRAME_BYTES:
            self._long()
        elif line := line.strip():
            self._each(line)


class Writer(asyncio.BaseProtocol):
    """The writing end of a pipe. ``lost`` is set once nobody reads any more."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.lost = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._free.set()

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    async def write(self, line: bytes) -> bool:
        """Write a line; whether the other side's pipe has taken it."""
        if self.transport is None or self.lost.is_set():
            return False
        self.transport.write(line + b"\n")
        if not self._free.is_set():
            await self._free.wait()
        return not self.lost.is_set()


class Reader(asyncio.Protocol):
    """The reading end of a pipe. ``ended`` is set at its end."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._lines.feed(data)

    def eof_received(self) -> None:
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
