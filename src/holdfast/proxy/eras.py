"""The two eras of the protocol, and what one says in the other's words. Pure.

``legacy``: revisions up to 2025-11-25, with a greeting, sessions and requests of servers to
clients. ``modern``: 2026-07-28, where each request says who asks and what it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MODERN: Final = "2026-07-28"
LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")

VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT: Final = "io.modelcontextprotocol/clientInfo"
CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
LEVEL: Final = "io.modelcontextprotocol/logLevel"
SERVER: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"
TASKS: Final = "io.modelcontextprotocol/tasks"
RELATED: Final = "io.modelcontextprotocol/related-task"
_ENVELOPE: Final = (VERSION, CLIENT, CAPABILITIES, LEVEL)

CACHEABLE: Final = frozenset({
    "server/discover", "tools/list", "prompts/list", "resources/list",
    "resources/templates/list", "resources/read",
})  # fmt: skip
ASKING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests about which a server may ask the client something."""
NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""What the header Mcp-Name says, by method."""
LEVELS: Final = (
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency",
)  # fmt: skip
CHANGES: Final = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
"""Notifications that lists changed, and the names by which the modern era asks for them."""
GONE: Final = frozenset({
    "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
})  # fmt: skip
"""Requests of the legacy era only."""

HERE: Final = {"name": "holdfast", "version": "0.1.0"}
"""What this proxy calls itself where it has to."""


def is_modern(meta: Mapping[str, Any]) -> bool:
    """Whether a request speaks the modern era, in a version that is known or not."""
    return VERSION in meta


def greeting(params: Mapping[str, Any], capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of ``initialize`` for a server, from those of a client."""
    version = params.get("protocolVersion")
    return {
        "protocolVersion": version if version in LEGACY else LEGACY[0],
        "capabilities": dict(capabilities),
        "clientInfo": params.get("clientInfo") or HERE,
    }


def envelope(version: str, client: Any, capabilities: Any, level: str = "") -> dict[str, Any]:
    """What ``_meta`` of a modern request carries."""
    found: dict[str, Any] = {VERSION: version, CLIENT: client or HERE, CAPABILITIES: capabilities}
    return found | {LEVEL: level} if level else found


def without_envelope(meta: Mapping[str, Any]) -> dict[str, Any]:
    """``_meta`` as a legacy server may see it: trace context and whatever else is the client's."""
    return {name: value for name, value in meta.items() if name not in _ENVELOPE}


def for_modern_server(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Capabilities of a legacy client, as a modern server may count on them through this proxy."""
    kept = ("elicitation", "sampling", "roots", "experimental", "extensions")
    found = {name: capabilities[name] for name in kept if name in capabilities}
    if isinstance(found.get("roots"), dict):
        found["roots"] = {}
    return _without_tasks(found)


def for_legacy_server(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Capabilities of a modern client, as a legacy server may count on them."""
    return {k: v for k, v in _without_tasks(capabilities).items() if k != "tasks"}


def _without_tasks(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """INVARIANT D4: long calls in the form of one era are not promised to the other."""
    found = {name: value for name, value in capabilities.items() if name != "tasks"}
    extensions = found.get("extensions")
    if isinstance(extensions, Mapping):
        found["extensions"] = {k: v for k, v in extensions.items() if k != TASKS}
    return found


def server_capabilities(found: Mapping[str, Any], *, native: bool) -> dict[str, Any]:
    """What a server can, as its client may count on it. ``native``: both speak the same era."""
    return dict(found) if native else _without_tasks(found)


def joined(many: list[dict[str, Any]]) -> dict[str, Any]:
    """Capabilities of several servers together: what one of them can, the front can."""
    found: dict[str, Any] = {}
    for one in many:
        for name, value in one.items():
            if isinstance(value, dict) and isinstance(found.get(name), dict):
                found[name] = {**found[name], **value}
            else:
                found[name] = value
    return found


def for_modern_client(method: str, result: dict[str, Any], server: Any) -> dict[str, Any]:
    """A legacy server's result with what each modern one must say."""
    result.setdefault("resultType", "complete")
    if method in CACHEABLE:
        # how long it stays true nobody said: so not at all, and for nobody else
        result.setdefault("ttlMs", 0)
        result.setdefault("cacheScope", "private")
    if server:
        result["_meta"] = {SERVER: server, **(result.get("_meta") or {})}
    return result


def for_legacy_client(result: dict[str, Any]) -> dict[str, Any]:
    """A modern server's result without what legacy ones do not have."""
    for name in ("resultType", "ttlMs", "cacheScope"):
        result.pop(name, None)
    return result


def elicits(capabilities: Mapping[str, Any]) -> bool:
    """Whether a client can show its person a form."""
    found = capabilities.get("elicitation")
    return isinstance(found, dict) and (not found or "form" in found)


def can(capabilities: Mapping[str, Any], method: str) -> bool:
    """Whether a client can be asked ``method``."""
    needed = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling",
              "roots/list": "roots"}.get(method, "")  # fmt: skip
    return not needed or capabilities.get(needed) is not None


def listens(level: str, wanted: str) -> bool:
    """Whether a client that asked for logs from ``wanted`` on gets one of ``level``."""
    if wanted not in LEVELS:
        return False
    return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(wanted)


def effect_of(annotations: Any) -> str:
    """What a tool that no policy speaks of is taken to do: hints only choose a default."""
    hints: Mapping[str, Any] = annotations if isinstance(annotations, dict) else {}
    if hints.get("readOnlyHint") is True:
        return "read"
    return "idempotent" if hints.get("idempotentHint") is True else "once"
