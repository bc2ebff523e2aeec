"""Many servers behind one front: whose a name is, and what their lists are together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.proxy import frames
from holdfast.proxy.links import Links
from holdfast.proxy.upstream import Upstream, Who
from holdfast.values import limits

FIELDS = {
    "tools/list": ("tools", "name", "tools"),
    "prompts/list": ("prompts", "name", "prompts"),
    "resources/list": ("resources", "uri", "resources"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate", "resources"),
}
"""By method: the field of its result, what names an entry, and the capability that has it."""


def shown(
    lists: Mapping[str, list[str]], servers: Sequence[str], before: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """What clients call each name, and whose it is. ``servers``: all that there are; ``before``:
    whose each name that was ever shown is, to which the new ones are added.

    INVARIANT D10: a name is changed only if two servers have it, and then for both, or if it could
    be taken for another's; and one that was shown never stands for anything else later. Of a
    server whose names change without end, new ones are not shown any more."""
    counts = Counter(name for names in lists.values() for name in set(names))
    used = Counter(whose[0] for whose in before.values())
    found: dict[str, tuple[str, str]] = {}
    plain: list[tuple[str, str]] = []
    prefixed: list[tuple[str, str]] = []
    for server, names in lists.items():
        for name in dict.fromkeys(names):
            poses = any(name.startswith(f"{one}__") for one in servers if one != server)
            (prefixed if counts[name] > 1 or poses else plain).append((server, name))
    for at, whose in enumerate(prefixed + plain):
        server, name = whose
        as_shown = f"{server}__{name}" if at < len(prefixed) else name
        if as_shown in found or before.get(as_shown, whose) != whose:
            as_shown = f"{server}__{name}"
        while as_shown in found or before.get(as_shown, whose) != whose:
            as_shown += "_"
        if as_shown not in before:
            if used[server] >= 2 * limits.TOOLS_ITEMS:
                continue
            used[server] += 1
            before[as_shown] = whose
        found[as_shown] = whose
    return found


async def gathered(links: Links, method: str, who: Who) -> dict[str, Any]:
    """The lists of all servers as one. A server that cannot be reached has none."""
    field, key, capability = FIELDS[method]
    lists: dict[str, list[dict[str, Any]]] = {}
    for upstream in await links.all():
        if capability not in upstream.can:
            continue
        try:
            items = await upstream.listed(method, field, links.who(upstream, who))
        except (frames.RpcError, ConnectionError):
            continue
        lists[upstream.server.name] = [
            one for one in items if isinstance(one, dict) and isinstance(one.get(key), str)
        ]
        if method == "tools/list":
            upstream.learn(lists[upstream.server.name])
    names = {server: [one[key] for one in items] for server, items in lists.items()}
    if key == "name":
        before = links.shown.setdefault(field, {})
        links.names[field] = shown(names, list(links.servers), before)
        back = {whose: name for name, whose in links.names[field].items()}
        merged = [
            {**one, "name": back[server, one["name"]]}
            for server, items in lists.items()
            for one in items
            if (server, one["name"]) in back
        ]
    else:
        links.names[field] = {
            uri: (server, uri) for server in reversed(names) for uri in names[server]
        }
        merged = [one for items in lists.values() for one in items]
    return {field: merged}


async def whose(links: Links, field: str, name: str, who: Who) -> tuple[Upstream, str] | None:
    """The server to which a tool or prompt belongs, and its name there; None if nobody has it."""
    if len(links.servers) == 1:
        return await links.to(next(iter(links.servers))), name
    if name not in links.names.get(field, {}):
        await gathered(links, f"{field}/list", who)
    found = links.names[field].get(name)
    return None if found is None else (await links.to(found[0]), found[1])


async def holders(links: Links, uri: str) -> list[Upstream]:
    """The servers that may have a resource, the likeliest first."""
    if len(links.servers) == 1:
        return await links.all()
    known = links.names.get("resources", {}).get(uri)
    reached = [one for one in await links.all() if "resources" in one.can]
    return sorted(reached, key=lambda one: known is None or one.server.name != known[0])
