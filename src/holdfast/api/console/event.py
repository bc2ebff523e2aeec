"""One event or one step, each with an address that stays."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import number_of, page
from holdfast.api.console.step import step_view
from holdfast.api.site import Site, site_of
from holdfast.explain import lines, telling
from holdfast.explain.past import Moment, chain, find_step, moments
from holdfast.explain.text import one_line
from holdfast.journal.events import body_of
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find_run
from holdfast.values.errors import NotFound


class Finding(msgspec.Struct, frozen=True):
    """What somebody found about an event, at ``pos``."""

    pos: int
    at: int
    type: str
    by: str
    value: Any


async def event(request: Request) -> Response:
    """The page of one event, with the step that it belongs to."""
    need(request, "viewer")
    site = site_of(request)
    row = await find_run(site.store, request.path_params["run"])
    pos = request.path_params["pos"]
    found, about = await _at(site.store, row, pos)
    shown = await _shown(site, row, found, about)
    return page(request, "event.html", all=number_of(request, "all"), **shown)


async def step(request: Request) -> Response:
    """The page of one step: that of its newest event."""
    need(request, "viewer")
    site = site_of(request)
    row = await find_run(site.store, request.path_params["run"])
    _, about = await find_step(site.store, row.run, request.path_params["key"])
    shown = await _shown(site, row, None, about)
    return page(request, "event.html", all=number_of(request, "all"), **shown)


async def _at(store: Store, row: RunRow, pos: int) -> tuple[Moment, list[Moment]]:
    """The event at a place, and all events of its step."""
    events = await chain(store, row.run)
    if pos >= len(events):
        raise NotFound(f"run {row.run} has no event #{pos}; its newest is #{len(events) - 1}")
    wanted: Moment | None = None
    about: list[Moment] = []
    seen = list(moments(events))
    wanted = seen[pos]
    if wanted.step is not None:
        about = [one for one in seen if one.step is wanted.step]
    return wanted, about


async def _shown(
    site: Site, row: RunRow, moment: Moment | None, about: list[Moment]
) -> dict[str, Any]:
    store = site.store
    step = moment.step if moment is not None else about[0].step
    view = step_view(store, step, about, site.runtime.policy) if step is not None else None
    last = (await store.head(row.run)).pos
    shown: dict[str, Any] = {"row": row, "view": view, "last": last, "moment": moment, "title": ""}
    if moment is not None:
        shown |= {
            "title": f"#{moment.event.pos}",
            "document": msgspec.json.decode(moment.event.body),
            "args": telling.plain(moment.args, store.get),
            "value": telling.plain(moment.event.value, store.get),
            "about": lines.subject(moment.event, moment.body, moment.args, store.get, 200),
            "key": getattr(moment.body, "key", "") if step is not None else "",
        }
    places = {one.event.pos for one in about} or {moment.event.pos if moment else 0}
    shown["findings"] = await findings(store, row, places)
    return shown


async def findings(store: Store, row: RunRow, places: set[int]) -> list[Finding]:
    """What was found about events of a run."""
    found: list[Finding] = []
    for one in await store.read(row.run, min(places) + 1):
        if one.kind == "finding.added":
            body = body_of(one)
            if body.about in places:
                value = telling.plain(one.value, store.get)
                found.append(Finding(one.pos, one.at, one_line(body.type), body.by, value))
    return found
