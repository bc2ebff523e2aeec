"""``holdfast top``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.option("--once", is_flag=True, help="Print what goes on now, and end.")
@shared
def command(*, once: bool, desk: Desk) -> int:
    """Watch what runs, what it spends and what it asks; answer it.

    Keys: up and down select a run or a question, enter shows its run, a approves and d denies the
    selected question (y confirms), q leaves. Without a terminal, or with --json: as with --once.

    \b
    Examples:
      holdfast top
      holdfast top --once --json
    """
    return asyncio.run(_top(desk, once))


async def _top(desk: Desk, once: bool) -> int:
    from holdfast.cli.asking import keyboard
    from holdfast.cli.topping import live

    async with desk.store() as store:
        if once or desk.screen.json or not desk.screen.out.isatty() or keyboard() is None:
            await _once(desk, store)
            return 0
        return await live(desk, store)


async def _once(desk: Desk, store: Any) -> None:
    import msgspec

    from holdfast.explain import telling
    from holdfast.explain.watching import Watch

    screen = desk.screen
    now = await Watch(store).look(desk.now_ms())
    if screen.json:
        screen.document(msgspec.to_builtins(now))
        return
    if now.questions:
        screen.table(["ASKED", "STEP", "AGENT", "WHAT"], [
            [telling.age(one.since, now.at), f"{one.run}@{one.step}", one.agent, one.text]
            for one in now.questions
        ], fold=2)  # fmt: skip
        screen.say("")
    if now.runs:
        screen.table(["AGE", "RUN", "AGENT", "STATUS", "MONEY", "QUIET", "LAST STEP"], [
            [telling.age(one.started, now.at), one.run, one.agent,
             (one.status, telling.STYLES.get(one.status, "")), f"{one.money:,.4g}",
             telling.age(one.at, now.at), one.last]
            for one in now.runs
        ], fold=2)  # fmt: skip
    else:
        screen.note(("nothing runs", "dim"))
