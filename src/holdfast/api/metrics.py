"""``/metrics``: what Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.site import Site, site_of
from holdfast.api.tally import Series
from holdfast.engine.inbox import open_questions
from holdfast.journal.store import RunQuery
from holdfast.runtime.maintenance import budget_lines
from holdfast.values import limits

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HELP = {
    "events_total": "Events appended since this server began, by kind.",
    "steps_total": "Steps that ended since this server began, by kind and how.",
    "verdicts_total": "Verdicts of the gate since this server began.",
    "runs_ended_total": "Runs that ended since this server began, by how.",
    "used_total": "What steps used since this server began, by unit: tokens, money.",
    "alarms_total": "Alarms since this server began.",
    "http_requests_total": "Requests that this server answered, by method and status.",
    "last_seq": "Number of the newest event of the store.",
    "runs": "Runs that have not ended, by status.",
    "questions_waiting": "Questions that wait for a person.",
    "questions_oldest_seconds": "How long the oldest of them has waited.",
    "budget": "Budgets by scope and period, in their unit: used, and reserved beside that.",
}
"""Every name, after ``holdfast_``; those that end in ``_total`` count up."""


async def metrics(request: Request) -> Response:
    """The metrics; for viewers, and for whoever has the token that reads nothing else."""
    if not request.state.metrics:
        need(request, "viewer")
    site = site_of(request)
    await site.tally.catch_up(site.store)
    found: dict[Series, float] = {**site.tally.counts, **await _now(site)}
    return Response("\n".join(_lines(found)) + "\n", media_type=_TYPE)


async def _now(site: Site) -> dict[Series, float]:
    """How things are."""
    store, now = site.store, site.clock.now_ms()
    found: dict[Series, float] = {("last_seq", ()): await store.last_seq()}
    for status in ("running", "waiting", "branch"):
        count = before = 0
        while page := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before, status)):
            count += len(page)
            before = page[-1].number
        found["runs", (("status", status),)] = count
    asked = await open_questions(store)
    found["questions_waiting", ()] = len(asked)
    since = min((one.wait.since for one in asked), default=now)
    found["questions_oldest_seconds", ()] = max(0, now - since) / 1000
    for line in budget_lines(store, "")[: limits.METRICS_BUDGET_ROWS]:
        labels = [(name, str(line[name])) for name in ("budget", "scope", "of", "period", "unit")]
        for state in ("used", "reserved"):
            found["budget", (*labels, ("state", state))] = line[state] or 0
    return found


def _lines(found: Mapping[Series, float]) -> Iterable[str]:
    for name, what in _HELP.items():
        yield f"# HELP holdfast_{name} {what}"
        yield f"# TYPE holdfast_{name} {'counter' if name.endswith('_total') else 'gauge'}"
        for (one, labels), value in found.items():
            if one == name:
                told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
                yield (
                    f"holdfast_{name}{{{told}}} {value:.15g}"
                    if told
                    else (f"holdfast_{name} {value:.15g}")
                )


def _escaped(text: str) -> str:
    """INVARIANT X116: names that agents or policies choose cannot forge a line."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", " ")
