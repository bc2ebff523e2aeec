"""``holdfast restore``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.argument("directory", metavar="DIR")
@shared
def command(run: str, directory: str, *, desk: Desk) -> None:
    """Write the world of a run, at a step, into a directory.

    The directory must be new or empty. Without @STEP it is the world as it is now; @0 is the world
    that the run began with.

    \b
    Example: holdfast restore 7k3@4 /tmp/before-the-edit
    """
    asyncio.run(_restore(desk, run, directory))


async def _restore(desk: Desk, place: str, directory: str) -> None:
    from holdfast.cli.past import world_at
    from holdfast.cli.refs import find
    from holdfast.world import Stage, export_dir, walk

    async with desk.store() as store:
        row, key = await find(store, place)
        root = await world_at(store, row, key)
        stage = Stage(store.get)
        desk.screen.live(f"writing {directory}")
        export_dir(stage, root, Path(directory))
        files = sum(1 for _ in walk(stage, root))
    desk.screen.erase()
    if desk.screen.json:
        desk.screen.document(
            {"run": row.run, "step": key, "world": root, "directory": directory, "paths": files}
        )
    else:
        desk.screen.note(f"wrote {files} paths of world {root[:12]} to {directory}")
