"""Microsoft's Agent Framework through the gate (the extra ``agent-framework``): middleware, by
which every call of a model and of a tool is a step of the guest that the agent runs in::

    agent = Agent(client, tools=[look], middleware=governed({"look": "read"}, patience=0))

A call that is refused comes back as the tool's result, which the model can react to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

from agent_framework import (
    ChatContext,
    ChatMiddleware,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationContext,
    FunctionMiddleware,
    Message,
    MiddlewareFailure,
    ResponseStream,
)

from holdfast.adapters.taking import (
    AGENT,
    described,
    effect_of,
    governed_here,
    model_named,
    recordable,
    take,
    unchanged,
    used,
)
from holdfast.engine.described import Described, journal_name
from holdfast.values.errors import (
    Expired,
    HoldfastError,
    Misuse,
    OutcomeUnknown,
    Refused,
    ToolError,
)

_PASSING = {"raw_representation", "message_id", "id", "additional_properties"}
"""What frameworks and providers make up on the way."""


def governed(
    effects: Mapping[str, str] | None = None, *, patience: float | None = None
) -> list[ChatMiddleware | FunctionMiddleware]:
    """The middleware of an agent: its models and tools go through the gate.

    ``effects``: of tools by name, else as `holdfast.adapters.taking.effect` marks their functions,
    else ``once``. ``patience``: seconds that a call waits for a person; then `Suspended` leaves the
    agent, the guest stays open, and the same code in a guest of the same name goes on. None: as
    long as it takes. Put it last: what other middleware changes is what is judged.
    """
    return [GovernedChat(patience), GovernedFunctions(dict(effects or {}), patience)]


class GovernedChat(ChatMiddleware):
    """Calls of models as steps. What a model streams is passed on when all of it is recorded."""

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience

    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """The model's answer is a step's outcome."""
        if not governed_here():
            await call_next()
            return
        options = dict(context.options or {})
        client = context.client
        kind = type(client).__name__
        named = str(options.get("model") or getattr(client, "model", None) or kind)
        provider = str(getattr(client, "OTEL_PROVIDER_NAME", None) or kind)
        tool = model_named(provider, named)
        turn = sum(str(one.role) == "assistant" for one in context.messages)
        args = {
            "provider": provider, "model": named, "dialect": "agent-framework",
            "request": {
                "messages": [_message(one) for one in context.messages],
                **{name: _plain(one) for name, one in options.items() if one is not None},
            },
        }  # fmt: skip

        async def perform(bound: dict[str, Any]) -> dict[str, Any]:
            unchanged(bound, args)
            await call_next()
            found: Any = context.result
            if isinstance(found, ResponseStream):
                found = await cast("ResponseStream[Any, Any]", found).get_final_response()
            if not isinstance(found, ChatResponse):
                raise Misuse(f"model {named}: gave no answer")
            return _answer(cast("ChatResponse[Any]", found))

        key = f"{tool.name}.{turn + 1}"
        recorded = await take(tool, args, perform, key=key, patience=self._patience)
        response = ChatResponse.from_dict(dict(recorded["response"]))
        context.result = _stream_of(response) if context.stream else response


class GovernedFunctions(FunctionMiddleware):
    """Calls of tools as steps."""

    def __init__(self, effects: Mapping[str, str], patience: float | None = None) -> None:
        self._effects = effects
        self._patience = patience

    async def process(
        self, context: FunctionInvocationContext, call_next: Callable[[], Awaitable[None]]
    ) -> None:
        """The tool's result is a step's outcome."""
        step = self._tool(context) if governed_here() else None
        if step is None:
            await call_next()
            return
        asked: Any = context.arguments
        args = dict(asked if isinstance(asked, Mapping) else asked.model_dump(mode="json"))

        async def perform(bound: dict[str, Any]) -> Any:
            if bound != args:
                context.arguments = bound
            await call_next()
            return _written(context.result, step.name)

        key = journal_name("call", str(context.metadata.get("call_id") or step.name))
        try:
            found = await take(step, args, perform, key=key, patience=self._patience)
            context.result = _read(found)
        except (Refused, Expired, OutcomeUnknown, ToolError) as error:
            context.result = str(error)
        except HoldfastError as error:
            # what stops a run stops the agent: D116, as in strands
            raise MiddlewareFailure(str(error)) from error

    def _tool(self, context: FunctionInvocationContext) -> Described | None:
        """What is called; None if its own calls are the steps."""
        tool = context.function
        kind = effect_of(tool.name, self._effects, tool.func)
        if kind == AGENT:
            return None
        return described(tool.name, kind, description=tool.description, schema=tool.parameters())


def _message(one: Message) -> dict[str, Any]:
    """A message as it is recorded."""
    contents = [part.to_dict(exclude=_PASSING) for part in one.contents]
    return {**one.to_dict(exclude=_PASSING), "contents": contents}


def _plain(value: Any) -> Any:
    """An option as it is recorded."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("list[Any]", value)]
    if recordable(value):
        return value
    name = getattr(value, "name", None)
    if name is None:
        return f"a {type(value).__name__}"
    shape = value.parameters() if hasattr(value, "parameters") else {}
    said = {"name": str(name), "description": getattr(value, "description", ""), "schema": shape}
    return said if recordable(said) else str(name)


def _answer(found: ChatResponse[Any]) -> dict[str, Any]:
    told = cast("Mapping[str, Any]", found.usage_details or {})
    usage = {
        name: int(told[theirs])
        for name, theirs in (
            ("input", "input_token_count"), ("output", "output_token_count"),
            ("cache_read", "cache_read_input_token_count"),
            ("reasoning", "reasoning_output_token_count"),
        )
        if told.get(theirs)
    }  # fmt: skip
    used(usage)
    response = found.to_dict(exclude={"raw_representation", "value"})
    if not recordable(response):
        raise Misuse("what the model answered cannot be recorded")
    return {
        "status": 200, "response": response, "usage": usage, "usage_verbatim": dict(told) or None,
        "price": None, "first_ms": None, "finish": found.finish_reason,
    }  # fmt: skip


def _stream_of(response: ChatResponse[Any]) -> ResponseStream[ChatResponseUpdate, Any]:
    """A whole answer as a stream."""

    async def updates() -> AsyncIterator[ChatResponseUpdate]:
        for message in response.messages:
            yield ChatResponseUpdate(
                contents=message.contents, role=cast("Any", message.role),
                author_name=message.author_name, message_id=message.message_id,
                response_id=response.response_id, conversation_id=response.conversation_id,
                model=response.model, created_at=response.created_at,
                finish_reason=cast("Any", response.finish_reason),
            )  # fmt: skip

    return ResponseStream(updates(), finalizer=lambda _: response)


def _written(result: Any, name: str) -> Any:
    """A result as it is recorded."""
    if isinstance(result, list):
        parts = cast("list[Any]", result)
        if all(isinstance(one, Content) for one in parts):
            result = {"contents": [one.to_dict() for one in parts]}
    if not recordable(result):
        raise Misuse(f"what tool {name} returned cannot be recorded: a {type(result).__name__}")
    return result


def _read(recorded: Any) -> Any:
    if isinstance(recorded, dict) and recorded.keys() == {"contents"}:
        return [Content.from_dict(one) for one in recorded["contents"]]
    return recorded
