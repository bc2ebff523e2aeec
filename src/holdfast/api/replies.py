"""How things are answered: JSON with one form for errors, pages for browsers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response

from holdfast.api.access import Turned
from holdfast.explain.text import json_text
from holdfast.values.errors import (
    Conflict,
    Corrupt,
    Diverged,
    Exceeded,
    Expired,
    HoldfastError,
    Misuse,
    NotFound,
    Outside,
    Refused,
    TooLarge,
)

API = "/api/"
"""How paths begin that are answered as JSON, errors too."""


class Wrong(msgspec.Struct, frozen=True):
    """What was wrong. ``code``: for programs; ``text``: one line that names the place; ``way``:
    what to do about it, "" if the text says it."""

    code: str
    text: str
    way: str


class Failed(msgspec.Struct, frozen=True):
    """The one form of errors."""

    error: Wrong


KINDS: tuple[tuple[type[HoldfastError], int, str, str], ...] = (
    (TooLarge, 413, "too_large", ""),
    (NotFound, 404, "not_found", ""),
    (Diverged, 409, "diverged", "fork the run instead, or resume it with the code that began it"),
    (Misuse, 409, "misuse", ""),
    (Refused, 403, "refused", ""),
    (Expired, 409, "expired", ""),
    (Exceeded, 409, "exceeded", ""),
    (Conflict, 409, "conflict", "read again, then try again"),
    (Outside, 503, "outside", "try again later"),
    (Corrupt, 500, "corrupt", "check the store with `holdfast fsck`"),
)
"""What each error of ours is over HTTP: the first class that fits. A request that could not be
understood is `Turned` with 400; `Misuse` of one that was understood did not fit how things are."""

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
    undefined=jinja2.StrictUndefined,
)  # fmt: skip


def as_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON, all that is odd in its texts escaped."""
    return Response(json_text(document), status, headers, "application/json")


def page(name: str, status: int = 200, **shown: Any) -> HTMLResponse:
    """One of the plain pages of signing in, escaped."""
    return HTMLResponse(_PAGES.get_template(name).render(**shown), status)


def turned_of(error: HoldfastError) -> Turned:
    """An error of ours, as HTTP says it."""
    for kind, status, code, way in KINDS:
        if isinstance(error, kind):
            return Turned(status, code, str(error) or code, way)
    return Turned(409, "failed", str(error) or type(error).__name__)


def turned_away(request: HTTPConnection, turned: Turned) -> Response:
    """JSON for programs; browsers that did not sign in go and do, and read of the rest."""
    path = request.url.path
    if path.startswith(API) or path in ("/metrics", "/healthz"):
        failed = Failed(Wrong(turned.code, turned.text, turned.way))
        return as_json(failed, turned.status_code, turned.headers)
    if turned.status_code == 401:
        target = quote(path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse("/signin" if path == "/" else f"/signin?next={target}", 303)
    found = page("turned.html", turned.status_code, text=turned.text, way=turned.way)
    found.headers.update(turned.headers or {})
    return found
