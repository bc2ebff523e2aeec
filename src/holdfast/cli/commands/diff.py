"""``holdfast diff``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain.align import align
from holdfast.explain.past import steps_of
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find_run


@click.command()
@click.argument("one", metavar="RUN_A")
@click.argument("other", metavar="RUN_B")
@shared
def command(one: str, other: str, *, desk: Desk) -> None:
    """Compare two runs, step by step.

    Steps are aligned by key; the first that differs is shown whole. How their worlds differ:
    `holdfast world diff`.

    \b
    Example: holdfast diff 7k3 9qg
    """
    asyncio.run(_diff(desk, one, other))


async def _diff(desk: Desk, one: str, other: str) -> None:
    from holdfast.values.errors import Misuse

    if "@" in one + other:
        raise Misuse("runs are compared whole; versions of worlds with `holdfast world diff`")
    async with desk.store() as store:
        a, b = await find_run(store, one), await find_run(store, other)
        document: dict[str, Any] = {"a": one, "b": other, **await _steps(desk, store, a, b)}
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
