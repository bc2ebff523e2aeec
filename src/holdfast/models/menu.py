"""What a model is offered: tools as names and JSON Schemas, and the type of a structured answer."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from holdfast.engine.declare import Tool
from holdfast.engine.described import Described
from holdfast.models.plain import mapping
from holdfast.values.canon import digest
from holdfast.values.errors import Misuse, Outside

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n```", re.DOTALL)
"""What models put around JSON though they are told not to."""
_NAME_LENGTH = 64
"""Characters of a tool's name that all providers take."""


class Entry(NamedTuple):
    """A tool as a model sees it; ``name`` is the model's word for it."""

    name: str
    tool: Tool[..., Any]
    description: str
    schema: dict[str, Any]


def menu(tools: Iterable[Tool[..., Any]]) -> dict[str, Entry]:
    """Tools by the names that models call them by: letters, digits, ``_`` and ``-``. `Misuse` for
    two of one name, and for what is no tool."""
    found: dict[str, Entry] = {}
    for tool in tools:
        if not isinstance(cast("Any", tool), Tool):
            raise Misuse(f"{tool!r} is no tool: declare it with @holdfast.tool, or as Described")
        name = _FOREIGN.sub("_", tool.name)
        if len(name) > _NAME_LENGTH:
            name = f"{name[: _NAME_LENGTH - 9]}_{digest(tool.name.encode())[:8]}"
        if name in found:
            raise Misuse(f"two tools would be called {name}: give one of them another name")
        found[name] = Entry(name, tool, *_described(tool))
    return found


@functools.lru_cache(maxsize=512)  # a loop offers the same tools at every turn
def _described(tool: Tool[..., Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(tool, Described):
        schema = tool.schema
        return tool.description, schema if "type" in schema else {"type": "object", **schema}
    kinds = {one.kind for one in inspect.signature(tool.fn).parameters.values()}
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    if not kinds <= by_name:
        raise Misuse(f"tool {tool.name}: models give arguments by name; it takes others (*args)")
    try:
        schema = TypeAdapter[Any](cast("Any", tool.fn)).json_schema()
    except PydanticUserError as error:
        text = str(error).partition("\n")[0]
        raise Misuse(f"tool {tool.name}: its arguments have no JSON Schema: {text}") from None
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    return inspect.getdoc(tool.fn) or "", _untitled(schema) if kinds else empty


def _untitled(schema: Any) -> Any:
    """A schema without the titles that only repeat names."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            found[key] = {name: _untitled(one) for name, one in value.items()}
        elif key in ("default", "const", "enum", "examples"):
            found[key] = value
        elif key != "title":
            found[key] = _untitled(value)
    return found


class Wanted:
    """The type of a structured answer. ``schema`` is of an object, as providers want it; another
    type stands in it as ``value``."""

    def __init__(self, output: Any) -> None:
        try:
            self._adapter = TypeAdapter[Any](output)
            schema = _untitled(self._adapter.json_schema())
        except PydanticUserError as error:
            text = str(error).partition("\n")[0]
            raise Misuse(f"output {output!r} has no JSON Schema: {text}") from None
        self.name: str = _FOREIGN.sub("_", getattr(output, "__name__", "") or "answer")[:64]
        self.wraps: bool = schema.get("type") != "object" or "properties" not in schema
        if self.wraps:
            whole: dict[str, Any] = {"type": "object", "properties": {"value": schema}}
            if defs := schema.pop("$defs", None):
                whole["$defs"] = defs
            schema = {**whole, "required": ["value"], "additionalProperties": False}
        closed = _closed(schema)
        self.schema: dict[str, Any] = schema if closed is None else closed
        self.strict: bool = closed is not None

    def told(self) -> dict[str, Any]:
        """As providers are told it."""
        return {"name": self.name, "schema": self.schema, "strict": self.strict}

    def read(self, text: str) -> Any:
        """The answer that ``text`` is; `Outside` says in one line why it is none."""
        fenced = _FENCE.fullmatch(text.strip())
        try:
            found = json.loads(fenced[1] if fenced else text)
        except ValueError as error:
            raise Outside(f"the answer is no JSON: {error}") from None
        if self.wraps:
            if not isinstance(found, dict) or "value" not in found:
                raise Outside("the answer has no field `value`")
            found = found["value"]
        try:
            return self._adapter.validate_json(json.dumps(found))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise Outside(f"the answer does not fit: {place}: {first['msg']}") from None


def _closed(schema: Any) -> Any:
    """The schema with all objects closed, which providers can hold a model to; None if it has
    objects that are open, or fields that may be left out."""
    if isinstance(schema, list):
        parts = [_closed(one) for one in schema]
        return None if None in parts else parts
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            inner = {name: _closed(one) for name, one in mapping(value).items()}
            if None in inner.values():
                return None
            found[key] = inner
        elif key in ("enum", "const", "required", "description", "default", "examples"):
            found[key] = value
        elif key != "additionalProperties":
            part = _closed(value)
            if part is None:
                return None
            found[key] = part
    if schema.get("type") == "object":
        fields = mapping(schema.get("properties"))
        if not fields or set(fields) != set(schema.get("required", ())):
            return None
        found["additionalProperties"] = False
    return found
