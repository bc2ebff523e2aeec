"""The list of runs: filtered by the address, at most 200 rows, newest first."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import number_of, page
from holdfast.api.console.used import used_by, used_text
from holdfast.api.site import site_of
from holdfast.explain import telling
from holdfast.explain.text import cut, one_line
from holdfast.journal.record import OWN
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.values import limits

STATUSES = ("running", "waiting", "done", "failed", "cancelled", "branch")


class Line(msgspec.Struct, frozen=True):
    """One row of the list. ``about``: what it waits for or how it failed; ``asks``: how many
    questions to people are open."""

    row: RunRow
    about: str
    asks: int
    used: str


class Found(msgspec.Struct, frozen=True):
    """A page of rows. ``after``: the number behind which the next page begins, 0 if there is
    none; ``searched``: how many runs were looked through."""

    rows: list[RunRow]
    after: int
    searched: int


async def find_rows(store: Store, query: RunQuery, text: str) -> Found:
    """The newest runs of a query that contain ``text`` in what a row says."""
    rows: list[RunRow] = []
    searched, before, wanted = 0, query.before, text.casefold()
    # INVARIANT X131: a page of runs reads and renders a bounded number of rows, however many
    # there are, and says where the next one begins
    size = limits.READ_PAGE_ROWS if wanted else query.limit + 1
    while searched < limits.CONSOLE_SEARCHED_ROWS:
        batch = await store.runs(msgspec.structs.replace(query, limit=size, before=before))
        for row in batch:
            searched, before = searched + 1, row.number
            if row.run not in OWN and (not wanted or wanted in _said(row)):
                if len(rows) == query.limit:
                    return Found(rows, rows[-1].number, searched)
                rows.append(row)
        if len(batch) < size:
            return Found(rows, 0, searched)
    return Found(rows, before, searched)


def _said(row: RunRow) -> str:
    error = f"{row.error.type} {row.error.text}" if row.error else ""
    waits = " ".join(f"{wait.text} {wait.name}" for wait in row.waits)
    return f"{row.run} {row.agent} {row.status} {row.fork_of} {error} {waits}".casefold()


def about(row: RunRow) -> str:
    """What a run waits for, or how it failed, on one line."""
    if row.error is not None:
        return cut(one_line(f"{row.error.type}: {row.error.text}"), 300)
    return cut("; ".join(telling.wait_text(wait, row.run) for wait in row.waits), 300)


async def line_of(store: Store, row: RunRow) -> Line:
    """A row with what is not in it."""
    used = used_text(await used_by(store, row))
    return Line(row, about(row), len(telling.asked(row)), used)


async def runs(request: Request) -> Response:
    """The list; with ``part=rows`` only its rows, as a live page fetches them."""
    need(request, "viewer")
    store, params = site_of(request).store, request.query_params
    status = params.get("status", "")
    chosen = {
        "status": status if status in STATUSES else "",
        "agent": params.get("agent", "")[:200],
        "text": params.get("text", "")[:200],
    }
    limit = min(number_of(request, "limit", limits.CONSOLE_ROWS), limits.CONSOLE_ROWS_MAX)
    seq = await store.last_seq()
    before = number_of(request, "before")
    query = RunQuery(max(1, limit), before, chosen["status"], chosen["agent"])
    found = await find_rows(store, query, chosen["text"])
    lines = [await line_of(store, row) for row in found.rows]
    kept = {name: value for name, value in chosen.items() if value}
    here = urlencode({**kept, **({"before": before} if before else {}), "limit": limit})
    following = urlencode({**kept, "limit": limit, "before": found.after}) if found.after else ""
    name = "runs_rows.html" if params.get("part") == "rows" else "runs.html"
    return page(
        request, name, lines=lines, chosen=chosen, statuses=STATUSES, here=here,
        following=following, searched=found.searched, before=before, seq=seq,
    )  # fmt: skip
