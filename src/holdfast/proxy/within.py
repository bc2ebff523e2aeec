"""A server in this very process: tools of our own, behind the same front as any other server's."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from holdfast.engine.verbs import idempotency_key
from holdfast.proxy import eras, frames
from holdfast.values.errors import HoldfastError, ToolError
from holdfast.values.masking import fit


class Own(msgspec.Struct, frozen=True):
    """One tool: ``takes`` and ``gives`` are structs, of which clients see the JSON Schemas;
    ``perform`` gets one and a key that is the same on every attempt of this call, and gives the
    other. ``effect``: as of any tool; it is told to clients as annotations. ``means``: what a call
    means just now, as the arguments that it is judged, approved and performed by: with ``roots``,
    which ``performs`` takes too."""

    name: str
    title: str
    text: str
    effect: str
    takes: type[msgspec.Struct]
    gives: type[msgspec.Struct]
    perform: Callable[[Any, str], Awaitable[msgspec.Struct]]
    destructive: bool = False
    means: Callable[[Any], Awaitable[msgspec.Struct]] | None = None
    performs: type[msgspec.Struct] | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """What ``tools/list`` says of it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.text,
            "inputSchema": _schema(self.takes),
            "outputSchema": _schema(self.gives),
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.effect == "read",
                "destructiveHint": self.destructive,
                "idempotentHint": self.effect != "once",
                "openWorldHint": False,
            },
        }


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a struct: an object at its root, with what it refers to beside it."""
    (root,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    name = root["$ref"].rpartition("/")[2]
    found = {key: value for key, value in parts.pop(name).items() if key != "title"}
    return {**found, **({"$defs": parts} if parts else {})}


ROOTS = "roots"
"""The argument that says which versions of worlds a call means; no client gives it."""


async def meant(tools: Mapping[str, Own], name: str, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call, with what they mean just now; `ToolError` for such as the tool does
    not take. Those of a call that cannot be carried out stay as they are: performed, it says why.
    """
    tool = tools.get(name)
    if tool is None:
        return args
    try:
        asked = msgspec.convert(args, tool.takes)
    except msgspec.ValidationError as error:
        # nobody is asked about what no answer could let happen
        raise ToolError(fit(f"{name}: {error}")) from None
    if tool.means is None:
        return args
    try:
        return msgspec.to_builtins(await tool.means(asked))
    except HoldfastError:
        return args


class Within:
    """Answers what a front asks of a server, in the modern era. ``said``: instructions for
    clients; ``fit`` makes a result safe to show and small enough."""

    def __init__(
        self,
        tools: Sequence[Own],
        said: str,
        fit: Callable[[Any], Any],
        receive: Callable[[bytes, Any], None],
    ) -> None:
        self._tools: Mapping[str, Own] = {one.name: one for one in tools}
        self._said = said
        self._fit = fit
        self._receive = receive

    async def open(self) -> None:
        """Nothing is to be begun."""

    async def close(self) -> None:
        """Nothing is to be ended."""

    async def send(self, line: bytes, sent: Any) -> None:
        """One message; its answer goes to ``receive`` before this returns."""
        del line
        if sent is None:
            return
        try:
            found = await self._answer(sent.method, sent.params)
        except frames.RpcError as error:
            self._receive(frames.error(sent.id, error.code, error.text), sent)
            return
        answer = {"resultType": "complete", **found}
        self._receive(frames.result(sent.id, frames.plain(answer)), sent)

    async def _answer(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        match method:
            case "server/discover":
                return {
                    "supportedVersions": [eras.MODERN], "capabilities": {"tools": {}},
                    "instructions": self._said, "ttlMs": 0, "cacheScope": "private",
                    "_meta": {eras.SERVER: eras.HERE},
                }  # fmt: skip
            case "tools/list":
                tools = [one.definition for one in self._tools.values()]
                return {"tools": tools, "ttlMs": 0, "cacheScope": "private"}
            case "tools/call":
                return await self._call(params)
            case _:
                raise frames.RpcError(frames.METHOD_NOT_FOUND, f"Method not found: {method}")

    async def _call(self, params: Mapping[str, Any]) -> dict[str, Any]:
        tool = self._tools.get(str(params.get("name")))
        if tool is None:
            raise frames.RpcError(frames.INVALID_PARAMS, f"Unknown tool: {params.get('name')}")
        try:
            kind = tool.performs or tool.takes
            taken = msgspec.convert(params.get("arguments") or {}, kind)
        except msgspec.ValidationError as error:
            return _failed(self._fit(f"{tool.name}: {error}"))
        # what it does is none of the step's own code: a run that it begins is not inside of it
        key = idempotency_key()
        doing = asyncio.get_running_loop().create_task(
            _begin(tool, taken, key), context=contextvars.Context()
        )
        try:
            found = self._fit(msgspec.to_builtins(await doing))
        except HoldfastError as error:
            return _failed(self._fit(f"{type(error).__name__}: {error}"))
        finally:
            doing.cancel()
        text = frames.plain(found).decode()
        return {"content": [{"type": "text", "text": text}], "structuredContent": found}


async def _begin(tool: Own, taken: Any, key: str) -> msgspec.Struct:
    return await tool.perform(taken, key)


def _failed(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": True}
