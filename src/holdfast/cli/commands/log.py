"""``holdfast log``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain import lines
from holdfast.explain.past import Recall, chain, event_document
from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.runtime.following import follow
from holdfast.runtime.refs import find_run
from holdfast.values import limits


@click.command()
@click.argument("run", required=False)
@click.option("--follow", "-f", "live", is_flag=True, help="Go on as events are committed.")
@click.option("--since", type=click.IntRange(0), default=None, metavar="SEQ",
              help="Only events after this number (with -f alone: only new ones).")  # fmt: skip
@shared
def command(run: str | None, *, live: bool, since: int | None, desk: Desk) -> int:
    """Print events as they were committed, of one run or of all.

    With --json: one document an event, with payloads whole.

    \b
    Examples:
      holdfast log -f
      holdfast log 7k3 --json
    """
    try:
        asyncio.run(_log(desk, run, live, since))
    except KeyboardInterrupt:
        if not live:
            raise
        return 130  # that is how a live tail ends: nothing to complain about
    return 0


async def _log(desk: Desk, run: str | None, live: bool, since: int | None) -> None:
    async with desk.store() as store:
        recall = Recall(store)
        only = (await find_run(store, run)).run if run else ""
        last = await store.last_seq()
        after = since if since is not None else (last if live and not only else 0)
        if only:
            for event in await chain(store, only):  # what it inherited included
                if after < event.seq <= last:
                    await _print(desk, store, recall, event)
            after = max(after, last)
        while not live and after < last:
            events = await store.tail(after, min(limits.READ_PAGE_EVENTS, last - after))
            for event in events:
                await _print(desk, store, recall, event)
            after = events[-1].seq if events else last
        if live:
            async for events in follow(store, after):
                for event in events:
                    if only in ("", event.run):
                        await _print(desk, store, recall, event)


async def _print(desk: Desk, store: Store, recall: Recall, event: Event) -> None:
    args = await recall.args(event)
    if desk.screen.json:
        desk.screen.document(event_document(event, args, store.get))
    else:
        seq = (f"{event.seq:>6}  ", "dim")
        desk.screen.say(seq, *lines.line(event, args, store.get, 160))
