"""``holdfast score``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("score", metavar="good|bad|NUMBER")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with it.")
@shared
def command(run: str, score: str, *, note: str, desk: Desk) -> None:
    """Say what a run's outcome is worth.

    It is kept as a finding about the run's end; a later one counts instead, and a person's before
    that of a check. `diff`, `what-if`, `bisect` and `pairs` go by it.

    \b
    Examples:
      holdfast score 7k3 bad --note "sent to the wrong person"
      holdfast score 9qg 0.8
    """
    asyncio.run(_score(desk, run, score, note))


async def _score(desk: Desk, run: str, score: str, note: str) -> None:
    from holdfast.runtime.refs import find_run
    from holdfast.runtime.scoring import add_score, read_score

    good, number = read_score(score)
    async with desk.store() as store:
        row = await find_run(store, run)
        found = await add_score(
            store, row.run, (good, number), note, by=desk.user, now_ms=desk.now_ms()
        )
    if desk.screen.json:
        desk.screen.document({"run": row.run, **found})
    else:
        desk.screen.note((f"run {row.run}", "bold"), f"  scored {score}")
