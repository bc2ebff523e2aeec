"""``holdfast why``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP[.ARG]]")
@click.option("--arg", metavar="PATH", default="",
              help="Only this argument, or what is below it: to, items[2].price.")  # fmt: skip
@shared
def command(run: str, *, arg: str, desk: Desk) -> None:
    """Say why a run took a step, or ended as it did.

    Where each value of its arguments came from, who asked, who let it happen, what else was
    possible, what it changed and cost; and what cannot be traced. Edges: saw (it stood in what the
    step was decided from), carried (bytes of it reached an argument), caused (forks without it
    ended otherwise). What a model gave as its reason is said, no more. With --json: one document.

    \b
    Examples:
      holdfast why 7k3@4.1
      holdfast why 7k3@4.1.to
      holdfast why 7k3
    """
    asyncio.run(_why(desk, run, arg))


async def _why(desk: Desk, place: str, arg: str) -> None:
    import msgspec

    from holdfast.cli.reasons import show_why
    from holdfast.explain.why import why
    from holdfast.runtime.refs import find

    async with desk.store() as store:
        row, key = await find(store, place)
        found = await why(store, row.run, key, arg)
    if desk.screen.json:
        desk.screen.document(msgspec.to_builtins(found))
    else:
        show_why(desk, found, only_arguments=bool(arg) or key not in ("", found.action.key))
