"""Asking a server for its tools, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.engine.described import Described, journal_name
from holdfast.proxy import frames
from holdfast.proxy.eras import HERE
from holdfast.proxy.upstream import Sent, Server, Upstream, Who
from holdfast.values.errors import Outside


class Seen(msgspec.Struct, frozen=True):
    """A tool as its server defines it: ``name`` in the journal, ``own`` at the server, the digest
    of its definition, which a policy may pin."""

    name: str
    own: str
    definition: Mapping[str, Any]
    digest: str


class Listed(msgspec.Struct, frozen=True):
    """A server: the revision of the protocol that it speaks, its instructions, its tools."""

    server: str
    version: str
    instructions: str
    tools: tuple[Seen, ...]


class _Nobody:
    """Hears what a server says of its own accord, and does nothing about it."""

    def server_note(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        """Nothing is noted."""

    def server_asks(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        """Nobody is there to be asked: it is told that its client can do nothing."""

    def server_lost(self, upstream: Upstream, why: str) -> None:
        """Whoever waits is told."""


async def listed(server: Server) -> Listed:
    """What a server says of its tools. `Outside` if it cannot be spoken to."""
    upstream = Upstream(server, _Nobody())
    who = Who(HERE, {})
    try:
        await upstream.open({}, who, modern=True)
        found = await upstream.listed("tools/list", "tools", who)
    except (frames.RpcError, frames.Broken, ConnectionError) as error:
        raise Outside(f"scan: server {server.name} does not list its tools: {error}") from None
    finally:
        await upstream.close()
    return Listed(
        server.name, upstream.version, upstream.instructions,
        tuple(seen(server.name, one) for one in found
              if isinstance(one, dict) and isinstance(one.get("name"), str)),
    )  # fmt: skip


def seen(server: str, definition: Mapping[str, Any]) -> Seen:
    """A tool of a server, as the journal will know it."""
    own = str(definition["name"])
    name = journal_name(server, own)
    # INVARIANT D104: the digest is that which the door computes: what is pinned here holds there
    tool = Described(
        name, _never, effect="once", description=str(definition.get("description") or ""),
        schema=_object(definition.get("inputSchema")),
        output=_object(definition.get("outputSchema")),
    )  # fmt: skip
    return Seen(name, own, definition, tool.definition)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


async def _never(_: dict[str, Any]) -> None:
    raise NotImplementedError
