"""Bodies of requests: whole, of bounded length, and read one way only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

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


def says_twice(content: bytes, body: Mapping[str, Any]) -> str:
    """A member that a JSON object at any depth names twice, or that ``body`` (``content``, read)
    names again but for case and ``_``: others may read another one than we; "" if none.

    The quick look is enough for nearly all: what is read, written anew, has a colon less for each
    member that was dropped, and colons in texts are the same ones, unless they are escaped.
    """
    known: set[str] = set()
    for name in body:
        plain = name.casefold().replace("_", "")
        if plain in known:
            return name
        known.add(plain)
    escaped = b"\\u003a" in content or b"\\u003A" in content
    if not escaped and content.count(b":") == msgspec.json.encode(body).count(b":"):
        return ""
    twice: list[str] = []

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and not twice:
            twice.append(Counter(name for name, _ in pairs).most_common(1)[0][0])
        return found

    try:
        json.loads(content, object_pairs_hook=take)
    except (ValueError, RecursionError):
        return "(unreadable)"
    return twice[0] if twice else ""
