"""Where a conversation stopped being a continuation of itself.

Providers keep what they read of a request, and charge a tenth for it if the next one begins the
same way. A client that changes something early (a clock in the system text, tools in another order)
pays for all of it again, each time. This finds the first message that differs.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec

from holdfast.models.exchange import Asked
from holdfast.values import limits


class Break(NamedTuple):
    """``at``: the first message that differs (0 is the first, often the system text; -1: the menu
    of tools), of ``of`` in the request before; ``size``: bytes from there to that request's end."""

    at: int
    of: int
    size: int


class Seen(NamedTuple):
    """A request by its marks: equal ones stand for equal content, in this process."""

    tools: int
    messages: tuple[int, ...]
    """The system text first, if there is one."""
    sizes: tuple[int, ...]
    system: bool


class Prefixes:
    """The latest conversations of one client. They carry no name: a request goes on with the one
    with which it shares most messages in the same places, and the system text or the tools."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, Seen] = OrderedDict()
        self._next = 0

    def take(self, now: Seen) -> Break | None:
        """Note a request; the break, if it is none of a continuation, and big enough to matter."""
        best, shared = None, 0
        for name, old in reversed(self._seen.items()):
            same = _shared(old, now)
            if same > shared:
                best, shared = name, same
        if best is None:
            self._next += 1
            self._keep(self._next, now)
            return None
        old = self._seen[best]
        self._keep(best, now)
        return _broken(old, now)

    def _keep(self, name: int, now: Seen) -> None:
        self._seen[name] = now
        self._seen.move_to_end(name)
        if len(self._seen) > limits.PREFIX_KEPT_ITEMS:
            self._seen.popitem(last=False)


def _shared(old: Seen, now: Seen) -> int:
    """Messages, without the system text, that stand in both at the same place."""
    if not (old.tools == now.tools or _system(old) == _system(now)):
        return 0
    mine = now.messages[1:] if now.system else now.messages
    others = old.messages[1:] if old.system else old.messages
    return sum(map(int.__eq__, others, mine))


def _system(one: Seen) -> int:
    return one.messages[0] if one.system else 0


def _broken(old: Seen, now: Seen) -> Break | None:
    at = -1
    if old.tools == now.tools:
        pairs = enumerate(zip(old.messages, now.messages, strict=False))
        at = next((place for place, (one, other) in pairs if one != other), len(old.messages))
    size = sum(old.sizes[max(0, at) :])
    return Break(at, len(old.messages), size) if size >= limits.PREFIX_LOST_BYTES else None


def seen(asked: Asked) -> Seen:
    """The marks of a request."""
    packed = [msgspec.json.encode(_bare(one)) for one in asked.messages]
    tools = hash(msgspec.json.encode([_bare(one) for one in asked.tools]))
    system = bool(asked.messages) and asked.messages[0].get("role") in ("system", "developer")
    return Seen(tools, tuple(map(hash, packed)), tuple(map(len, packed)), system)


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    """A message without the marks that only say how far to keep it, which move with every turn. A
    text and a list of one text are the same to a provider."""
    content = message.get("content")
    if isinstance(content, list):
        parts: list[Any] = [_unmarked(part) for part in content]
        if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].keys() == {"type", "text"}:
            return {**_unmarked(message), "content": parts[0]["text"]}
        return {**_unmarked(message), "content": parts}
    return _unmarked(message)


def _unmarked(part: Any) -> Any:
    if isinstance(part, dict) and "cache_control" in part:
        return {key: value for key, value in part.items() if key != "cache_control"}
    return part
