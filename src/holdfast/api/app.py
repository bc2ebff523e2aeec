"""The application: which routes there are, and how errors are answered."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from holdfast.api import signin
from holdfast.api.access import Turned
from holdfast.api.console import pages
from holdfast.api.guard import Guard
from holdfast.api.metrics import metrics
from holdfast.api.replies import turned_away, turned_of
from holdfast.api.site import Site
from holdfast.api.table import WAYS
from holdfast.api.ways import route
from holdfast.values.errors import HoldfastError

_STATIC = Path(pages.__file__).parent / "static"


def create_app(site: Site) -> Starlette:
    """The HTTP interface and the console of ``site``, as an ASGI application."""
    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(Guard)],
        exception_handlers={HoldfastError: _failed, HTTPException: _turned},
    )
    app.state.site = site
    return app


def _routes() -> list[BaseRoute]:
    ways = sorted(WAYS, key=lambda way: way.path)
    return [
        Route("/healthz", _healthy),
        Route("/metrics", metrics),
        *(route(list(same)) for _, same in groupby(ways, key=lambda way: way.path)),
        *signin.routes(),
        Mount("/static", StaticFiles(directory=_STATIC, check_dir=False)),
        *pages.routes(),
    ]


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _failed(request: Request, error: Any) -> Response:
    return turned_away(request, turned_of(error))


async def _turned(request: Request, error: Any) -> Response:
    if isinstance(error, Turned):
        return turned_away(request, error)
    code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
    return turned_away(request, Turned(error.status_code, code, error.detail, "", error.headers))
