"""Behind a door: this process is only a pipe between a client and the process that has the run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from holdfast.proxy import frames
from holdfast.proxy.exchange import Exchange, Peer
from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside, Refused

PATH = "/mcp/pipe"
"""Where a door takes pipes."""
PIECE = 64 * 1024


class PipePeer(Peer):
    """A client at the other end of a pipe; what it is sent waits in ``lines``."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[tuple[bytes, asyncio.Future[bool] | None]] = asyncio.Queue()
        self.ended = False

    def push(self, frame: bytes, about: Exchange | None) -> None:
        """Send something that is no answer."""
        del about
        self.lines.put_nowait((frames.flat(frame), None))

    async def deliver(self, frame: bytes, about: Exchange) -> bool:
        """Send an answer; whether it was written."""
        del about
        if self.ended:
            return False
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.lines.put_nowait((frame, written))
        return await written

    def drain(self) -> None:
        """Nothing is written any more: whoever waits is told so."""
        self.ended = True
        while not self.lines.empty():
            _, written = self.lines.get_nowait()
            if written is not None and not written.done():
                written.set_result(False)


async def relay(door: str, token: str, hello: Mapping[str, Any], stop: asyncio.Event) -> None:
    """Be a pipe between our standard streams and a door, until either ends or ``stop`` is set.

    ``door``: ``http://HOST:PORT`` or ``unix:PATH``; ``hello``: the server's command, directory and
    named variables: the door starts it. `Outside` if the door cannot be reached, `Refused` if it
    does not let us in."""
    reader, writer = await _reach(door)
    try:
        host = urlsplit(door).netloc if door.startswith("http") else "localhost"
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        _chunk(writer, frames.plain(hello) + b"\n")
        await writer.drain()
        tasks = [
            asyncio.get_running_loop().create_task(one)
            for one in (_in(writer), _out(reader), stop.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if tasks[0] in done:  # the client said all that it had to say: the door may not have
                done, _ = await asyncio.wait(tasks[1:], timeout=limits.LEAVE_SECONDS,
                                             return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
    except (ConnectionError, asyncio.IncompleteReadError):
        raise Outside("mcp: the connection to the door was lost") from None
    finally:
        writer.close()


async def _reach(door: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        if door.startswith("unix:"):
            return await asyncio.open_unix_connection(
                door.removeprefix("unix:").removeprefix("//"), limit=limits.FRAME_BYTES
            )
        parts = urlsplit(door)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise Misuse(f"HOLDFAST_DOOR={door!r}: say http://HOST:PORT or unix:PATH")
        return await asyncio.open_connection(parts.hostname, parts.port, limit=limits.FRAME_BYTES)
    except OSError as error:
        raise Outside(f"mcp: the door {door} cannot be reached ({error.strerror})") from None


def _chunk(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))


async def _in(writer: asyncio.StreamWriter) -> None:
    """What the client says goes to the door."""
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader(limit=PIECE)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(os.dup(0), "rb", 0)
    )
    while piece := await stream.read(PIECE):
        _chunk(writer, piece)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _out(reader: asyncio.StreamReader) -> None:
    """What the door says goes to the client."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if status != b"200":
        body = await reader.read(PIECE)
        if status in (b"401", b"403"):
            raise Refused("mcp: the door does not know HOLDFAST_TOKEN", rule="token")
        raise Outside(
            f"mcp: the door answered {status.decode()}: {body[:300].decode('utf-8', 'replace')}"
        )
    while size := int((await reader.readline()).strip() or b"0", 16):
        piece = await reader.readexactly(size + 2)
        await asyncio.to_thread(_write, piece[:-2])


def _write(piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view) :]
