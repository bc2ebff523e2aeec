"""``holdfast diff``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("one", metavar="RUN_A")
@click.argument("other", metavar="RUN_B")
@shared
def command(one: str, other: str, *, desk: Desk) -> None:
    """Compare two runs: where they first differ, from what, and what came of it.

    Steps stand for each other if they ask for the same, wherever the runs put them. Then: the first
    that differs, with what stood before it in one run and not in the other (messages, results,
    model, menu, policy, input), every difference, and money, time, worlds and outcomes. How files
    of their worlds differ: `holdfast world diff`.

    \b
    Example: holdfast diff 7k3 9qg
    """
    asyncio.run(_diff(desk, one, other))


async def _diff(desk: Desk, one: str, other: str) -> None:
    import msgspec

    from holdfast.cli.comparing import tell
    from holdfast.explain.compare import compare_runs
    from holdfast.runtime.refs import find_run
    from holdfast.values.errors import Misuse

    if "@" in one + other:
        raise Misuse("runs are compared whole; versions of worlds with `holdfast world diff`")
    async with desk.store() as store:
        a, b = await find_run(store, one), await find_run(store, other)
        found = await compare_runs(store, a.run, b.run)
    if desk.screen.json:
        desk.screen.document(msgspec.to_builtins(found))
    else:
        tell(desk.screen, found)
