"""``holdfast world ls | tree | log | diff``: looking at branches and their versions."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.command()
@click.argument("ref", metavar="[REF]", default="")
@click.argument("path", metavar="[PATH]", default="")
@click.option("--limit", type=click.IntRange(1), default=limits.LIST_ROWS, show_default=True,
              help="How many branches.")  # fmt: skip
@shared
def ls(ref: str, path: str, *, limit: int, desk: Desk) -> None:
    """List branches, or the files of one version.

    Without REF: the newest branches, with what their worlds hold. With REF, and a PATH in it:
    names, directories ending in "/".

    \b
    Examples:
      holdfast world ls
      holdfast world ls 7k3@4 src
    """
    with desk.screen.listing():
        asyncio.run(_files(desk, ref, path) if ref else _branches(desk, limit))


async def _branches(desk: Desk, limit: int) -> None:
    from holdfast.explain import telling
    from holdfast.journal.store import RunQuery
    from holdfast.world import EMPTY, Stage, walk

    async with desk.store() as store:
        stage, now, lines = Stage(store.get), desk.now_ms(), []
        for row in await store.runs(RunQuery(limit=limit)):
            head = await store.head(row.run)
            held = [entry for _, entry in walk(stage, head.world or EMPTY)]
            size = sum(entry.size for entry in held)
            origin = row.fork_of and f"{row.fork_of}#{row.fork_pos}"
            if desk.screen.json:
                desk.screen.document({
                    "run": row.run, "agent": row.agent, "status": row.status, "head": head.pos,
                    "world": head.world, "files": len(held), "bytes": size,
                    "fork_of": row.fork_of, "fork_pos": row.fork_pos, "parent": row.parent,
                })  # fmt: skip
            lines.append([
                (f"{row.run}#{head.pos}", "bold"), row.agent,
                (row.status, telling.STYLES.get(row.status, "")), telling.age(row.changed, now),
                f"{len(held):,}", f"{size:,}", (origin or row.parent, "dim"),
            ])  # fmt: skip
        if desk.screen.json:
            return
        if lines:
            titles = ["BRANCH", "AGENT", "STATUS", "CHANGED", "FILES", "BYTES", "FROM"]
            desk.screen.table(titles, lines)
        else:
            desk.screen.note(("no worlds yet: holdfast world init, or holdfast try", "dim"))


async def _files(desk: Desk, ref: str, path: str) -> None:
    from holdfast.cli.worlds import find_version
    from holdfast.world import Stage, list_dir

    async with desk.store() as store:
        found = await find_version(store, ref)
        for name, entry in list_dir(Stage(store.get), found.root, path):
            if desk.screen.json:
                desk.screen.document({
                    "name": name, "kind": entry.kind, "bytes": entry.size,
                    "executable": entry.executable, "target": entry.target,
                })  # fmt: skip
                continue
            size = f"{entry.size:>12,}" if entry.is_file else " " * 12
            mark = "*" if entry.executable else "/" if entry.is_dir else ""
            to = f" -> {entry.target}" if entry.kind == "link" else ""
            desk.screen.say((size, "dim"), f"  {name}{mark}{to}".replace("\n", "\\n"))


@click.command()
@click.argument("ref", metavar="[REF]", default="")
@shared
def tree(ref: str, *, desk: Desk) -> None:
    """Show which branch came from which, as a tree.

    With REF: only that branch and what came from it.

    \b
    Example: holdfast world tree 7k3
    """
    with desk.screen.listing():
        asyncio.run(_tree(desk, ref))


async def _tree(desk: Desk, ref: str) -> None:
    from holdfast.cli.worlds import above, every_run, family
    from holdfast.explain import telling
    from holdfast.runtime.refs import find_run

    async with desk.store() as store:
        rows = await family(store, await find_run(store, ref)) if ref else await every_run(store)
        names = {row.run for row in rows}
        below: dict[str, list[Any]] = {}
        for row in rows:
            origin = above(row)
            below.setdefault(origin if origin in names else "", []).append(row)
        stack = [(row, 0) for row in reversed(below.get("", []))]
        while stack:
            row, depth = stack.pop()
            stack += [(one, depth + 1) for one in reversed(below.get(row.run, []))]
            if desk.screen.json:
                desk.screen.document({"run": row.run, "depth": depth, "agent": row.agent,
                                      "status": row.status, "fork_of": row.fork_of,
                                      "fork_pos": row.fork_pos, "parent": row.parent})  # fmt: skip
                continue
            how = f"  forked at #{row.fork_pos}" if row.fork_of else ""
            how = how or (f"  spawned at @{row.parent_key}" if row.parent else "")
            desk.screen.say(
                "  " * depth, (row.run, "bold"), f"  {row.agent}  ",
                (row.status, telling.STYLES.get(row.status, "")), (how, "dim"),
            )  # fmt: skip
        if not rows:
            desk.screen.note(("no worlds yet: holdfast world init, or holdfast try", "dim"))


@click.command()
@click.argument("ref")
@shared
def log(ref: str, *, desk: Desk) -> None:
    """List the versions of a branch: each change of its world, oldest first.

    VERSION is what other commands take as REF#N; "refused" is a merge that met conflicts.

    \b
    Example: holdfast world log 7k3
    """
    with desk.screen.listing():
        asyncio.run(_log(desk, ref))


async def _log(desk: Desk, ref: str) -> None:
    from holdfast.cli.worlds import versions_of
    from holdfast.explain import telling
    from holdfast.explain.text import Part
    from holdfast.runtime.refs import find_run
    from holdfast.world import EMPTY, Stage, diff

    async with desk.store() as store:
        row = await find_run(store, ref)
        stage, before = Stage(store.get), EMPTY
        lines: list[list[Part]] = []
        for one in await versions_of(store, row):
            changed = len(diff(stage, before, one.root)) if one.moved else 0
            before = one.root
            name = f"{row.run}#{one.pos}"
            if desk.screen.json:
                desk.screen.document({
                    "version": name, "step": one.key, "what": one.what, "at": one.at,
                    "by": one.by, "world": one.root, "files": changed,
                })  # fmt: skip
            by = f" by {one.by}" if one.by else ""
            lines.append([
                (name, "bold"), (f"@{one.key}" if one.key else "", ""),
                (telling.clock(one.at), "dim"), str(changed), one.what + by,
            ])  # fmt: skip
        if not desk.screen.json:
            desk.screen.table(["VERSION", "STEP", "WHEN", "FILES", "WHAT"], lines, fold=2)


@click.command()
@click.argument("one", metavar="REF")
@click.argument("other", metavar="[REF]", default="")
@shared
def diff(one: str, other: str, *, desk: Desk) -> None:
    """Show how two versions differ, as a patch; of one REF: what it changed since it began.

    \b
    Examples:
      holdfast world diff 7k3.2
      holdfast world diff 7k3@2 7k3#9
    """
    asyncio.run(_diff(desk, one, other))


async def _diff(desk: Desk, one: str, other: str) -> None:
    from holdfast.cli.worlds import beginning, find_version
    from holdfast.world import Stage, unified
    from holdfast.world import diff as difference

    async with desk.store() as store:
        a = await find_version(store, one)
        before, after = a.root, a.root
        if other:
            after = (await find_version(store, other)).root
        else:
            before = await beginning(store, a.row)
        stage = Stage(store.get)
        changes = difference(stage, before, after)
        if desk.screen.json:
            desk.screen.document({
                "worlds": [before, after],
                "changes": [{"path": each.path, "kind": each.kind} for each in changes],
                "patch": unified(stage, changes),
            })  # fmt: skip
        elif changes:
            desk.screen.patch(unified(stage, changes))
        else:
            desk.screen.note("the worlds are the same")
