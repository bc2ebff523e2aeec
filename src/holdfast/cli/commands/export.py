"""``holdfast export``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[RUN]... FILE")
@click.option("--all", "everything", is_flag=True, help="All runs of the store.")
@shared
def command(names: tuple[str, ...], *, everything: bool, desk: Desk) -> None:
    """Write runs into one file.

    Runs that they fork from and that they spawned come with them. Every event is proven on the way.
    FILE must be new.

    \b
    Examples:
      holdfast export 7k3 9qg two-runs.holdfast
      holdfast export --all backup.holdfast
    """
    from holdfast.values.errors import Misuse

    *runs, file = names
    if bool(runs) == everything:
        raise Misuse("say RUN... FILE, or --all FILE")
    asyncio.run(_export(desk, runs, file))


async def _export(desk: Desk, names: list[str], file: str) -> None:
    import msgspec

    from holdfast.runtime.maintenance import export_runs
    from holdfast.runtime.refs import find_run

    screen = desk.screen
    async with desk.store() as store:
        runs = [(await find_run(store, name)).run for name in names]
        screen.live(f"writing {file}")
        moved = await export_runs(store, runs or None, file)
    screen.erase()
    if screen.json:
        screen.document({**msgspec.structs.asdict(moved), "file": file})
    else:
        screen.say(f"wrote {moved.runs} runs, {moved.events} events, {moved.blobs} blobs to {file}")
