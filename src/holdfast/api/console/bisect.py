"""Which step of a run decided how it ended: a search by forks, as bars of belief.

A search goes on while this server does; its forks stay, so a new one takes up where it was.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import form_of, page, path_part, seen
from holdfast.api.site import Site, site_of
from holdfast.explain.bisected import Bisected
from holdfast.explain.text import one_line
from holdfast.runtime import bisecting
from holdfast.runtime.bisecting import Asked
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse


class Search(msgspec.Struct, weakref=True):
    """A search of this server. ``found``: how it stands; ``trouble``: what ended it."""

    run: str
    found: Bisected | None = None
    trouble: str = ""
    going: asyncio.Task[None] | None = None


_searches: WeakKeyDictionary[Site, dict[str, Search]] = WeakKeyDictionary()


async def show(request: Request) -> Response:
    """How the search stands; ``part``: only that, as a live page fetches it."""
    need(request, "viewer")
    site = site_of(request)
    row = await find_run(site.store, request.path_params["run"])
    search = _searches.get(site, {}).get(row.run)
    name = "bisect_part.html" if request.query_params.get("part") else "bisect.html"
    going = search is not None and search.going is not None and not search.going.done()
    return page(request, name, row=row, search=search, going=going, trouble="",
                seq=await site.store.last_seq(), most=limits.CONSOLE_BISECT_RUNS)  # fmt: skip


async def begin(request: Request) -> Response:
    """Begin a search, or stop the one that goes on."""
    need(request, "admin")
    site, form = site_of(request), await form_of(request)
    row = await find_run(site.store, request.path_params["run"])
    site.need_runs("bisecting")
    searches = _searches.setdefault(site, {})
    search = searches.get(row.run)
    if search is not None and search.going is not None and not search.going.done():
        if form.get("do") == "stop":
            search.going.cancel()
        return seen(request, f"/runs/{path_part(row.run)}/bisect")
    budget = form.get("forks", "")
    if not budget.isdigit() or not 0 < int(budget) <= limits.CONSOLE_BISECT_RUNS:
        raise Misuse(f"say how many forks at most, 1 to {limits.CONSOLE_BISECT_RUNS}")
    search = searches[row.run] = Search(row.run)
    asked = Asked(outcome=form.get("outcome", "").strip(), budget=int(budget))
    search.going = asyncio.create_task(_search(site, search, asked))
    return seen(request, f"/runs/{path_part(row.run)}/bisect")


async def _search(site: Site, search: Search, asked: Asked) -> None:
    def told(found: Bisected) -> None:
        search.found = found

    try:
        search.found = await bisecting.bisect(site.runtime, search.run, asked, told)
    except HoldfastError as error:
        search.trouble = one_line(str(error))
    except asyncio.CancelledError:
        search.trouble = "stopped; begun again, it goes on with the forks that there are"
