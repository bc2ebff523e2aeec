"""Strands agents through the gate (the extra ``strands``): every call of a model and of a tool is a
step of the guest that the agent runs in::

    agent = govern(Agent(model=model, tools=[look]), {"look": "read"}, patience=0)
    result = await agent.invoke_async("begin")

A call that is refused comes back as the tool's result, which the model can react to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from strands import Agent
from strands.hooks import AfterInvocationEvent
from strands.interrupt import Interrupt, InterruptException
from strands.middleware import ExecuteToolStage, InvokeModelStage
from strands.middleware.stages import ExecuteToolContext, InvokeModelContext
from strands.types._events import ToolInterruptEvent
from strands.types.events import ModelStopReason, ToolResultEvent, TypedEvent

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
    Suspended,
    ToolError,
)

_Next = Callable[[Any], AsyncIterator[Any]]
_Emit = Callable[[TypedEvent], None]
T = TypeVar("T")


def govern(
    agent: Agent, effects: Mapping[str, str] | None = None, *, patience: float | None = None
) -> Agent:
    """Put an agent's model and tools through the gate; returns the same agent.

    ``effects``: of tools by name, else as `holdfast.adapters.taking.effect` marks their functions,
    else ``once``. ``patience``: seconds that a call waits for a person; then `Suspended` leaves the
    agent, the guest stays open, and a new agent like this in a guest of the same name goes on.
    None: as long as it takes. Call it after adding other middleware: what that changes is judged.
    """
    gate = _Gate(dict(effects or {}), patience)
    agent.add_middleware(InvokeModelStage, gate.model)
    agent.add_middleware(ExecuteToolStage, gate.tool)
    agent.hooks.add_callback(AfterInvocationEvent, gate.ended)
    return agent


class _Gate:
    """What stands before one agent. ``stopped``: why it stands still: its executor takes a tool
    that suspends for one without a result."""

    def __init__(self, effects: Mapping[str, str], patience: float | None) -> None:
        self._effects = effects
        self._patience = patience
        self.stopped: BaseException | None = None

    async def model(self, context: InvokeModelContext, following: _Next) -> AsyncGenerator[Any]:
        """The model's answer is a step's outcome; what it streams is passed on as it comes."""
        if not governed_here():
            async for event in following(context):
                yield event
            return
        config = cast("Mapping[str, Any]", context.model.get_config() or {})
        named = str(config.get("model_id") or type(context.model).__name__)
        provider = type(context.model).__name__.removesuffix("Model").lower() or "model"
        args = {
            "provider": provider, "model": named, "dialect": "strands",
            "request": _request(context),
        }  # fmt: skip
        turn = sum(one["role"] == "assistant" for one in context.messages)
        tool = model_named(provider, named)

        async def ask(emit: _Emit) -> Any:
            async def perform(bound: dict[str, Any]) -> dict[str, Any]:
                unchanged(bound, args)
                stop: ModelStopReason | None = None
                async for event in following(context):
                    if isinstance(event, ModelStopReason):
                        stop = event
                    else:
                        emit(event)
                if stop is None:
                    raise Misuse(f"model {named}: its stream ended before its answer did")
                return _answer(stop)

            return await take(
                tool, args, perform, key=f"{tool.name}.{turn + 1}", patience=self._patience
            )

        async for one in _streamed(ask):
            if isinstance(one, TypedEvent):
                yield one
            else:
                said = one["response"]
                yield ModelStopReason(
                    said["stop_reason"], said["message"], one["usage_verbatim"], said["metrics"]
                )

    async def tool(self, context: ExecuteToolContext, following: _Next) -> AsyncGenerator[Any]:
        """The tool's result is a step's outcome."""
        step = self._tool(context) if governed_here() else None
        if step is None:
            async for event in following(context):
                yield event
            return
        use = context.tool_use

        async def ask(emit: _Emit) -> Any:
            async def perform(bound: dict[str, Any]) -> Any:
                changed: Any = {**use, "input": bound}
                found: ToolResultEvent | None = None
                async for event in following(context.replace(tool_use=changed)):
                    if isinstance(event, ToolInterruptEvent):
                        raise Misuse(
                            f"tool {use['name']} interrupts the agent: in a governed one, let the "
                            "policy ask"
                        )
                    if isinstance(event, ToolResultEvent):
                        found = event
                    else:
                        emit(event)
                return _written(found, use["name"])

            key = journal_name("call", use["toolUseId"] or use["name"])
            return await take(step, use["input"], perform, key=key, patience=self._patience)

        try:
            async for one in _streamed(ask):
                yield one if isinstance(one, TypedEvent) else _read(one, use["toolUseId"])
        except (Refused, Expired, OutcomeUnknown, ToolError) as error:
            yield _result(use["toolUseId"], "error", str(error))
        except (Suspended, HoldfastError) as error:
            # INVARIANT D116: what stops a run stops the agent, and no result stands in its place
            self.stopped = self.stopped or error
            asked = Interrupt(id=use["toolUseId"], name="holdfast", reason=str(error))
            raise InterruptException(asked) from None

    def ended(self, event: AfterInvocationEvent) -> None:
        """The agent has stopped: say why, where that is not its own doing."""
        error, self.stopped = self.stopped, None
        if error is not None:
            raise error

    def _tool(self, context: ExecuteToolContext) -> Described | None:
        """What is called; None if its own calls are the steps."""
        name, tool = context.tool_use["name"], context.tool
        function = getattr(tool, "_tool_func", None)
        kind = effect_of(name, self._effects, function)
        if kind == AGENT:
            return None
        if tool is None:  # the model made it up
            return described(name, kind)
        spec = tool.tool_spec
        schema: Any = spec["inputSchema"]
        return described(
            name, kind, description=spec["description"], schema=schema.get("json", schema)
        )


async def _streamed(ask: Callable[[_Emit], Awaitable[Any]]) -> AsyncGenerator[Any]:
    """The events that come while a step is taken, then its outcome."""
    came: asyncio.Queue[TypedEvent | None] = asyncio.Queue()
    taking = asyncio.ensure_future(ask(came.put_nowait))
    taking.add_done_callback(lambda _: came.put_nowait(None))
    try:
        while (event := await came.get()) is not None:
            yield event
        yield await taking
    finally:
        taking.cancel()


def _request(context: InvokeModelContext) -> dict[str, Any]:
    """What is asked, without what is measured and made up on the way."""
    messages = [{"role": one["role"], "content": one["content"]} for one in context.messages]
    found: dict[str, Any] = {"messages": messages, "tools": context.tool_specs}
    if context.system_prompt:
        found["system"] = context.system_prompt
    if context.tool_choice:
        found["tool_choice"] = context.tool_choice
    return found


def _answer(stop: ModelStopReason) -> dict[str, Any]:
    told = cast("Mapping[str, Any]", stop.usage)
    usage = {
        name: int(told[theirs])
        for name, theirs in (
            ("input", "inputTokens"), ("output", "outputTokens"),
            ("cache_read", "cacheReadInputTokens"), ("cache_write", "cacheWriteInputTokens"),
        )
        if told.get(theirs)
    }  # fmt: skip
    used(usage)
    return {
        "status": 200,
        "response": {
            "stop_reason": stop.stop_reason, "message": stop.message, "metrics": stop.metrics,
        },
        "usage": usage,
        "usage_verbatim": dict(told),
        "price": None,
        "first_ms": None,
        "finish": stop.stop_reason,
    }  # fmt: skip


def _written(found: ToolResultEvent | None, name: str) -> dict[str, Any]:
    if found is None:
        raise Misuse(f"tool {name}: ended without a result")
    told = {"status": found.tool_result["status"], "content": found.tool_result["content"]}
    if not recordable(told):
        raise Misuse(f"what tool {name} returned cannot be recorded")
    return told


def _read(recorded: Any, use: str) -> ToolResultEvent:
    if isinstance(recorded, dict) and recorded.keys() == {"status", "content"}:
        whole: Any = {"toolUseId": use, **recorded}
        return ToolResultEvent(whole)
    return _result(use, "success", recorded)  # what a person said that the result was


def _result(use: str, status: Any, said: Any) -> ToolResultEvent:
    part: Any = {"text": said} if isinstance(said, str) else {"json": said}
    return ToolResultEvent({"toolUseId": use, "status": status, "content": [part]})
