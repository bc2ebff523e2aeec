"""Server-sent events: bytes in any pieces to events, and events to bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from holdfast.values import limits


class Event(NamedTuple):
    """One event. ``name`` is empty where a dialect names none; ``data`` is its decoded JSON, or its
    text where that is none (``[DONE]``)."""

    name: str
    data: Any


def encode(event: Event) -> bytes:
    """The event as it goes over the wire."""
    data = event.data
    text = data.encode() if isinstance(data, str) else msgspec.json.encode(data)
    head = b"event: " + event.name.encode() + b"\n" if event.name else b""
    return head + b"data: " + text + b"\n\n"


def decoded(text: bytes | bytearray) -> Any:
    """JSON as plain values; None for bytes that are none (null is None too)."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


class Lines:
    """Events from bytes that come in pieces of any size. Never raises: what is no event is passed
    over, and a stream longer than a message may be sets ``broken``, which ends the reading."""

    def __init__(self) -> None:
        self.broken = False
        self._seen = 0
        self._rest: list[bytes] = []
        self._lines = False
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that end in ``piece``. Lines end in LF, CR LF or CR."""
        self._seen += len(piece)
        self.broken = self._seen > limits.WIRE_BODY_BYTES
        if self.broken or not piece:
            return
        self._lines = self._lines or b"\r" in piece
        end = b"\n" if self._lines else b"\n\n"
        straddles = piece[:1] == b"\n" and bool(self._rest) and self._rest[-1].endswith(b"\n")
        self._rest.append(piece)
        if end not in piece and not straddles:
            return
        *whole, rest = b"".join(self._rest).split(end)
        self._rest = [rest] if rest else []
        for part in whole:
            if self._lines:
                yield from self._by_line(part)
                continue
            # nearly all are one of two forms
            at = part.find(b"\ndata: ", 7)
            if at > 0 and part[:7] == b"event: " and part.count(b"\n") == 1 and part[at + 7 :]:
                yield _event(part[7:at].decode("utf-8", "replace"), part[at + 7 :])
            elif len(part) > 6 and part[:6] == b"data: " and b"\n" not in part:
                yield _event("", part[6:])
            else:
                for line in part.split(b"\n"):
                    yield from self._by_line(line)
                yield from self._by_line(b"")

    def close(self) -> Iterator[Event]:
        """What a stream leaves that ends without the empty line after its last event."""
        yield from self.feed(b"\n\n")
        yield from self.feed(b"\n\n")  # the first may have ended a line only

    def _by_line(self, text: bytes) -> Iterator[Event]:
        for line in text.removesuffix(b"\r").split(b"\r"):
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: bytes) -> Event | None:
        if not line:
            data, name = self._data, self._name
            self._data, self._name = [], ""
            return _event(name, b"\n".join(data)) if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None


def _event(name: str, data: bytes) -> Event:
    try:
        value = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = None
    return Event(name, data.decode("utf-8", "replace") if value is None else value)


_DECODER = msgspec.json.Decoder()
