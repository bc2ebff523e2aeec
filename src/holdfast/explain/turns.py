"""What a model was shown and what it answered, read from a step of kind ``model``.

Dialects differ in names, not in shape: messages in lists, calls as objects with a name and
arguments, results as objects or messages that say so. So one reader serves all of them, and any
that comes later; what it does not know it shows as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.values import limits

MESSAGES: Final = 400
"""Newest messages of a conversation that are looked at; each is content of its own to fetch."""
MENU: Final = 500
"""Names of tools that are listed."""


class Shown(NamedTuple):
    """A piece of what a model was shown: ``role`` system, user, assistant or tool; ``at``: where
    in the request; ``text``; ``name``: of the tool whose result it is, if it is said."""

    role: str
    at: str
    text: str
    name: str = ""


class Wanted(NamedTuple):
    """A call that an answer asks for; ``sample``: which of several answers it belongs to."""

    name: str
    args: dict[str, Any]
    sample: int


class Reply(NamedTuple):
    """An answer: its calls, texts and thoughts in order, each with the sample it belongs to."""

    calls: list[Wanted]
    texts: list[tuple[int, str]]
    thoughts: list[tuple[int, str]]


_LISTS: Final = ("messages", "contents", "input", "history")
_SYSTEM: Final = ("system", "instructions", "systemInstruction", "system_instruction", "prompt",
                  "system_prompt")  # fmt: skip
_RESULTS: Final = frozenset(
    ("tool", "function", "tool_result", "function_call_output", "tool-return", "functionresponse",
     "toolresult", "retry-prompt", "function_result", "mcp_call_output")
)  # fmt: skip
_RESULT_KEYS: Final = ("functionResponse", "function_response", "toolResult")
_ROLES: Final = {"developer": "system", "model": "assistant", "human": "user", "ai": "assistant",
                 "system-prompt": "system", "user-prompt": "user"}  # fmt: skip
_ARGUMENTS: Final = ("arguments", "args", "input")
_QUIET: Final = frozenset(
    ("role", "type", "id", "tool_call_id", "call_id", "tool_use_id", "part_kind", "kind",
     "toolUseId", "signature", "status", "timestamp", "cache_control", "dialect", "finish_reason",
     "index", "model", "provider_name", "name", "tool_name", "stop_reason", "object", "created")
)  # fmt: skip
_THOUGHTS: Final = ("thinking", "reasoning", "reasoning_content", "thought_text")
_SAMPLES: Final = ("choices", "candidates")


def shown(request: Any) -> tuple[list[Shown], int]:
    """What a request shows, in order, and how many of its messages were left out for their
    number."""
    if not isinstance(request, dict):
        return [], 0
    found = [
        Shown("system", key, text)
        for key in _SYSTEM
        if (text := "\n".join(_texts(request.get(key))))
    ]
    lost = 0
    for key in _LISTS:
        items = request.get(key)
        if isinstance(items, str):
            found.append(Shown("user", key, items))
        elif isinstance(items, list):
            most = MESSAGES
            lost += max(0, len(items) - most)
            first = max(0, len(items) - most)
            for place, one in enumerate(items[first:], first):
                found.extend(_pieces(one, f"{key}[{place}]"))
    return found, lost


def _pieces(message: Any, at: str) -> Iterator[Shown]:
    if not isinstance(message, dict):
        if text := "\n".join(_texts(message)):
            yield Shown("user", at, text)
        return
    role = _role(message, "")
    for key in ("content", "parts"):
        inner = message.get(key)
        if isinstance(inner, list) and any(isinstance(one, dict) for one in inner):
            for place, one in enumerate(inner):
                text = "\n".join(_texts(one))
                if text:
                    name = _named(one) or _named(message)
                    yield Shown(_role(one, role), f"{at}.{key}[{place}]", text, name)
            rest = {name: value for name, value in message.items() if name != key}
            if text := "\n".join(_texts(rest)):
                yield Shown(role or "user", at, text)
            return
    if text := "\n".join(_texts(message)):
        yield Shown(role or "user", at, text, _named(message))


def _role(one: Any, outer: str) -> str:
    if not isinstance(one, dict):
        return outer or "user"
    marks = [str(one.get(key, "")).lower() for key in ("part_kind", "type", "role")]
    if any(mark in _RESULTS for mark in marks) or any(key in one for key in _RESULT_KEYS):
        return "tool"
    for mark in marks:
        mark = _ROLES.get(mark, mark)  # noqa: PLW2901
        if mark in ("system", "user", "assistant"):
            return mark
    return outer


def _named(one: Any) -> str:
    if not isinstance(one, dict):
        return ""
    for key in _RESULT_KEYS:
        if isinstance(one.get(key), dict):
            return _named(one[key])
    name = one.get("name") or one.get("tool_name")
    return name if isinstance(name, str) else ""


def _texts(value: Any) -> Iterator[str]:
    """All texts of a message that say something, in order."""
    stack = [value]
    left = limits.FLOW_VALUE_ENTRIES
    while stack and left:
        left -= 1
        one = stack.pop()
        if isinstance(one, str):
            if one:
                yield one
        elif isinstance(one, dict):
            stack.extend(item for key, item in reversed(one.items()) if key not in _QUIET)
        elif isinstance(one, list):
            stack.extend(reversed(one))
        elif isinstance(one, int | float) and not isinstance(one, bool):
            yield str(one)


# ---- answers ---------------------------------------------------------------------------------


def reply_in(response: Any) -> Reply:
    """What a response says: calls, texts, thoughts."""
    found = Reply([], [], [])
    stack: list[tuple[Any, int, bool]] = [(response, 0, False)]
    left = limits.FLOW_VALUE_ENTRIES
    while stack and left:
        left -= 1
        one, sample, thinks = stack.pop()
        if isinstance(one, list):
            stack.extend((item, sample, thinks) for item in reversed(one))
        elif isinstance(one, dict):
            call = _call(one, sample)
            if call is not None:
                found.calls.append(call)
                continue
            stack.extend(_inside(one, sample, thinks))
        elif isinstance(one, str) and one.strip():
            (found.thoughts if thinks else found.texts).append((sample, one))
    return found


def _inside(one: dict[str, Any], sample: int, thinks: bool) -> Iterator[tuple[Any, int, bool]]:
    mark = str(one.get("type") or one.get("part_kind") or "")
    thinks = thinks or "think" in mark or "reason" in mark or one.get("thought") is True
    for key, item in reversed(one.items()):
        if key in _SAMPLES and isinstance(item, list):
            yield from ((each, at, thinks) for at, each in reversed(list(enumerate(item))))
        elif key not in _QUIET and "usage" not in key.lower():
            yield item, sample, thinks or key in _THOUGHTS


def _call(one: dict[str, Any], sample: int) -> Wanted | None:
    name = one.get("name") or one.get("tool_name")
    if not isinstance(name, str) or not name:
        return None
    for key in _ARGUMENTS:
        if key in one:
            args = one[key]
            if isinstance(args, str):
                args = _json(args)
            return Wanted(name, args if isinstance(args, dict) else {}, sample)
    return None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def menu_in(request: Any) -> tuple[str, ...]:
    """The names of the tools that a request offers."""
    found: list[str] = []
    stack: list[Any] = []
    if isinstance(request, dict):
        stack = [request[key] for key in ("functions", "tools", "toolConfig") if key in request]
    while stack and len(found) < MENU:
        one = stack.pop()
        if isinstance(one, list):
            stack.extend(reversed(one))
        elif isinstance(one, dict):
            name = one.get("name")
            if isinstance(name, str):
                found.append(name)
                continue
            nested = ("function", "functionDeclarations", "function_declarations", "tools",
                      "toolSpec", "function_tools")  # fmt: skip
            stack.extend(one[key] for key in reversed(nested) if key in one)
        elif isinstance(one, str):
            found.append(one)
    return tuple(found)


def same_tool(name: str, called: str) -> bool:
    """Whether a model's word for a tool is that of the journal: dots become other signs there, and
    servers stand before it."""
    if name == called:
        return True
    one, other = _bare(name), _bare(called)
    return one == other or one.endswith("_" + other) or other.endswith("_" + one)


def _bare(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name.lower()).strip("_")
