"""A route of the JSON interface as one value: what it takes, who may, what it answers.

Routing, decoding, refusing and describing (`openapi`) all read the same table, so that none of them
can say something else than another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holdfast.api.access import Person, Role, Turned, need
from holdfast.api.replies import as_json
from holdfast.api.site import Site, site_of

PREFIX = "/api/v1"
"""How paths of this version begin."""

RunId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}$")]
"""What may name a run."""

PLACES: Mapping[str, Any] = {
    "run": RunId,
    "step": Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,50}$")],
    "pos": Annotated[int, Meta(ge=0, le=2**53)],
    "root": Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")],
}
"""What may stand in a path, by the name of the place."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Ask(msgspec.Struct, frozen=True):
    """A request that was understood: by whom, with what in the path, the query and the body."""

    site: Site
    person: Person
    path: Mapping[str, Any]
    query: Any
    body: Any
    request: Request


class Way(msgspec.Struct, frozen=True):
    """One route. ``call``: what it does; ``reply``: the type of what that returns, which is encoded
    as JSON (a `Response` passes as it is, as ``media``); ``query``, ``body``: structs that the
    request is decoded into; ``fails``: statuses of errors beyond those that every route has."""

    method: str
    path: str
    role: Role
    call: Callable[[Ask], Awaitable[Any]]
    summary: str
    reply: Any
    query: Any = Nothing
    body: Any = None
    media: str = "application/json"
    fails: tuple[int, ...] = ()

    @property
    def places(self) -> list[str]:
        """Names of the places in its path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def route(ways: list[Way]) -> Route:
    """The route of the ways that share a path, one for each method."""
    by_method = {way.method: way for way in ways}

    async def answer(request: Request) -> Response:
        # HEAD is GET without its body, which Starlette leaves out
        way = by_method["GET" if request.method == "HEAD" else request.method]
        # INVARIANT X109: nothing of a request is looked at before it is known who asks, and may
        person = need(request, way.role)
        ask = Ask(site_of(request), person, _path(way, request), _query(way, request),
                  await _body(way, request), request)  # fmt: skip
        found = await way.call(ask)
        return found if isinstance(found, Response) else as_json(found)

    return Route(f"{PREFIX}{ways[0].path}", answer, methods=list(by_method))


def _path(way: Way, request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in way.places:
        try:
            found[name] = msgspec.convert(request.path_params[name], PLACES[name], strict=False)
        except msgspec.ValidationError:
            raise Turned(404, "not_found", f"the path names no {name} that could be") from None
    return found


def _query(way: Way, request: Request) -> Any:
    pairs = request.query_params.multi_items()
    if len({name for name, _ in pairs}) != len(pairs):
        raise Turned(400, "malformed", "a parameter is said twice")
    try:
        return msgspec.convert(dict(pairs), way.query, strict=False)
    except msgspec.ValidationError as error:
        raise Turned(400, "malformed", f"query: {error}", f"see {PREFIX}/openapi.json") from None


async def _body(way: Way, request: Request) -> Any:
    """INVARIANT X110: a field that is not known is refused, never left out of account."""
    if way.body is None:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Turned(415, "wrong_type", "send application/json")
    try:
        return msgspec.json.decode(await request.body(), type=way.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Turned(400, "malformed", f"body: {error}", f"see {PREFIX}/openapi.json") from None
