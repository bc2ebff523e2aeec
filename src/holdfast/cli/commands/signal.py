"""``holdfast signal``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--text", is_flag=True, help="VALUE is text, even if it looks like JSON.")
@shared
def command(run: str, name: str, value: str | None, *, text: bool, desk: Desk) -> None:
    """Send a signal that a run may wait for.

    It is kept until the run asks for a signal of that name. VALUE is JSON if it is JSON, else text.

    \b
    Example: holdfast signal 7k3 payment-arrived '{"amount": 50}'
    """
    asyncio.run(_signal(desk, run, name, value, text))


async def _signal(desk: Desk, run: str, name: str, value: str | None, text: bool) -> None:
    from holdfast.cli.answering import follow_up
    from holdfast.cli.refs import value_of
    from holdfast.engine.answers import send
    from holdfast.runtime.refs import find_run
    from holdfast.values.errors import Misuse

    if not name or name.startswith("$"):
        raise Misuse(f"signal name {name!r}: empty names, and those with $, are not for people")
    given = value if value is None or text else value_of(value)
    async with desk.store() as store:
        row = await find_run(store, run)
        before = (await store.head(row.run)).pos
        await send(store, row.run, name, given, by=desk.user, now_ms=desk.now_ms())
        desk.screen.note(f"sent signal {name} to run {row.run}")
        await follow_up(desk, store, row.run, before + 1, {"run": row.run, "signal": name})
