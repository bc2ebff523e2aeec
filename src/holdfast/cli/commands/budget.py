"""``holdfast budget``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain.text import one_line


@click.command()
@click.option("--policy", metavar="FILE", default="",
              help="The policy whose limits count (default: HOLDFAST_POLICY).")  # fmt: skip
@click.option("--rebuild", is_flag=True,
              help="First compute all meters again from the events.")  # fmt: skip
@shared
def command(*, policy: str, rebuild: bool, desk: Desk) -> None:
    """Show what is reserved, used and left of budgets.

    One line for each scope and period in which something was used or reserved: RESERVED is what
    steps that go on may still use. LEFT needs the policy. With --json: one document a line, with
    amounts in the budget's unit.

    \b
    Example: holdfast budget --policy policy.yaml
    """
    asyncio.run(_budgets(desk, policy, rebuild))


async def _budgets(desk: Desk, policy: str, rebuild: bool) -> None:
    from holdfast.runtime.maintenance import budget_lines, rebuild_meters

    async with desk.store() as store:
        if rebuild:
            differed = rebuild_meters(store)
            desk.screen.note((f"meters that differed from their events: {differed}", "dim"))
        found = budget_lines(store, policy or desk.settings.policy)
    if desk.screen.json:
        desk.screen.document(found)
    elif found:
        desk.screen.table(
            ["BUDGET", "SCOPE", "OF", "PERIOD", "RESERVED", "USED", "LIMIT", "LEFT", "UNIT"],
            [_row(line) for line in found],
        )
    else:
        desk.screen.note(("nothing was used of any budget", "dim"))


def _row(line: dict[str, Any]) -> list[Any]:
    shown = line["shown"]
    over = line["left"] is not None and line["left"] < 0
    return [
        (one_line(line["budget"]), "bold"), line["scope"], one_line(line["of"]),
        line["period"] or "ever", shown["reserved"], shown["used"], shown["limit"],
        (shown["left"], "red" if over else ""), line["unit"],
    ]  # fmt: skip
