"""``holdfast ps``."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import msgspec

from holdfast.cli.desk import Desk, shared
from holdfast.engine.held import ledger
from holdfast.explain import telling
from holdfast.explain.text import Part, cut, one_line
from holdfast.journal.record import OWN
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.values import limits

STATUSES = ("running", "waiting", "done", "failed", "cancelled", "branch")


@click.command()
@click.option("--status", type=click.Choice(STATUSES), default=None, help="Only runs that are so.")
@click.option("--agent", default="", metavar="NAME", help="Only runs of this agent.")
@click.option("--limit", type=click.IntRange(1), default=limits.LIST_ROWS, help="How many.",
              show_default=True)  # fmt: skip
@click.option("--before", type=click.IntRange(1), default=None, metavar="NUMBER",
              help="Only runs before this number: the next page.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="All runs, not a page of them.")
@shared
def command(
    *, status: str | None, agent: str, limit: int, before: int | None, everything: bool, desk: Desk
) -> None:
    """List runs, newest first.

    STEPS of a run that has not ended is the number of its events. With --json: an array.

    \b
    Examples:
      holdfast ps --status waiting
      holdfast ps --agent repair --limit 10 --json
    """
    asyncio.run(_list(desk, status or "", agent, limit, before or 0, everything))


async def _list(
    desk: Desk, status: str, agent: str, limit: int, before: int, everything: bool
) -> None:
    page = 1000 if everything else limit
    async with desk.store() as store:
        with desk.screen.listing():
            await _pages(desk, store, RunQuery(page, before, status, agent), everything=everything)


async def _pages(desk: Desk, store: Store, query: RunQuery, *, everything: bool) -> None:
    shown, before = False, query.before
    while True:
        rows = await store.runs(msgspec.structs.replace(query, before=before))
        full = len(rows) == query.limit
        last = rows[-1].number if rows else 0
        rows = [row for row in rows if query.agent or row.run not in OWN]  # not anybody's work
        if desk.screen.json:
            for row in rows:
                desk.screen.document(telling.row_document(row))
        elif rows:
            await _table(desk, store, rows)
        shown = shown or bool(rows)
        if not full:
            break
        before = last
        if not everything:
            if await store.runs(msgspec.structs.replace(query, limit=1, before=before)):
                desk.screen.note((f"more: --before {before}, or --all", "dim"))
            break
    if not shown:
        filtered = query.status or query.agent
        desk.screen.note(("no such runs" if filtered else "no runs yet", "dim"))


async def _table(desk: Desk, store: Store, rows: list[RunRow]) -> None:
    now = desk.now_ms()
    going = any(row.status == "running" for row in rows)
    left = set((await store.wakeable(now, 1_000_000))[0]) if going else set()
    lines: list[list[Part]] = []
    for row in rows:
        steps = str(row.steps) if row.ended else f"~{(await store.head(row.run)).pos}"
        origin = f"{row.fork_of}#{row.fork_pos}" if row.fork_of else ""
        about = _about(row, left=row.status == "running" and row.run in left)
        if not about and row.holds and (held := len((await ledger(store, row.run)).held)):
            about = (f"holds {held}: holdfast publish {row.run}", "yellow")
        lines.append([
            (row.run, "bold"), row.agent, (row.status, telling.STYLES.get(row.status, "")),
            telling.age(row.started, now), steps, (origin or _parent(row), "dim"), about,
        ])  # fmt: skip
    desk.screen.table(["RUN", "AGENT", "STATUS", "AGE", "STEPS", "FROM", "WAITS FOR, ERROR"], lines,
                      fold=2)  # fmt: skip


def _parent(row: RunRow) -> str:
    return f"{row.parent}@{row.parent_key}" if row.parent else ""


def _about(row: RunRow, *, left: bool) -> Any:
    if row.error is not None:
        return (cut(one_line(f"{row.error.type}: {row.error.text}"), 300), "red")
    if row.door and (left or any(wait.ready for wait in row.waits)):
        return (f"a client behind door {row.door}: goes on when it calls again", "dim")
    if left:
        return (f"nobody runs it: holdfast resume {row.run}", "yellow")
    return "\n".join(telling.wait_text(wait, row.run) for wait in row.waits)
