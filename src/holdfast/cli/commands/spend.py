"""``holdfast spend``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.costing import economics_of
from holdfast.cli.desk import Desk, shared
from holdfast.explain.text import one_line


@click.command()
@click.option("--by", "scope", default="agent",
              type=click.Choice(["agent", "run", "model", "step", "team", "organisation", "branch",
                                 "day"]),
              help="What to sum by (default: agent).")  # fmt: skip
@click.option("--since", default="", metavar="TIME", help="Count since: 12h, 30d, 2026-01-01.")
@click.option("--agent", default="", metavar="NAME", help="Only runs of this agent.")
@click.option("--limit", default=50, metavar="N", help="Lines to show (default: 50; 0: all).")
@click.option("--policy", default="", metavar="FILE",
              help="The policy that names teams and organisations.")  # fmt: skip
@shared
def command(*, scope: str, since: str, agent: str, limit: int, policy: str, desk: Desk) -> None:
    """Show what was spent, by agent, run, model, step, team, branch or day.

    Money is that of the recorded prices, and what budgets' meters counted where there are any. A
    number under UNVERIFIED is how many steps did not tell what they used: for these, what was
    reserved counts. Branches are forks and branches inside runs; all else stands under "".

    \b
    Example: holdfast spend --by model --since 7d
    """
    found = asyncio.run(
        economics_of(desk, scopes=(scope,), since=since, agent=agent, policy=policy)
    )
    lines = found.spend[: limit or None]
    if desk.screen.json:
        desk.screen.document({"total": found.total, "lines": lines, "of": len(found.spend)})
        return
    if not found.spend:
        desk.screen.note(("nothing was spent", "dim"))
        return
    joules = found.total.joules is not None
    head = [scope.upper(), "MONEY", "SHARE", "TOKENS", "IN", "OUT", "CACHED", "CALLS", "RUNS",
            "UNVERIFIED"]  # fmt: skip
    desk.screen.table(
        [*head, *(["JOULES"] if joules else [])],
        [_row(line, joules=joules) for line in (*lines, found.total)],
    )
    if len(lines) < len(found.spend):
        more = len(found.spend) - len(lines)
        desk.screen.note((f"{more:,} more lines: --limit 0 shows all", "dim"))


def _row(line: Any, *, joules: bool) -> list[Any]:
    name = "total" if line.scope == "total" else one_line(line.name) or "-"
    guessed = (f"{line.unverified:,}", "yellow") if line.unverified else ""
    cells: list[Any] = [
        (name, "bold" if line.scope == "total" else ""), f"{line.money:,.6f}",
        f"{line.share:.1%}", f"{line.tokens:,}", f"{line.input:,}", f"{line.output:,}",
        f"{line.cache_read:,}", f"{line.calls:,}", f"{line.runs:,}", guessed,
    ]  # fmt: skip
    if joules:
        cells.append("" if line.joules is None else f"{line.joules:,.1f}")
    return cells
