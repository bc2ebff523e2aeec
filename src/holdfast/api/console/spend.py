"""What was spent: budgets with what is reserved, used and left, and what the newest runs used."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import page
from holdfast.api.console.used import used_by, used_text
from holdfast.api.site import site_of
from holdfast.journal.record import OWN
from holdfast.journal.store import RunQuery, Store
from holdfast.runtime.maintenance import budget_lines
from holdfast.values import limits


async def spend(request: Request) -> Response:
    """Budgets, and sums by agent over the newest runs."""
    need(request, "viewer")
    site = site_of(request)
    budgets = budget_lines(site.store, site.settings.policy)
    count, sums = await _by_agent(site.store)
    return page(
        request, "spend.html", budgets=budgets[: limits.CONSOLE_ROWS_MAX], count=len(budgets),
        sums=sums, looked=count, policy=bool(site.settings.policy),
    )  # fmt: skip


async def _by_agent(store: Store) -> tuple[int, list[tuple[str, int, str]]]:
    """How many runs were looked at; for each agent how many of them are its, and what they used."""
    rows = [row for row in await store.runs(RunQuery(limits.CONSOLE_ROWS_MAX))
            if row.run not in OWN]  # fmt: skip
    found: dict[str, tuple[int, dict[str, float]]] = {}
    for row in rows:
        runs, used = found.get(row.agent, (0, {}))
        for unit, much in (await used_by(store, row)).items():
            used[unit] = used.get(unit, 0) + much
        found[row.agent] = (runs + 1, used)
    order = sorted(found, key=lambda name: (-found[name][1].get("money", 0.0), name))
    return len(rows), [(name, found[name][0], used_text(found[name][1])) for name in order]
