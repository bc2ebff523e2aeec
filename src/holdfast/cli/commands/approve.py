"""``holdfast approve``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.option("--note", default="", metavar="TEXT", help="Why; kept in the journal.")
@shared
def command(run: str, *, note: str, desk: Desk) -> int:
    """Allow the action that a run asks about.

    If it is not known whether an action happened: it did not, perform it now.
    @STEP is needed only if the run asks several things at once.

    \b
    Examples:
      holdfast approve 7k3
      holdfast approve 7k3@4.1 --note "checked the order"
    """
    from holdfast.cli.answering import decide

    return asyncio.run(decide(desk, run, "approve", note=note))
