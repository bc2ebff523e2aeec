"""What every request goes through: by which name it came, who asks, whether a browser was tricked,
how much it sends; and what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.api.access import Access, Turned, Visit
from holdfast.api.replies import turned_away
from holdfast.api.site import Site, site_of
from holdfast.values import limits

_LOG = logging.getLogger("holdfast.api")
_SAFE = ("GET", "HEAD", "OPTIONS")
_SIGNIN = "/signin"
_FORM = "application/x-www-form-urlencoded"
_OPEN = ("/healthz", "/metrics")
"""What machines ask for by whatever address; the one tells nothing, the other takes a token."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, browsers send forms with Origin: null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What every answer carries."""


class Guard:
    """An ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        begun: list[int] = []
        request = Request(scope, receive)
        site = site_of(request)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message["status"])
                _dress(site, scope["path"], MutableHeaders(scope=message))
                site.tally.answered(scope["method"], message["status"])
            await send(message)

        try:
            passed = await _let_in(site, request, receive)
            await self._app(scope, passed, dressed)
        except Turned as turned:
            await turned_away(request, turned)(scope, receive, dressed)
        except Exception:
            # INVARIANT X102: what nobody foresaw is told to the log, and nothing of it to a client
            _LOG.exception("%s %s", scope["method"], scope["path"])
            if begun:
                raise
            turned = Turned(500, "unexpected", "something went wrong here",
                            "the server's log says what")  # fmt: skip
            await turned_away(request, turned)(scope, receive, dressed)


def _dress(site: Site, path: str, headers: MutableHeaders) -> None:
    """INVARIANT X103: every answer, of whatever route, carries what keeps a browser safe."""
    for name, value in HEADERS.items():
        headers[name] = value
    if site.access.https:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    headers["Cache-Control"] = "no-cache" if path.startswith("/static/") else "no-store"


async def _let_in(site: Site, request: Request, receive: Receive) -> Receive:
    """Who asks, put on ``request.state``; the request's body, read where it has to be."""
    access, state = site.access, request.state
    path, safe = request.url.path, request.method in _SAFE
    if path not in _OPEN:
        _check_host(access, request)
    if not safe:
        _check_origin(access, request)
    _identify(access, request)
    if safe or not (state.person is not None or path.startswith(_SIGNIN)):
        return receive  # nobody reads it
    body = await _body(request)
    if state.visit is not None and state.by_cookie and path != _SIGNIN:
        _check_form(state.visit, request, body)
    return _again(body, receive)


def _check_host(access: Access, request: Request) -> None:
    """INVARIANT X104: a page elsewhere whose name was made to point here is no client of ours."""
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname if _one_host(request) else None
    if name not in access.hosts:
        raise Turned(403, "wrong_host", "this host name is not served here",
                     "use the address that the server printed")  # fmt: skip


def _one_host(request: Request) -> bool:
    found = request.headers.getlist("host")
    try:
        return len(found) == 1 and urlsplit(f"//{found[0]}").hostname is not None
    except ValueError:
        return False


def _check_origin(access: Access, request: Request) -> None:
    """INVARIANT X105: what changes something comes from a page of ours, or from no page."""
    kind, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    scheme = "https" if access.https else "http"
    ours = (f"{scheme}://{request.headers.get('host', '')}", access.origin)
    if kind not in (None, "same-origin", "none") or (origin is not None and origin not in ours):
        raise Turned(403, "wrong_origin", "another site's page may not call this")


def _identify(access: Access, request: Request) -> None:
    state = request.state
    state.person = state.visit = None
    state.by_cookie = state.metrics = False
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        token = token.strip()
        state.metrics = access.reads_metrics(token)
        state.person = access.by_token(token)
        if state.person is None and not state.metrics:
            address = request.client.host if request.client else ""
            access.check_tries(address)
            access.failed(address)
            raise Turned(401, "not_signed_in", "this token is not known",
                         "send Authorization: Bearer TOKEN with a token that is",
                         {"WWW-Authenticate": "Bearer"})  # fmt: skip
        return
    secret = request.cookies.get(access.cookie)
    visit = access.visit(secret) if secret else None
    if visit is not None:
        state.visit, state.person, state.by_cookie = visit, visit.person, True


async def _body(request: Request) -> bytes:
    """INVARIANT X106: no request takes more memory, or time to send it, than a person's does."""
    found = bytearray()
    try:
        async with asyncio.timeout(limits.API_BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limits.API_BODY_BYTES:
                    most = f"a request has at most {limits.API_BODY_BYTES:,} bytes"
                    raise Turned(413, "too_large", most)
    except TimeoutError:
        raise Turned(408, "too_slow", "the request did not come in time") from None
    return bytes(found)


def _check_form(visit: Visit, request: Request, body: bytes) -> None:
    """INVARIANT X107: a browser that signed in changes nothing without the token of its forms."""
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").partition(";")[0] == _FORM:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=1_000)
        given = fields.get("csrf", [""])[0]
    if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), visit.csrf.encode()):
        raise Turned(403, "wrong_form", "this form is not of the page that you signed in to",
                     "load the page again")  # fmt: skip


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever comes."""
    left: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def passed() -> Message:
        return left.pop() if left else await receive()

    return passed
