"""Tools that are built into an agent, judged before it uses them, where it has hooks that ask."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from holdfast.engine.described import Described, journal_name
from holdfast.engine.guest import Guest
from holdfast.models.plain import mapping
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Suspended

READS = frozenset({"Read", "Glob", "Grep", "LS", "NotebookRead", "TodoWrite", "Task", "ToolSearch"})
EDITS = frozenset({"Edit", "MultiEdit", "Write", "NotebookEdit"})


class BuiltIn:
    """Judges calls of an agent's own tools as steps named ``AGENT.TOOL``; the agent performs them.
    ``effect``: what the policy says that a tool does, "" if it does not speak of it; ``led``: names
    of MCP servers whose calls come through the door."""

    def __init__(
        self, guest: Guest, agent: str, effect: Callable[[str], str], patience: float,
        led: Callable[[], Collection[str]],
    ) -> None:  # fmt: skip
        self._guest, self._agent, self._led = guest, agent, led
        self._effect, self._patience = effect, patience

    async def __call__(self, receive: Any, send: Any) -> None:
        """One request of a hook, as ASGI has it; who asks was looked at."""
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = bool(message.get("more_body"))
            if len(body) > limits.FRAME_BYTES:
                more = False
        try:
            asked = mapping(msgspec.json.decode(body))
        except msgspec.DecodeError:
            asked = {}
        answer = msgspec.json.encode(await self._judged(asked))
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"application/json")]})  # fmt: skip
        await send({"type": "http.response.body", "body": answer})

    async def _judged(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked.get("tool_name")
        if not isinstance(name, str) or not name:
            return _refusal("the hook does not say which tool")
        if _server_of(name) in self._led():
            return {}  # it is judged where it is called
        tool = journal_name(self._agent, name)
        effect = self._effect(tool) or (
            "read" if name in READS else "idempotent" if name in EDITS else "once"
        )
        described = Described(tool, _theirs, effect=effect)
        try:
            taken = await self._guest.step(
                described, mapping(asked.get("tool_input")), perform=_theirs,
                patience=self._patience,
            )  # fmt: skip
        except (HoldfastError, Suspended) as error:
            key = getattr(error, "key", "")
            if key:
                self._guest.delivered(key)
            return _refusal(str(error))
        self._guest.delivered(taken.key)
        return {}


def _server_of(name: str) -> str:
    """The MCP server that a tool is surely of, by the name that the agent has for it; else ""."""
    # INVARIANT D120: the agent's name for a tool of a server that nobody led through the door is
    # judged here, also if it could be read as that of one that was: ``a__b`` has two readings
    parts = name.split("__")
    if len(parts) != 3 or parts[0] != "mcp" or parts[2].startswith("_"):
        return ""
    return parts[1]


async def _theirs(args: dict[str, Any]) -> str:
    """The agent performs it itself."""
    del args
    return "left to the agent"


def _refusal(text: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": f"Holdfast: {text}",
        }
    }
