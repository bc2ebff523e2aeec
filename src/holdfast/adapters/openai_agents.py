"""The OpenAI Agents SDK through the gate (the extra ``openai-agents``): every call of a model and
of a function tool is a step of the guest that the agents run in::

    result = await Runner.run(govern(agent), text, run_config=RunConfig(model_provider=Provider()))

A call that is refused comes back as the tool's output, which the model can react to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from agents import (
    Agent,
    CodeInterpreterTool,
    FileSearchTool,
    FunctionTool,
    Handoff,
    HostedMCPTool,
    ImageGenerationTool,
    Model,
    ModelBehaviorError,
    ModelProvider,
    ModelResponse,
    MultiProvider,
    Tool,
    Usage,
    WebSearchTool,
)
from agents.items import TResponseOutputItem, TResponseStreamEvent
from agents.testing import ModelStep, ScriptedModel
from agents.tool import ToolOutputFileContent, ToolOutputImage, ToolOutputText
from agents.tool_context import ToolContext
from openai.types.responses import ResponseCompletedEvent
from pydantic import TypeAdapter

from holdfast.adapters.taking import (
    AGENT,
    described,
    effect_of,
    model_named,
    recordable,
    take,
    unchanged,
    used,
)
from holdfast.engine.described import journal_name
from holdfast.values.errors import Expired, Misuse, OutcomeUnknown, Refused, ToolError

_HOSTED = (CodeInterpreterTool, FileSearchTool, HostedMCPTool, ImageGenerationTool, WebSearchTool)
"""Tools that the provider performs: parts of a model call."""
_OUTPUTS = (str, int, float, list, dict, ToolOutputText, ToolOutputImage, ToolOutputFileContent)
_FAILURES = frozenset({"response.incomplete", "response.failed", "response.error", "error"})
"""Events that end a stream without an answer."""
_MARK = "_holdfast_governed"
_items: TypeAdapter[list[TResponseOutputItem]] = TypeAdapter(list[TResponseOutputItem])
_usage: TypeAdapter[Usage] = TypeAdapter(Usage)


class Provider(ModelProvider):
    """Models whose calls are steps, from ``inner`` (by default the SDK's own provider)."""

    def __init__(
        self, inner: ModelProvider | None = None, *, patience: float | None = None
    ) -> None:
        self._inner = inner or MultiProvider()
        self._patience = patience

    def get_model(self, model_name: str | None) -> Model:
        """The model of that name, or the default one."""
        model = self._inner.get_model(model_name)
        name = model_name or getattr(model, "model", None) or "default"
        return Recorded(model, str(name), patience=self._patience)

    async def aclose(self) -> None:
        """Close the provider that this stands in for."""
        await self._inner.aclose()


class Recorded(Model):
    """A model whose calls are steps. What it streams is passed on as it comes, recorded as one
    response, and streamed again from that on replay."""

    def __init__(self, inner: Model, name: str = "", *, patience: float | None = None) -> None:
        self._inner = inner
        self._name = name or str(getattr(inner, "model", type(inner).__name__))
        self._patience = patience

    async def get_response(self, *args: Any, **more: Any) -> ModelResponse:
        """The answer to what is asked."""
        return await self._take(lambda: self._inner.get_response(*args, **more), args, more)

    async def stream_response(self, *args: Any, **more: Any) -> AsyncIterator[TResponseStreamEvent]:
        """The answer, event by event."""
        came: asyncio.Queue[TResponseStreamEvent | None] = asyncio.Queue()
        streamed = False

        async def ask() -> ModelResponse:
            nonlocal streamed
            done: ModelResponse | None = None
            why = "its stream ended before its answer did"
            async for event in self._inner.stream_response(*args, **more):
                if event.type in _FAILURES:  # the SDK would leave before that is recorded
                    why = f"its answer ended with {event.type}"
                    continue
                streamed = True
                came.put_nowait(event)
                if isinstance(event, ResponseCompletedEvent):
                    done = _of_stream(event)
            if done is None:
                raise ModelBehaviorError(f"model {self._name}: {why}")
            return done

        taking = asyncio.ensure_future(self._take(ask, args, more))
        taking.add_done_callback(lambda _: came.put_nowait(None))
        try:
            while (event := await came.get()) is not None:
                yield event
            found = await taking
        finally:
            taking.cancel()
        if not streamed:
            step = ModelStep(found.output, found.usage, found.response_id)
            async for event in ScriptedModel([step]).stream_response(*args, **more):
                yield event

    async def close(self) -> None:
        """Close the model that this stands in for."""
        await self._inner.close()

    async def _take(
        self,
        ask: Callable[[], Awaitable[ModelResponse]],
        args: tuple[Any, ...],
        more: Mapping[str, Any],
    ) -> ModelResponse:
        request, turn = _request(args, more)

        async def perform(bound: dict[str, Any]) -> dict[str, Any]:
            unchanged(bound, asked)
            found = await ask()
            usage = _tokens(found.usage)
            used(usage)
            return {
                "status": 200,
                "response": {
                    "id": found.response_id,
                    "output": _items.dump_python(found.output, mode="json", exclude_unset=True),
                    "request_id": found.request_id,
                },
                "usage": usage,
                "usage_verbatim": _usage.dump_python(found.usage, mode="json"),
                "price": None,
                "first_ms": None,
                "finish": None,
            }

        tool = model_named("openai", self._name)
        asked = {
            "provider": "openai", "model": self._name, "dialect": "openai.responses",
            "request": request,
        }  # fmt: skip
        key = f"{tool.name}.{turn}"
        try:
            found = await take(tool, asked, perform, key=key, patience=self._patience)
        except ToolError as error:
            if error.error_type == ModelBehaviorError.__name__:
                raise ModelBehaviorError(str(error)) from None  # as the SDK has it, on replay too
            raise
        said = found["response"]
        return ModelResponse(
            output=_items.validate_python(said["output"]),
            usage=_usage.validate_python(found["usage_verbatim"]),
            response_id=said["id"],
            request_id=said["request_id"],
        )


def govern(
    agent: Agent[Any],
    effects: Mapping[str, str] | None = None,
    *,
    patience: float | None = None,
) -> Agent[Any]:
    """``agent`` itself, so changed that the calls of its function tools (those of MCP servers too),
    of those it hands off to and of those that are its tools are steps inside a guest; also those of
    models that agents name as objects. Outside of a guest nothing is different.

    ``effects``, ``patience``: see `holdfast.adapters.langchain.Governed`. An agent with another
    kind of tool that acts on this machine (a shell, a computer) raises `Misuse` when it runs: no
    hook sees their calls.
    """
    left, known = [agent], dict[int, Agent[Any]]()
    while left:
        one = left.pop()
        if id(one) in known:
            continue
        known[id(one)] = one
        if isinstance(one.model, Model) and not isinstance(one.model, Recorded):
            one.model = Recorded(one.model, patience=patience)
        if not hasattr(one, _MARK):
            setattr(one, _MARK, True)
            _watch(one, effects or {}, patience)
        for other in (*one.handoffs, *one.tools):
            found = _agent_of(other)
            if found is not None:
                left.append(found)
    return agent


def _watch(agent: Agent[Any], effects: Mapping[str, str], patience: float | None) -> None:
    """Wrap tools when the runner asks for them: those of servers are not known before."""
    ask = agent.get_all_tools

    async def get_all_tools(run_context: Any) -> list[Tool]:
        tools = await ask(run_context)
        for tool in tools:
            if isinstance(tool, FunctionTool):
                _wrap(tool, effects, patience)
            elif not isinstance(tool, _HOSTED):
                # INVARIANT D60: what no hook sees does not run
                raise Misuse(
                    f"agent {agent.name}: tool {tool.name} acts on this machine past every hook: "
                    "give it as a function tool or through an MCP server"
                )
        return tools

    agent.get_all_tools = get_all_tools


def _agent_of(other: Any) -> Agent[Any] | None:
    """The agent behind a hand-off or a tool; None if it is none, or only known when it runs."""
    if isinstance(other, Handoff):
        reference = getattr(other, "_agent_ref", None)
        other = reference() if reference is not None else None
    elif isinstance(other, FunctionTool):
        other = getattr(other, "_agent_instance", None)
    return other if isinstance(other, Agent) else None


def _wrap(tool: FunctionTool, effects: Mapping[str, str], patience: float | None) -> None:
    """Make calls of a tool steps, once. An agent's are no steps: its own calls are."""
    invoke = tool.on_invoke_tool
    kind = effect_of(tool.name, effects, getattr(tool, "__wrapped__", None))
    if hasattr(invoke, _MARK) or kind == AGENT or _agent_of(tool) is not None:
        return
    known = described(tool.name, kind, description=tool.description, schema=tool.params_json_schema)

    async def governed(context: ToolContext[Any], text: str) -> Any:
        asked = _arguments(text)

        async def perform(args: dict[str, Any]) -> Any:
            found = await invoke(context, text if args == asked else json.dumps(args))
            return found if isinstance(found, _OUTPUTS) and recordable(found) else str(found)

        key = journal_name("call", context.tool_call_id or tool.name)
        try:
            return await take(known, asked, perform, key=key, patience=patience)
        except (Refused, Expired, OutcomeUnknown) as error:
            return str(error)

    setattr(governed, _MARK, True)
    tool.on_invoke_tool = governed


def _arguments(text: str) -> dict[str, Any]:
    """Arguments by name; what a model wrote that is no JSON object, as text."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"input": text}


_ASKED = (
    "system_instructions", "input", "model_settings", "tools", "output_schema", "handoffs",
    "tracing",
)  # fmt: skip


def _request(args: tuple[Any, ...], more: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """What is asked, as the provider gets it, and which answer in the conversation it asks for."""
    asked = dict(zip(_ASKED, args, strict=False)) | dict(more)
    given, output = asked["input"], asked["output_schema"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    tools = [
        {"type": "function", "name": one.name, "description": one.description,
         "parameters": one.params_json_schema} if isinstance(one, FunctionTool)
        else {"type": one.name}
        for one in asked["tools"]
    ]  # fmt: skip
    tools += [
        {"type": "function", "name": one.tool_name, "description": one.tool_description,
         "parameters": one.input_json_schema}
        for one in asked["handoffs"]
    ]  # fmt: skip
    request = {
        "instructions": asked["system_instructions"],
        "input": items,
        "tools": tools,
        "settings": {
            k: v for k, v in asked["model_settings"].to_json_dict().items() if v is not None
        },
        "schema": None if output is None or output.is_plain_text() else output.json_schema(),
        "previous_response_id": asked.get("previous_response_id"),
        "conversation": asked.get("conversation_id"),
        "prompt": asked.get("prompt"),
    }
    return {name: one for name, one in request.items() if one is not None}, turn_of(items) + 1


def turn_of(items: list[Any]) -> int:
    """How many answers of a model a conversation has: stretches of items that a model made."""
    made = [
        one.get("role") == "assistant"
        or one.get("type") in ("function_call", "reasoning", "computer_call", "custom_tool_call")
        for one in items
    ]
    return sum(now and not before for before, now in zip([False, *made], made, strict=False))


def _of_stream(event: ResponseCompletedEvent) -> ModelResponse:
    told = event.response.usage
    usage = Usage(requests=1) if told is None else Usage(
        requests=1, input_tokens=told.input_tokens, output_tokens=told.output_tokens,
        total_tokens=told.total_tokens, input_tokens_details=told.input_tokens_details,
        output_tokens_details=told.output_tokens_details,
    )  # fmt: skip
    return ModelResponse(output=event.response.output, usage=usage, response_id=event.response.id)


def _tokens(usage: Usage) -> dict[str, int]:
    """Tokens, as every step of a model has them; nothing if the provider did not tell."""
    if not usage.total_tokens:
        return {}
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.input_tokens_details.cached_tokens or 0,
        "cache_write": 0,
        "reasoning": usage.output_tokens_details.reasoning_tokens or 0,
    }
