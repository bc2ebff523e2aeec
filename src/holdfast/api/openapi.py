"""The interface described as OpenAPI 3.1, from the same table that routes and decodes requests."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import msgspec

from holdfast.api.replies import Failed
from holdfast.api.ways import PLACES, PREFIX, Nothing, Way

_REF = "#/components/schemas/{name}"
_REASONS = {
    400: "The request could not be understood.",
    401: "Nobody signed in.",
    403: "Not allowed: the role, the policy, or a page elsewhere.",
    404: "There is no such thing.",
    408: "The request did not come in time.",
    409: "It does not fit how things are.",
    413: "Too large.",
    415: "Not JSON.",
    429: "Too many attempts to sign in failed.",
    503: "Something outside failed, or the server is full.",
}


def fails_of(way: Way) -> list[int]:
    """Statuses of errors that a way may answer."""
    found = {400, 401, 403, 409, 429, 503, *way.fails}
    if way.places:
        found.add(404)
    if way.method != "GET":
        found |= {404, 408, 413}
    if way.body is not None:
        found.add(415)
    return sorted(found)


def document(ways: list[Way]) -> dict[str, Any]:
    """The whole description."""
    kinds = [Failed, *(way.reply for way in ways), *(way.body for way in ways if way.body)]
    queries = [way.query for way in ways if way.query is not Nothing]
    kinds = [kind for kind in dict.fromkeys([*kinds, *queries]) if kind is not str]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for way in ways:
        paths.setdefault(PREFIX + way.path, {})[way.method.lower()] = _operation(way, schemas)
    for query in queries:
        schemas.pop(query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast", "version": importlib.metadata.version("holdfast"),
            "description": "Runs, what they did, and what they ask (docs/http.md).",
        },
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "holdfast"},
            },
        },
    }  # fmt: skip


def _operation(way: Way, schemas: dict[str, Any]) -> dict[str, Any]:
    places = [
        {"name": name, "in": "path", "required": True, "schema": _schema(PLACES[name])}
        for name in way.places
    ]
    found: dict[str, Any] = {
        "operationId": way.call.__module__.rpartition(".")[2] + way.call.__name__,
        "summary": way.summary,
        "description": f"Takes the role {way.role}.",
        "parameters": places + _parameters(way, schemas),
        "responses": {
            "200": {
                "description": "Done.",
                "content": {way.media: {"schema": _schema(way.reply)}},
            },
            **{
                str(status): {
                    "description": _REASONS[status],
                    "content": {"application/json": {"schema": _schema(Failed)}},
                }
                for status in fails_of(way)
            },
        },
    }
    if way.body is not None:
        found["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": _schema(way.body)}},
        }  # fmt: skip
    return found


def _parameters(way: Way, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if way.query is Nothing:
        return []
    schema = schemas[way.query.__name__]
    needed = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": each}
        for name, each in schema["properties"].items()
    ]


def _schema(kind: Any) -> dict[str, Any]:
    (found,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return found
