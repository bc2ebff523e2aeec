"""The panel of a step that says why it was taken."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import page
from holdfast.api.site import site_of
from holdfast.explain.why import why
from holdfast.runtime.refs import find_run


async def panel(request: Request) -> Response:
    """Why step ``key`` was taken, or ("end") why its run ended so."""
    need(request, "viewer")
    store = site_of(request).store
    row = await find_run(store, request.path_params["run"])
    key = request.path_params["key"]
    found = await why(store, row.run, "" if key == "end" else key)
    name = "why_part.html" if request.query_params.get("part") else "why.html"
    return page(request, name, row=row, key=key, why=found)
