"""Reading runs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.api.ways import Ask, Way
from holdfast.explain import telling
from holdfast.journal.record import OWN
from holdfast.journal.store import RunQuery
from holdfast.journal.views import RunRow
from holdfast.values import limits

Limit = Annotated[int, Meta(ge=1, le=limits.API_ROWS)]


class RunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs. ``before``: the cursor of the page before."""

    agent: Annotated[str, Meta(max_length=200)] = ""
    status: str = ""
    parent: Annotated[str, Meta(max_length=80)] = ""
    before: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    limit: Limit = 50


class Runs(msgspec.Struct, frozen=True):
    """A page of runs, newest first. ``next``: what to give as ``before`` for the next one, null
    at the end."""

    runs: list[RunRow]
    next: int | None


async def _runs(ask: Ask) -> Any:
    query: RunsQuery = ask.query
    rows = await ask.site.store.runs(
        RunQuery(query.limit, query.before or 0, query.status, query.agent, query.parent)
    )
    shown = [telling.row_document(row) for row in rows if query.agent or row.run not in OWN]
    return {"runs": shown, "next": rows[-1].number if len(rows) == query.limit else None}


WAYS = [Way("GET", "/runs", "viewer", _runs, "List runs, newest first.", Runs, RunsQuery)]
