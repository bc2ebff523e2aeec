"""``holdfast world mount | export``: worlds as directories."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("version", metavar="REF[@STEP]")
@click.argument("words", nargs=-1, metavar="[-- COMMAND...]")
@click.option("--keep", is_flag=True, help="Make what it changed a new version of the branch.")
@shared
def mount(version: str, words: tuple[str, ...], *, keep: bool, desk: Desk) -> int:
    """Open a shell, or run a command, in a version's files.

    They are a copy: what changes in it is dropped, unless --keep. A command runs in a sandbox, as a
    run of its own. Without COMMAND it is your shell (SHELL), at this terminal and with your rights.
    The exit code is the command's.

    \b
    Examples:
      holdfast world mount 7k3@4
      holdfast world mount main --keep -- make generate
    """
    return asyncio.run(_mount(desk, version, words, keep))


async def _mount(desk: Desk, text: str, words: tuple[str, ...], keep: bool) -> int:
    from holdfast.cli.landing import Goal, bring, tell
    from holdfast.cli.mounting import run_inside, shell_inside
    from holdfast.cli.worlds import find_version
    from holdfast.engine.landing import Change

    async with desk.store() as store:
        found = await find_version(store, text)
        if words:
            code, after = await run_inside(desk, store, found, list(words))
        else:
            code, after = await shell_inside(desk, store, found.root)
        if keep:
            note = {"how": "mount", "command": list(words) or ["shell"], "exit": code}
            goal = Goal(found.row.run)
            change = Change(found.root, after, found.row.run, note)
            done = await bring(desk, store, goal, change)
            return tell(desk, store, done, f"{goal.run} from {text}", goal, verb="changed") or code
        if desk.screen.json:
            desk.screen.document({"run": found.row.run, "world": found.root, "exit": code})
        return code


@click.command()
@click.argument("version", metavar="REF[@STEP]")
@click.argument("directory", metavar="DIR")
@shared
def export(version: str, directory: str, *, desk: Desk) -> None:
    """Write a version's files into a directory, which must be new or empty.

    Without @STEP it is the world as it is now; @0 is the one that the run began with.

    \b
    Example: holdfast world export 7k3@4 /tmp/before-the-edit
    """
    asyncio.run(_export(desk, version, directory))


async def _export(desk: Desk, text: str, directory: str) -> None:
    from holdfast.cli.worlds import find_version
    from holdfast.world import Stage, export_dir, walk

    async with desk.store() as store:
        found = await find_version(store, text)
        stage = Stage(store.get)
        desk.screen.live(f"writing {directory}")
        export_dir(stage, found.root, Path(directory))
        files = sum(1 for _ in walk(stage, found.root))
    desk.screen.erase()
    if desk.screen.json:
        desk.screen.document({
            "run": found.row.run, "version": text, "world": found.root, "directory": directory,
            "paths": files,
        })  # fmt: skip
    else:
        desk.screen.note(f"wrote {files} paths of world {found.root[:12]} to {directory}")
