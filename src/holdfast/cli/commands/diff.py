"""``holdfast diff``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.align import align
from holdfast.cli.desk import Desk, shared
from holdfast.cli.past import steps_of, world_at
from holdfast.cli.refs import find
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow


@click.command()
@click.argument("one", metavar="RUN_A[@STEP]")
@click.argument("other", metavar="RUN_B[@STEP]")
@click.option("--world", is_flag=True, help="Also how their worlds differ.")
@shared
def command(one: str, other: str, *, world: bool, desk: Desk) -> None:
    """Compare two runs, or the worlds at two steps.

    RUN_A RUN_B: steps are aligned by key; the first that differs is shown whole. RUN_A@STEP
    RUN_B@STEP: a patch from one world to the other (@0 is the world at the start).

    \b
    Examples:
      holdfast diff 7k3 9qg --world
      holdfast diff 7k3@2 7k3@5
    """
    asyncio.run(_diff(desk, one, other, world))


async def _diff(desk: Desk, one: str, other: str, world: bool) -> None:
    async with desk.store() as store:
        (a, a_key), (b, b_key) = await find(store, one), await find(store, other)
        document: dict[str, Any] = {"a": one, "b": other}
        if not a_key and not b_key:
            document |= await _steps(desk, store, a, b)
        if a_key or b_key or world:
            document |= await _worlds(desk, store, (a, a_key), (b, b_key))
        if desk.screen.json:
            desk.screen.document(document)


async def _steps(desk: Desk, store: Store, a: RunRow, b: RunRow) -> dict[str, Any]:
    import msgspec

    same, found = align(await steps_of(store, a.run), await steps_of(store, b.run), store.get)
    if not desk.screen.json:
        screen = desk.screen
        screen.say((f"A {a.run}", "bold"), f"  {a.agent}  {a.status}")
        screen.say((f"B {b.run}", "bold"), f"  {b.agent}  {b.status}")
        screen.say(f"{same} steps are the same, {len(found)} differ")
        for number, each in enumerate(found[:100]):
            place = each.key if each.segment == 1 else f"{each.key} (segment {each.segment})"
            first = ("first  ", "yellow") if number == 0 else "       "
            screen.say(first, (f"@{place}", "bold"), f"  {each.action}  ", (each.what, "yellow"))
            if number == 0:
                screen.patch("\n".join(each.lines)) if each.lines else None
        if len(found) > 100:
            screen.say((f"… and {len(found) - 100} more", "dim"))
    differences = [msgspec.to_builtins(each) for each in found]
    return {"same": same, "first": found[0].key if found else None, "differences": differences}


async def _worlds(
    desk: Desk, store: Store, a: tuple[RunRow, str], b: tuple[RunRow, str]
) -> dict[str, Any]:
    from holdfast.world import Stage, diff, unified

    stage = Stage(store.get)
    before, after = await world_at(store, *a), await world_at(store, *b)
    changes = diff(stage, before, after)
    if desk.screen.json:
        return {
            "worlds": [before, after],
            "changes": [{"path": each.path, "kind": each.kind} for each in changes],
            "patch": unified(stage, changes),
        }
    if not changes:
        desk.screen.note("the worlds are the same")
    else:
        desk.screen.patch(unified(stage, changes))
    return {}
