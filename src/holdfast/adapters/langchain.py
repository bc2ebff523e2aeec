"""LangChain and LangGraph through the gate (the extra ``langgraph``): every call of a model and of
a tool is a step of the guest that the graph runs in.

For ``create_agent``: ``middleware=[Governed(...)]``. For graphs of your own: ``recorded(model)``
and ``ToolNode(tools, awrap_tool_call=governed.awrap_tool_call)``. A call that is refused comes back
as a tool message with status "error", which the model can react to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage, message_to_dict, messages_from_dict
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from holdfast.adapters.chatmodel import Recorded, recorded, turn_of
from holdfast.adapters.places import place
from holdfast.adapters.taking import (
    AGENT,
    described,
    effect_of,
    governed,
    recordable,
    take,
    wait,
)
from holdfast.engine.described import Described, journal_name
from holdfast.values.canon import encode
from holdfast.values.errors import Expired, OutcomeUnknown, Refused

__all__ = ["Governed", "recorded"]

_serde = JsonPlusSerializer(allowed_msgpack_modules=None)
_Answer = ToolMessage | Command[Any]


class Governed(AgentMiddleware[Any, Any, Any]):
    """Middleware, to be the last of its list, so that what others change is what is judged.

    ``effects``: of tools, by name: read, world, idempotent or once; "agent" for a tool that runs an
    agent, whose own calls are the steps. Else as ``metadata={"holdfast_effect": ...}`` of the tool
    says, or `holdfast.adapters.taking.effect` on its function; else ``once``. ``patience``: seconds
    that a call waits for a person; then `Suspended` leaves the graph, the guest stays open, and the
    same graph in a guest of the same name goes on. None: as long as it takes.
    """

    def __init__(
        self, effects: Mapping[str, str] | None = None, *, patience: float | None = None
    ) -> None:
        super().__init__()
        self._effects = dict(effects or {})
        self._patience = patience

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """The model's answer is a step's outcome."""
        return await handler(request.override(model=self._recorded(request.model)))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """`awrap_model_call`, blocking."""
        return handler(request.override(model=self._recorded(request.model)))

    def _recorded(self, model: BaseChatModel) -> BaseChatModel:
        return model if isinstance(model, Recorded) else Recorded(model, self._patience)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Answer]]
    ) -> _Answer:
        """The tool's answer is a step's outcome."""
        call = request.tool_call
        tool = self._tool(request)
        if tool is None:
            return await handler(request)

        async def perform(args: dict[str, Any]) -> Any:
            changed = request.override(tool_call={**call, "args": args})
            return _written(await handler(changed))

        try:
            found = await take(
                tool, call["args"], perform, key=_key(request), patience=self._patience
            )
            return _read(found, request)
        except (Refused, Expired, OutcomeUnknown) as error:
            return ToolMessage(
                str(error), name=call["name"], tool_call_id=call["id"] or "", status="error"
            )

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Answer]
    ) -> _Answer:
        """`awrap_tool_call`, blocking."""
        if not governed():
            return handler(request)

        async def aside(request: ToolCallRequest) -> _Answer:
            return await asyncio.to_thread(handler, request)

        return wait(self.awrap_tool_call(request, aside))

    def _tool(self, request: ToolCallRequest) -> Described | None:
        """What is called; None if its own calls are the steps."""
        tool, name = request.tool, request.tool_call["name"]
        metadata = getattr(tool, "metadata", None) or {}
        said = {name: metadata.get("holdfast_effect", "")} | self._effects
        kind = effect_of(name, said, getattr(tool, "coroutine", None), getattr(tool, "func", None))
        if kind == AGENT:
            return None
        if tool is None:  # the model made it up, or other middleware performs it
            return described(name, kind)
        schema: Any = tool.tool_call_schema
        shape = schema if isinstance(schema, dict) else schema.model_json_schema()
        return described(name, kind, description=tool.description, schema=shape)


def _key(request: ToolCallRequest) -> str:
    """The model's answer that made the call, the call's own id, and the place in the graph: some
    models use ids again, and so do nodes that keep conversations of their own."""
    state = request.state
    messages = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", ())
    turn = turn_of(messages if isinstance(messages, list) else ())
    name = request.tool_call["id"] or request.tool_call["name"]
    return journal_name("call", str(turn), name, place())


def _written(answer: _Answer) -> dict[str, Any]:
    """An answer as it is recorded: in JSON where that knows all of it."""
    if isinstance(answer, ToolMessage):
        plain = message_to_dict(answer)
        if recordable(plain):
            return plain
    name, content = _serde.dumps_typed(answer)
    return {"as": name, "of": content}


def _read(recorded: Any, request: ToolCallRequest) -> Any:
    match recorded:
        case {"as": str(name), "of": bytes(content)}:
            return _serde.loads_typed((name, content))
        case {"type": "tool", "data": {"tool_call_id": _}}:
            return messages_from_dict([recorded])[0]
        case _:  # what a person said that the result was
            text = recorded if isinstance(recorded, str) else encode(recorded).decode()
            call = request.tool_call
            return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "")
