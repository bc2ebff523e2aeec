"""The agents that ran, and what persons stopped."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import form_of, page, seen
from holdfast.api.site import Site, site_of
from holdfast.engine.switching import hear_switches, throw
from holdfast.explain.registry import Registered, registry
from holdfast.explain.text import one_line
from holdfast.gate.switches import Switchboard
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse
from holdfast.values.ids import new_id

WHAT = ("agent", "tool", "rule")
"""What can be stopped."""


async def agents(request: Request) -> Response:
    """Every agent, the latest first, and every switch."""
    need(request, "viewer")
    return await _page(request)


async def stop(request: Request) -> Response:
    """Stop an agent, a tool or a rule everywhere, or let it go on."""
    person, site = need(request, "admin"), site_of(request)
    form = await form_of(request)
    what, name = form.get("what", ""), form.get("name", "").strip()
    try:
        if what not in WHAT or not name:
            raise Misuse("say what to stop: agent, tool or rule, and its name")
        if form.get("lift") != "1" and form.get("sure") != name:
            raise Misuse(f"type {one_line(name)} once more to stop it everywhere")
        await throw(
            site.store, what, name, by=person.name, now_ms=site.clock.now_ms(),
            token=new_id(site.dice, chars=26), reason=form.get("reason", ""),
            lift=form.get("lift") == "1",
        )  # fmt: skip
        site.runtime.host.ring()
    except HoldfastError as error:
        return await _page(request, one_line(str(error)), 409, (what, name))
    return seen(request, "/agents")


async def _page(
    request: Request, trouble: str = "", status: int = 200, chosen: tuple[str, str] = ("", "")
) -> Response:
    site = site_of(request)
    params = request.query_params
    board = await hear_switches(site.store, Switchboard())
    known = await _known(site, board)
    return page(
        request, "agents.html", status=status, trouble=trouble,
        known=known[: limits.CONSOLE_ROWS_MAX], count=len(known), what=WHAT,
        stopped=list(board.switches.values()),
        chosen=(chosen[0] or params.get("what", "agent"), chosen[1] or params.get("name", "")),
    )  # fmt: skip


async def _known(site: Site, board: Switchboard) -> list[Registered]:
    return registry(await _rows(site.store), site.runtime.policy.agents, board)


async def _rows(store: Store) -> list[RunRow]:
    found: list[RunRow] = []
    before = 0
    while rows := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before)):
        found += rows
        before = rows[-1].number
        await asyncio.sleep(0)  # others' requests have their turn between pages
    return found
