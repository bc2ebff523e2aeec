"""``holdfast resolve``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("ref", metavar="REF")
@click.argument("path", metavar="PATH")
@click.option("--ours", is_flag=True, help="What stands there now.")
@click.option("--theirs", is_flag=True, help="What was to come.")
@click.option("--base", is_flag=True, help="What both came from.")
@click.option("--file", default="", metavar="FILE", help="This file's content; - for stdin.")
@shared
def command(
    ref: str, path: str, *, ours: bool, theirs: bool, base: bool, file: str, desk: Desk
) -> int:
    """Decide a conflict of a refused merge; after the last one it goes through.

    PATH is what `holdfast conflicts` lists: path:table:[key] for a row of a database, whose path
    alone means all of its rows. The decision is recorded, and counts as long as the sides are what
    they are now. When none is open, the merge is made again, with its check, and written into the
    directory if it was meant for one.

    \b
    Examples:
      holdfast resolve 7k3 src/app.py --theirs
      holdfast resolve 7k3 src/app.py --file merged.py
    """
    from holdfast.values.errors import Misuse

    said = {"ours": ours, "theirs": theirs, "base": base, "file": bool(file)}
    takes = [name for name, given in said.items() if given]
    if len(takes) != 1:
        raise Misuse("say one of --ours, --theirs, --base and --file")
    content = b""
    if file:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return asyncio.run(_resolve(desk, ref, path, takes[0], content))


async def _resolve(desk: Desk, ref: str, path: str, take: str, content: bytes) -> int:
    from holdfast.cli.known import remembers
    from holdfast.cli.landing import Goal, asked, bring, tell
    from holdfast.cli.worlds import home_of
    from holdfast.engine.choices import label
    from holdfast.engine.landing import decide, open_merge
    from holdfast.runtime.refs import find_run
    from holdfast.values.errors import Refused

    async with desk.store() as store:
        row = await find_run(store, ref)
        found = await open_merge(store, row.run)
        note = found.change.note
        if not remembers(store.directory, row.run, asked(note)):
            words = f"holdfast world merge {found.change.source} {row.run}"
            raise Refused(f"run {row.run}: it was not you who made that merge, with this store, so "
                          f"where it is to go and its check are not believed: {words}, or "
                          "--directory DIR, and resolve it then")  # fmt: skip
        found = await decide(
            store, row.run, found, path, take, by=desk.user, now_ms=desk.now_ms(), content=content
        )
        left = found.left
        if left:
            if desk.screen.json:
                desk.screen.document({"run": row.run, "left": [label(one) for one in left]})
            else:
                desk.screen.note(f"{path}: {take}; still open: {len(left)}, next {label(left[0])}")
            return 0
        into = note.get("directory") or ""
        home = await home_of(store, row, store.directory, into) if into else None
        check, seconds = tuple(note.get("check") or ()), note.get("seconds") or 0.0
        goal = Goal(row.run, home, check, seconds, note.get("reach") or {})
        done = await bring(desk, store, goal, found.change)
        return tell(desk, store, done, found.change.source or "changes", goal)
