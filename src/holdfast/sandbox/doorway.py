"""Ways from inside a sandbox to doors of this process: TCP ports of this host's loopback that a
command finds at the same port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from holdfast.values import limits


class Doorway:
    """One such port. What comes in at ``listening``, a socket that was made inside, goes to
    ``port`` here, byte for byte, and nowhere else."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self, listening: socket.socket) -> None:
        """Begin to serve."""
        listening.setblocking(False)
        self._server = await asyncio.start_server(self._entered, sock=listening)

    async def close(self) -> None:
        """Nobody comes through any more."""
        if self._server is not None:
            self._server.close()
        for one in tuple(self._talks):
            one.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _entered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._talks.add(this)
        try:
            door, out = await asyncio.open_connection("127.0.0.1", self._port)
            both = (copy_stream(reader, out), copy_stream(door, writer))
            try:
                await asyncio.gather(*both, return_exceptions=True)
            finally:
                out.close()
        except OSError:
            pass  # the door is closed: so is this connection
        finally:
            self._talks.discard(this)
            writer.close()


async def copy_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and then that nothing more comes."""
    try:
        while piece := await reader.read(limits.PROXY_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
