"""``holdfast attempts``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="[TRY]", default="")
@click.option("--no-input", is_flag=True, help="Offer nothing here, even on a terminal.")
@shared
def command(run: str, *, no_input: bool, desk: Desk) -> int:
    """Show the forks of a try again, best first, and what can be done with them.

    Without TRY: of the newest one.

    \b
    Example: holdfast attempts 7k3
    """
    return asyncio.run(_attempts(desk, run, no_input))


async def _attempts(desk: Desk, text: str, no_input: bool) -> int:
    from holdfast.cli.asking import keyboard
    from holdfast.cli.attempting import AGENT, how_to_go_on, offer, show
    from holdfast.journal.store import RunQuery
    from holdfast.runtime.refs import find_run
    from holdfast.values.errors import Misuse, NotFound

    async with desk.store() as store:
        if text:
            row = await find_run(store, text)
        else:
            newest = await store.runs(RunQuery(limit=1, agent=AGENT))
            if not newest:
                raise NotFound("nothing was tried yet: holdfast try -- COMMAND")
            row = newest[0]
        if row.agent != AGENT:
            raise Misuse(f"run {row.run} is no try but {row.agent}: holdfast show {row.run}")
        code = await show(desk, store, row)
        if desk.screen.json:
            return code
        if row.ended and not no_input and keyboard() is not None and desk.screen.out.isatty():
            await offer(desk, store, row)
        else:
            await how_to_go_on(desk, store, row)
    return code
