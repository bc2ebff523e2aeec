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
@click.argument("directory", metavar="[DIR]", default="")
@click.option("--git", "repository", default="", metavar="REPO",
              help="Instead: a git repository, which may be new.")  # fmt: skip
@click.option("--branch", default="", metavar="NAME", help="Its branch (default: the run's id).")
@shared
def export(version: str, directory: str, *, repository: str, branch: str, desk: Desk) -> None:
    """Write a version's files into a directory, which must be new or empty; or to git.

    Without @STEP it is the world as it is now; @0 is the one that the run began with. With --git,
    each version of REF up to this one becomes a commit of a branch of its own, whose message names
    run and step; saying it again adds what is new.

    \b
    Examples:
      holdfast world export 7k3@4 /tmp/before-the-edit
      holdfast world export main --git . --branch agents
    """
    from holdfast.values.errors import Misuse

    if bool(directory) == bool(repository) or (branch and not repository):
        raise Misuse("say a DIR, or --git REPO (with --branch NAME)")
    if repository:
        asyncio.run(_to_git(desk, version, Path(repository), branch))
    else:
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


async def _to_git(desk: Desk, text: str, repository: Path, branch: str) -> None:
    from holdfast.cli.worlds import find_version, versions_of
    from holdfast.world import Stage, Version, export_git

    async with desk.store() as store:
        found = await find_version(store, text)
        history: list[Version] = []
        for one in await versions_of(store, found.row):
            message = f"{one.what}\n\nRun: {found.row.run}\nStep: {one.key or f'#{one.pos}'}\n"
            if one.pos <= found.pos and (one.moved or not history):
                history.append(Version(one.root, message, one.by or "holdfast", one.at // 1000))
        name = branch or found.row.run
        done = export_git(Stage(store.get), repository, name, history)
    if desk.screen.json:
        desk.screen.document({
            "run": found.row.run, "branch": name, "head": done.head, "commits": done.commits,
            "left_out": list(done.left_out),
        })  # fmt: skip
        return
    for why in done.left_out:
        desk.screen.note((f"left out: {why}", "yellow"))
    desk.screen.note(f"branch {name} of {repository}: {done.commits} new commits, {done.head[:12]}")
