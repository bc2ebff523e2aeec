"""``holdfast doctor``."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain.text import Part

_MEANS = {
    "namespaces": "commands run in a world of their own: namespaces, Landlock, seccomp",
    "landlock": "commands run on a copy, held by Landlock and seccomp; without network",
    "none": "no walls stand here: commands are refused",
}


@click.command()
@shared
def command(desk: Desk) -> int:
    """Say what this host can do for sandboxes, and how to get what is missing.

    Each thing is tried, on the file system of the store. A fix is one line. The exit code is 1 if
    no walls stand here at all; docs/sandbox.md explains the tiers.

    \b
    Examples:
      holdfast doctor
      holdfast doctor --json
    """
    from holdfast.sandbox.probe import probe

    place = desk.settings.directory
    while not place.is_dir():
        place = place.parent
    host = probe(str(place.absolute()))
    if desk.screen.json:
        desk.screen.document({
            "tier": host.tier, "overlay": host.overlay, "facts": [_document(f) for f in host.facts],
        })  # fmt: skip
    else:
        style = {"namespaces": "green", "landlock": "yellow"}.get(host.tier, "red")
        desk.screen.say("tier ", (host.tier, style), f": {_MEANS[host.tier]}")
        lines: list[list[Part]] = [
            [("ok", "green") if fact.ok else ("lacks", "yellow"), fact.name,
             (fact.tier or "any", "dim"), fact.found]
            for fact in host.facts
        ]  # fmt: skip
        desk.screen.table(["", "THING", "TIER", "FOUND"], lines, fold=3)
        for fact in host.facts:
            if not fact.ok:
                desk.screen.say((f"{fact.name}: ", "bold"), fact.fix)
    return 1 if host.tier == "none" else 0


def _document(fact: Any) -> dict[str, Any]:
    return {"name": fact.name, "ok": fact.ok, "found": fact.found, "fix": fact.fix,
            "tier": fact.tier}  # fmt: skip
