"""``holdfast merge``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("source", metavar="SOURCE_RUN")
@click.argument("into", metavar="INTO_RUN")
@shared
def command(source: str, into: str, *, desk: Desk) -> int:
    """Merge the world of one run into that of another.

    Three ways, from the world that both share: where one forked from the other or was spawned by
    it. Neither may be running now. With conflicts nothing changes; they are listed and the exit
    code is 4.

    \b
    Example: holdfast merge 9qg 7k3
    """
    return asyncio.run(_merge(desk, source, into))


async def _merge(desk: Desk, source: str, into: str) -> int:
    from holdfast.cli.failing import complain
    from holdfast.cli.refs import find_run
    from holdfast.engine.fork import merge_runs
    from holdfast.values.errors import Misuse
    from holdfast.world import Stage, diff, unified

    async with desk.store() as store:
        one, other = await find_run(store, source), await find_run(store, into)
        if one.run == other.run:
            raise Misuse(f"run {one.run}: cannot be merged into itself")
        before = (await store.head(other.run)).world
        merged = await merge_runs(store, one.run, other.run, owner=store.name, now_ms=desk.now_ms())
        conflicts = [{"path": each.path, "kind": each.kind} for each in merged.conflicts]
        changes = diff(Stage(store.get), before, merged.root) if not conflicts else []
        if desk.screen.json:
            desk.screen.document({
                "source": one.run, "into": other.run, "merged": not conflicts,
                "conflicts": conflicts, "changed": [change.path for change in changes],
            })  # fmt: skip
        else:
            for each in conflicts:
                desk.screen.say(("conflict ", "red"), f"{each['path']}  {each['kind']}")
            if not conflicts:
                desk.screen.patch(unified(Stage(store.get), changes))
    if conflicts:
        complain(
            f"merge of {one.run} into {other.run}: {len(conflicts)} conflicts, nothing changed"
        )
        return 4
    desk.screen.note(f"merged {one.run} into {other.run}: {len(changes)} paths changed")
    return 0
