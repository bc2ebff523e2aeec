"""Bodies of requests: whole, of bounded length, and read one way only."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from holdfast.proxy.refusals import Refusal
from holdfast.values import limits


async def read_body(receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> bytes | None:
    """The body of a request; None if its client went away. `Refusal` if it is too long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limits.WIRE_BODY_BYTES:
            raise Refusal(413, f"a request may have {limits.WIRE_BODY_BYTES:,} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


_TELLING = ("model", "messages", "input", "contents", "tools", "system", "instructions", "stream")
"""Members that decide what is asked, of whom."""


def says_twice(content: bytes) -> str:
    """A member that a JSON object names twice, so that others may read it otherwise; "" if none.

    The quick look is enough for nearly all: each name stands once, and none is spelt with escapes.
    """
    quick = all(content.count(b'"%b"' % name.encode()) < 2 for name in _TELLING)
    if quick and b"\\u00" not in content:
        return ""
    twice: list[str] = []

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    try:
        json.loads(content, object_pairs_hook=take)
    except (ValueError, RecursionError):
        return "(unreadable)"
    return twice[0] if twice else ""
