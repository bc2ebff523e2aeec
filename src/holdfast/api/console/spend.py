"""What was spent, and what came of it: budgets, then what `holdfast.explain.economics` reads."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.books import asked_of
from holdfast.api.console.render import page
from holdfast.api.site import site_of
from holdfast.explain.spending import SCOPES
from holdfast.explain.text import cut, one_line
from holdfast.runtime.maintenance import budget_lines
from holdfast.values import limits
from holdfast.values.errors import Misuse


async def spend(request: Request) -> Response:
    """Budgets, and the economics of all runs, or of one ``agent``; spending summed ``by``."""
    need(request, "viewer")
    site, query = site_of(request), request.query_params
    scope, agent = query.get("by", "agent"), query.get("agent", "")
    if scope not in SCOPES:
        raise Misuse(f"by={cut(one_line(scope), 40)}: say one of {', '.join(SCOPES)}")
    budgets = budget_lines(site.store, site.settings.policy)
    asked = asked_of(site.runtime, agent=agent, scopes=(scope,))
    return page(
        request, "spend.html", budgets=budgets[: limits.CONSOLE_ROWS_MAX], count=len(budgets),
        policy=bool(site.settings.policy), found=await site.books.economics(site.store, asked),
        scope=scope, scopes=SCOPES, agent=agent, rows=limits.CONSOLE_ROWS_MAX,
    )  # fmt: skip
