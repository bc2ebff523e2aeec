"""``holdfast cancel``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run")
@shared
def command(run: str, *, desk: Desk) -> None:
    """Ask a run to stop.

    Its program sees asyncio.CancelledError where it waits and may clean up; the run then ends as
    cancelled. If no process runs it, resume it for that.

    \b
    Example: holdfast cancel 7k3
    """
    asyncio.run(_cancel(desk, run))


async def _cancel(desk: Desk, run: str) -> None:
    from holdfast.cli.answering import follow_up
    from holdfast.engine.answers import cancel
    from holdfast.runtime.refs import find_run
    from holdfast.values.errors import Misuse

    async with desk.store() as store:
        row = await find_run(store, run)
        if row.status == "branch":
            raise Misuse(f"run {row.run}: has no program to stop; holdfast world discard {row.run}")
        before = (await store.head(row.run)).pos
        await cancel(store, row.run, by=desk.user, now_ms=desk.now_ms())
        desk.screen.note(f"asked run {row.run} to stop")
        await follow_up(desk, store, row.run, before + 1, {"run": row.run, "cancel": True})
