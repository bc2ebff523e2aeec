"""``holdfast agents``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@shared
def command(*, policy: str, desk: Desk) -> None:
    """List the agents that ran, and what the policy says of them.

    `registered`: an entry of the policy's agents names it. `pending`: none does, so under a policy
    with agents it may only read. `stopped`: the policy or a kill switch stops it.

    \b
    Example: holdfast agents --policy policy.yaml
    """
    asyncio.run(_agents(desk, policy))


async def _agents(desk: Desk, policy: str) -> None:
    import msgspec

    from holdfast.cli.switching import board
    from holdfast.explain import telling
    from holdfast.explain.registry import registry
    from holdfast.explain.text import one_line
    from holdfast.runtime.maintenance import policy_of

    settings = desk.settings
    if policy:
        settings = msgspec.structs.replace(settings, policy=policy)
    known = policy_of(settings)
    async with desk.store() as store:
        found = registry(await _rows(store), known.agents, await board(store))
    screen = desk.screen
    if screen.json:
        screen.document([msgspec.structs.asdict(one) for one in found])
        return
    if not found:
        screen.note("no agent has run, and the policy names none")
        return
    styles = {"registered": "green", "pending": "yellow", "stopped": "red", "": "dim"}
    rows: list[list[Any]] = [
        [(one_line(one.agent), "bold"), (one.standing or "any", styles[one.standing]),
         one_line(one.owner) or "-", one_line(one.role) or "-", str(one.autonomy), str(one.runs),
         (telling.clock(one.last) if one.last else "-", "dim"), one_line(one.why)]
        for one in found
    ]  # fmt: skip
    screen.table(["AGENT", "STANDING", "OWNER", "ROLE", "AUTONOMY", "RUNS", "LAST", "WHY"], rows)


async def _rows(store: Any) -> list[Any]:
    from holdfast.journal.store import RunQuery

    found: list[Any] = []
    before = 0
    while page := await store.runs(RunQuery(1000, before)):
        found += page
        before = page[-1].number
    return found
