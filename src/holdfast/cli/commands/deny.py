"""``holdfast deny``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.option("--note", default="", metavar="TEXT", help="Why; kept in the journal.")
@click.option("--digest", default=None, metavar="HEX",
              help="Only if it asks about this action: the beginning of its digest.")  # fmt: skip
@shared
def command(run: str, *, note: str, digest: str | None, desk: Desk) -> int:
    """Refuse the action that a run asks about, or decline its question.

    The agent is told so, with the note, and goes on.
    @STEP is needed only if the run asks several things at once.

    \b
    Examples:
      holdfast deny 7k3
      holdfast deny 7k3@4.1 --note "too much, ask for at most 50"
    """
    from holdfast.cli.answering import decide

    return asyncio.run(decide(desk, run, "deny", note=note, digest=digest))
