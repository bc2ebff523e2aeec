"""How pages are made: the templates, and what they may call.

Every value is escaped, and whatever could command a terminal or turn text around is written out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from holdfast.api.access import csrf_of, need
from holdfast.api.site import site_of
from holdfast.explain import telling
from holdfast.explain.text import clean, cut, one_line, pretty
from holdfast.values import limits
from holdfast.values.errors import Misuse

HERE = Path(__file__).parent

NAV = (
    ("Runs", "/runs"),
    ("Inbox", "/inbox"),
    ("Compare", "/compare"),
    ("Merge", "/merge"),
    ("Policy", "/policy"),
    ("Spend", "/spend"),
    ("Anomalies", "/anomalies"),
    ("Agents", "/agents"),
)
"""Names and places in the order in which they stand at the top of each page."""


def _finalize(value: Any) -> Any:
    # INVARIANT X130: what agents and tools say reaches a page as text: escaped, and with every
    # character written out that could hide or turn around what stands there
    if value is None:
        return ""
    return clean(value) if type(value) is str else value


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "clock": telling.clock,
        "of_day": telling.time_of_day,
        "took": telling.took,
        "pretty": pretty,
        "one_line": one_line,
        "part": path_part,
        "cut": cut,
    }
    made.filters.update(filters)
    return made


def path_part(text: str) -> str:
    """``text`` as one part of a path."""
    return quote(text, safe="")


templates = _environment()


def page(request: Request, template: str, /, *, status: int = 200, **shown: Any) -> Response:
    """A page made from a template."""
    site, person = site_of(request), need(request, "viewer")

    def age(at: int) -> str:
        return telling.age(at, site.clock.now_ms())

    text = templates.get_template(template).render(
        person=person,
        csrf=csrf_of(request),
        nav=NAV,
        path=request.url.path,
        now=site.clock.now_ms(),
        age=age,
        payload=payload,
        **shown,
    )
    return HTMLResponse(text, status)


class Payload:
    """A value as text, in full and as much of it as is shown at first."""

    def __init__(self, value: Any) -> None:
        text = value if isinstance(value, str) else pretty(value)
        self.text = cut(text, limits.CONSOLE_PAYLOAD_MAX_CHARS)
        self.head = cut(self.text, limits.CONSOLE_PAYLOAD_CHARS)
        self.more = len(self.text) - len(self.head)


def payload(value: Any) -> Payload:
    """How a page shows a value."""
    return Payload(value)


def seen(request: Request, target: str) -> Response:
    """Go on to another page after a form was taken."""
    return RedirectResponse(target, 303)


def number_of(request: Request, name: str, default: int = 0) -> int:
    """A number in the query of a request; `Misuse` if it is none."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Misuse(f"{name}={cut(one_line(text), 40)}: say a number")
    return int(text)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, texts only."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}
