"""Output of one command: passed on as it comes, kept up to a limit, its middle cut beyond."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

_PIECE = 64 * 1024
_STREAMS = ("stdout", "stderr")


class Kept:
    """The first and the last half of a limit's worth of bytes, and how many were in between."""

    def __init__(self, most: int) -> None:
        self._head, self._tail = bytearray(), deque[bytes]()
        self._head_most, self._tail_most = most - most // 2, most // 2
        self._tail_bytes = 0
        self._all = 0

    def add(self, piece: bytes) -> None:
        """Take what came next."""
        self._all += len(piece)
        room = self._head_most - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if not piece or not self._tail_most:
            return
        self._tail.append(piece)
        self._tail_bytes += len(piece)
        while self._tail_bytes - len(self._tail[0]) >= self._tail_most:
            self._tail_bytes -= len(self._tail.popleft())

    def all(self) -> tuple[bytes, int]:
        """What is kept, with a line where bytes are missing, and their number."""
        tail = b"".join(self._tail)[-self._tail_most :] if self._tail_most else b""
        cut = self._all - len(self._head) - len(tail)
        note = b"\n[... %d bytes cut ...]\n" % cut if cut else b""
        return bytes(self._head) + note + tail, cut


class Output:
    """Both streams of a command. ``on_output`` gets the name of one and bytes, as they come."""

    def __init__(self, most: int, on_output: Callable[[str, bytes], None] | None) -> None:
        self._kept = {name: Kept(most or 1 << 62) for name in _STREAMS}
        self._on_output = on_output
        self._reading: dict[str, int] = {}
        self._failed: Exception | None = None

    @contextmanager
    def pipes(self) -> Generator[tuple[int, int]]:
        """The ends to write to, to be handed on before this is left."""
        loop = asyncio.get_running_loop()
        writing: list[int] = []
        try:
            for name in _STREAMS:
                read, write = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(read, False)
                self._reading[name] = read
                writing.append(write)
                loop.add_reader(read, self._take, name)
            yield writing[0], writing[1]
        finally:
            for number in writing:
                os.close(number)

    def _take(self, name: str) -> bool:
        """Read what is there; whether more may be."""
        try:
            piece = os.read(self._reading[name], _PIECE)
        except BlockingIOError:
            return False
        if not piece:
            self._close(name)
            return False
        self._kept[name].add(piece)
        if self._on_output is not None and self._failed is None:
            try:
                self._on_output(name, piece)
            except Exception as error:  # noqa: BLE001 - raised to the one who gave the function
                self._failed = error
        return True

    def finish(self) -> None:
        """Take what is left in the pipes; to be called when nobody writes any more."""
        for name in tuple(self._reading):
            while name in self._reading and self._take(name):
                pass
        self.close()
        if self._failed is not None:
            raise self._failed

    def _close(self, name: str) -> None:
        number = self._reading.pop(name)
        asyncio.get_running_loop().remove_reader(number)
        os.close(number)

    def close(self) -> None:
        """Let go of the pipes, whatever is in them."""
        for name in tuple(self._reading):
            self._close(name)

    def kept(self) -> tuple[bytes, bytes, int]:
        """Standard output, standard error, and the number of bytes cut from both."""
        (out, cut), (err, more) = (self._kept[name].all() for name in _STREAMS)
        return out, err, cut + more
