"""Server-sent events as MCP has them: reading a stream of them, and writing one.

Not `holdfast.models.sse`, which decodes the JSON of one answer and ends with what an answer may
hold: here data passes byte for byte, ids and times to come back count, and a stream has no end.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.values import limits
from holdfast.values.errors import TooLarge


class Event(NamedTuple):
    """One event: its data, its id ("" = none) and how many milliseconds to wait before coming back
    (-1: it says nothing), within what `limits` allow."""

    data: bytes
    id: str
    retry: int


class Events:
    """Cuts a stream into events, whatever the pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._id = ""
        self._retry = -1
        self._size = 0

    def feed(self, piece: bytes) -> list[Event]:
        """More of the stream: the events that are complete. `TooLarge` for one above the limit."""
        found: list[Event] = []
        first, *lines = piece.split(b"\n")
        self._rest += first  # only what is new is looked at: a line may come in many pieces
        if lines:
            lines.insert(0, bytes(self._rest))
            self._rest = bytearray(lines.pop())
        for line in (one.removesuffix(b"\r") for one in lines):
            if not line:
                if self._data or self._id or self._retry >= 0:
                    found.append(Event(b"\n".join(self._data), self._id, self._retry))
                self._data, self._id, self._retry, self._size = [], "", -1, 0
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
                self._size += len(line) + 1  # of its name too: lines without text are held too
            elif name == b"id":
                self._id = value.decode("latin-1")
            elif name == b"retry" and value.isdigit():
                most = int(limits.WIRE_RETRY_SECONDS * 1000)
                self._retry = max(limits.RESUME_MIN_MS, min(int(value[:9]), most))
        if self._size + len(self._rest) > limits.FRAME_BYTES:
            raise TooLarge(f"mcp: an event has more than {limits.FRAME_BYTES:,} bytes")
        return found


def event(data: bytes, about: str = "") -> bytes:
    """One event of one line of data. ``about``: its id."""
    if about:
        return b"id: %b\nevent: message\ndata: %b\n\n" % (about.encode("ascii"), data)
    return b"event: message\ndata: %b\n\n" % data
