"""Many servers behind one front: whose a name is, and what their lists are together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from holdfast.proxy import frames
from holdfast.proxy.links import Links
from holdfast.proxy.upstream import Upstream, Who

FIELDS = {
    "tools/list": ("tools", "name", "tools"),
    "prompts/list": ("prompts", "name", "prompts"),
    "resources/list": ("resources", "uri", "resources"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate", "resources"),
}
"""By method: the field of its result, what names an entry, and the capability that has it."""


def shown(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, str]]:
    """What clients call each name, and whose it is. INVARIANT D10: a name is changed only if two
    servers have it, and then for both, so that none stands for the other's."""
    counts = Counter(name for names in lists.values() for name in set(names))
    taken = {name for name, count in counts.items() if count == 1}
    found: dict[str, tuple[str, str]] = {}
    for server, names in lists.items():
        for name in dict.fromkeys(names):
            as_shown = name
            if counts[name] > 1:
                as_shown = f"{server}__{name}"
                while as_shown in taken:
                    as_shown += "_"
                taken.add(as_shown)
            found[as_shown] = (server, name)
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
        links.names[field] = shown(names)
        back = {whose: name for name, whose in links.names[field].items()}
        merged = [
            {**one, "name": back[server, one["name"]]}
            for server, items in lists.items()
            for one in items
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
