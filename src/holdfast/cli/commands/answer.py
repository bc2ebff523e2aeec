"""``holdfast answer``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.argument("value")
@click.option("--note", default="", metavar="TEXT", help="Why; kept in the journal.")
@click.option("--digest", default=None, metavar="HEX",
              help="Only if it asks about this action: the beginning of its digest.")  # fmt: skip
@click.option("--text", is_flag=True, help="VALUE is text, even if it looks like JSON.")
@shared
def command(run: str, value: str, *, note: str, digest: str | None, text: bool, desk: Desk) -> int:
    """Answer the question that a run asks.

    VALUE is JSON if it is JSON, else text. If the question offers choices, it must be one. If it
    is not known whether an action happened: it did, and VALUE is its result.

    \b
    Examples:
      holdfast answer 7k3 green
      holdfast answer 7k3@4.1 '{"limit": 50}' --note "as agreed"
    """
    from holdfast.cli.answering import decide
    from holdfast.cli.refs import value_of

    given = value if text else value_of(value)
    return asyncio.run(decide(desk, run, "answer", value=given, note=note, digest=digest))
