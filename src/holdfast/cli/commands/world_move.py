"""``holdfast world init | merge | rewind | discard``: what makes, moves and drops branches."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.command()
@click.argument("directory", metavar="[DIR]", default=".")
@click.option("--name", default=None, metavar="ID", help="The branch's id (default: a new one).")
@click.option("--ignore", multiple=True, metavar="GLOB", help="Leave such paths out.")
@click.option("--gitignore", is_flag=True, help="Leave out what git ignores.")
@click.option("--git", "commit", default="", metavar="COMMIT",
              help="Instead of its files: a commit of the git repository DIR.")  # fmt: skip
@shared
def init(
    directory: str,
    *,
    name: str | None,
    ignore: tuple[str, ...],
    gitignore: bool,
    commit: str,
    desk: Desk,
) -> None:
    """Take a directory in as a branch that no program runs.

    All that it holds but .holdfast, with untracked and (but for --gitignore) ignored files; the
    directory is not changed. Runs can be merged into the branch, and from it into the directory.

    \b
    Examples:
      holdfast world init --name main --ignore node_modules
      holdfast world init --git v1.2
    """
    from holdfast.world.ignores import GITIGNORE

    leave = (*ignore, GITIGNORE) if gitignore else ignore
    asyncio.run(_init(desk, Path(directory).absolute(), name, leave, commit))


async def _init(
    desk: Desk, directory: Path, name: str | None, ignore: tuple[str, ...], commit: str
) -> None:
    from holdfast.cli.refs import naming, run_name
    from holdfast.cli.worlds import not_taken, remember_home
    from holdfast.engine.landing import begin_branch
    from holdfast.runtime.maintenance import open_store
    from holdfast.runtime.taking import take_in
    from holdfast.values.errors import NotFound
    from holdfast.values.ids import new_id
    from holdfast.values.ports import SystemDice
    from holdfast.world import Stage, import_git, walk

    wanted = run_name(name) or new_id(SystemDice())
    if not os.path.isdir(directory):  # noqa: PTH112, ASYNC240 - a look, no wait
        raise NotFound(f"{directory}: no such directory")
    store = open_store(desk.settings, create=True)
    try:
        stage = Stage(store.get, store.put_now)
        desk.screen.live(f"reading {directory}")
        leave = not_taken(directory, store.directory, ignore)
        note: dict[str, Any] = {"directory": str(directory), "ignore": list(ignore)}
        if commit:
            root = await asyncio.to_thread(import_git, stage, directory, commit)
            note = {"repository": str(directory), "commit": commit}
        else:
            root = await take_in(store, directory, leave)
        desk.screen.erase()
        await store.put(stage.take())
        with naming(wanted):
            await begin_branch(store, wanted, root, now_ms=desk.now_ms(), by=desk.user, note=note)
        if not commit:
            await remember_home(store, wanted, store.directory)
        files = sum(1 for _ in walk(stage, root))
    finally:
        await store.close()
    if desk.screen.json:
        desk.screen.document({"run": wanted, "world": root, "files": files})
    else:
        desk.screen.say(wanted)
        desk.screen.note(f"branch {wanted}: {files} files of {directory}")


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("into", metavar="[INTO]", default="")
@click.option("--check", default=None, metavar="COMMAND",
              help="Run this in the candidate first; it must exit 0.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.1), default=limits.COMMAND_SECONDS,
              show_default=True, help="Time limit of the check.")  # fmt: skip
@click.option("--directory", default="", metavar="DIR",
              help="Into this directory, whatever the journal says.")  # fmt: skip
@shared
def merge(
    source: str, into: str, *, check: str | None, seconds: float, directory: str, desk: Desk
) -> int:
    """Merge the world of one run into that of another, or into a directory.

    Three ways, from the world that both share: where one forked from the other or was spawned by
    it. Without INTO: into the directory that the world was taken in from (`holdfast try`, `world
    init`), as it is now. Only what differs is written there, all of it or nothing; what an
    interrupted merge left half written there is finished first. If it was not you who took it in,
    with this store, say --directory; then no check of the journal's is run.

    The policy judges it: refused, the exit code is 3; if a person is to approve it, that is asked
    here, or the exit code is 10: approve what waits, and say the same again.

    With conflicts nothing changes; they are listed and the exit code is 4 (`holdfast resolve`). The
    check is split into words, there is no shell; if it fails nothing moves, and the exit code is 3.
    A fork of a try is checked as the try says, unless you say --check COMMAND, or --check '' for
    none.

    \b
    Examples:
      holdfast world merge 7k3.2 --check 'pytest -q'
      holdfast world merge 9qg main
    """
    from holdfast.values.errors import Misuse

    if into and directory:
        raise Misuse("say INTO or --directory, not both")
    return asyncio.run(_merge(desk, source, into, check, seconds, directory=directory))


async def _merge(
    desk: Desk, source: str, into: str, check: str | None, seconds: float, *, directory: str
) -> int:
    from holdfast.cli.attempting import merge_home
    from holdfast.cli.landing import Goal, bring, tell, words
    from holdfast.engine.landing import change_of
    from holdfast.runtime.refs import find_run

    command = None if check is None else words(check, "--check")
    async with desk.store() as store:
        row = await find_run(store, source)
        if not into:
            return await merge_home(desk, store, row, command, seconds, directory=directory)
        other = await find_run(store, into)
        goal = Goal(other.run, None, command or (), seconds)
        done = await bring(desk, store, goal, await change_of(store, row.run, other.run))
        return tell(desk, store, done, row.run, goal)


@click.command()
@click.argument("version", metavar="REF@STEP")
@shared
def rewind(version: str, *, desk: Desk) -> int:
    """Move a branch back to an earlier version of its world.

    Recorded as a change like any other: the versions between stay, and can be rewound to. The run's
    program, if it has one, is not rewound: for that, `holdfast fork`.

    \b
    Examples:
      holdfast world rewind 7k3@4
      holdfast world rewind main#2
    """
    return asyncio.run(_rewind(desk, version))


async def _rewind(desk: Desk, text: str) -> int:
    from holdfast.cli.landing import Goal, bring, tell
    from holdfast.cli.worlds import find_version
    from holdfast.engine.landing import Change
    from holdfast.values.errors import Misuse
    from holdfast.world import EMPTY

    async with desk.store() as store:
        found = await find_version(store, text)
        if found.text in (found.row.run, ""):
            raise Misuse(f"{text}: say to which version: REF@STEP or REF#N")
        before = (await store.head(found.row.run)).world or EMPTY
        change = Change(before, found.root, found.row.run, {"how": "rewind", "to": text})
        goal = Goal(found.row.run)
        done = await bring(desk, store, goal, change)
        return tell(desk, store, done, f"{found.row.run} to {text}", goal, verb="rewound")


@click.command()
@click.argument("ref", metavar="REF")
@shared
def discard(ref: str, *, desk: Desk) -> None:
    """Drop a branch, and all that was spawned by it or forked from it.

    Their runs leave the journal, their checkouts the disk. Content that something else needs stays;
    what was stored within the last hour goes with a later `holdfast gc`.

    \b
    Example: holdfast world discard 7k3
    """
    asyncio.run(_discard(desk, ref))


async def _discard(desk: Desk, ref: str) -> None:
    from holdfast.cli.attempting import discard as drop
    from holdfast.runtime.refs import find_run

    async with desk.store() as store:
        await drop(desk, store, await find_run(store, ref))
