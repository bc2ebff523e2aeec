"""pydantic-ai agents on Holdfast: every model request, tool call, MCP call and capability operation
is a step, judged and recorded.

    agent = Agent("openai:gpt-5", name="clerk", tools=[...], capabilities=[HoldfastDurability()])

    async with await runtime.guest("clerk", name="case-7") as guest:
        guest.result = (await agent.run("...")).output

Outside of a guest (and of an agent's run) the capability does nothing. See docs/adapters.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import functools
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

from pydantic_ai.capabilities.abstract import WrapRunHandler
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    EventStreamHandlerId,
    JournalCallableOperationBackend,
    ModelCompactMessagesId,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    ToolsetGetInstructionsId,
    conversation_id_from_run_id,
    record_durable_unit,
    replay_scope,
)
from pydantic_ai.durable_exec import CapabilityOperationId as CapabilityId
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, ToolFailed
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import AgentDepsT, RunContext
from pydantic_ai.tools import Tool as PydanticTool

from holdfast.adapters.pydantic_ai_kept import inputs_of, plain, request_of, value_of
from holdfast.engine import scope
from holdfast.engine.declare import EFFECTS, NOT_DONE, Tool
from holdfast.engine.described import Described, journal_name
from holdfast.engine.verbs import now, step
from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.errors import Expired, Misuse, OutcomeUnknown, Outside, Refused, ToolError
from holdfast.values.masking import masked
from holdfast.values.ports import SystemClock

__all__ = ["HoldfastDurability", "as_tool"]

_CLOCK = SystemClock()
_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_COUNTS: WeakKeyDictionary[Any, Counter[str]] = WeakKeyDictionary()
"""What began in a run or guest of ours, counted by name."""
_RUN: contextvars.ContextVar[str] = contextvars.ContextVar("holdfast_agent_run", default="")
"""The agent run that the code belongs to: "2" is the second, "2-1" the first inside of that."""

AGENT = "agent"
"""Said of a tool in the place of an effect: it runs an agent, whose own calls are the steps."""

_KNOWN: contextvars.ContextVar[tuple[Any] | None] = contextvars.ContextVar(
    "holdfast_known", default=None
)
"""The result of the tool that is called here, if it is not to be performed."""

Body = Callable[[], Awaitable[object]]


@dataclass(init=False, kw_only=True)
class HoldfastDurability(BaseDurabilityCapability[AgentDepsT]):
    """Makes an agent of pydantic-ai durable and governed, in a guest or an agent's run.

    ``effects``: of tools by name (``CAPABILITY.OPERATION`` for operations of capabilities), one of
    read, world, idempotent, once. A tool's own ``metadata={"holdfast": {"effect": ...}}`` comes
    first; a `holdfast.tool` (`as_tool`) and a marked function say it else; what nobody described is
    ``once``: it is never repeated blindly, and the default policy asks a person. "agent" says of a
    tool that it runs an agent itself, whose calls are then the steps. ``patience``:
    seconds that a call in a guest waits for a person, before `Suspended` ends the agent's run; None
    waits. ``retries``: of model requests. Others: as in pydantic-ai's durability capabilities.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="Holdfast",
        durable_unit_noun="step",
        durable_container_noun="run",
        codec=JSON_CODEC,
        toolset_lifecycles={
            "function": "enter-always",
            "mcp": "enter-in-durable-unit",
            "dynamic": "enter-never",
        },
        # as in the other engines that bind to an agent once: what comes later would not be a step
        unsupported_runtime_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        tool_config_key="holdfast",
    )

    def __init__(
        self,
        *,
        effects: Mapping[str, str] | None = None,
        patience: float | None = None,
        retries: int = limits.MODEL_RETRY_ATTEMPTS,
        models: Mapping[str, Model] | None = None,
        event_stream_handler: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(models=models, event_stream_handler=event_stream_handler, name=name)
        self.effects = {key: _effect(key, value) for key, value in (effects or {}).items()}
        self.patience = patience
        self.retries = retries

    @property
    def in_durable_context(self) -> bool:
        """Whether steps are taken here: in a guest or an agent's run, and not inside of a step."""
        return _container() is not None

    def get_default_run_id(self) -> str | None:
        """The same for the same agent run of the same guest, whenever it is run again."""
        container = _container()
        if container is None:
            return None
        return f"{container.id}:{_next(container, 'id', _RUN.get())}"

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """As pydantic-ai's own engines have it."""
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    def get_run_clock(self) -> Callable[[], dt.datetime] | None:
        """In an agent's run, its own clock."""
        return now if scope.current_run() is not None else None

    async def wrap_run(
        self, ctx: RunContext[AgentDepsT], *, handler: WrapRunHandler
    ) -> AgentRunResult[Any]:
        """Keeps what is answered from the journal out of traces.

        INVARIANT D71: no call goes past the gate because it is made inside another.
        """
        if scope.call.get() is not None:
            raise Misuse(
                f"agent {self.name} is run inside of a tool that is being performed: say of that "
                'tool that it runs an agent, effects={NAME: "agent"}, and its calls are the steps'
            )
        container = _container()
        if container is None:
            return await handler()
        token = _RUN.set(_next(container, "run", _RUN.get()))
        try:
            with replay_scope():
                return await super().wrap_run(ctx, handler=handler)
        finally:
            _RUN.reset(token)

    def get_durable_operation_backend(self) -> DurableOperationBackend[Any]:
        """Where operations become steps."""

        def of_tool(
            operation_id: DurableOperationId, tool: object | None, tool_name: str
        ) -> dict[str, Any] | Literal[False]:
            del operation_id
            marked = getattr(_function(tool, tool_name), "holdfast_effect", None)
            if AGENT in (self.effects.get(tool_name), marked):
                return False  # it is performed where it is called, and its own calls are steps
            found = self._build_resolve_tool_config({})(cast("Any", tool), tool_name)
            return cast("Any", found)

        return _Steps(self, of_tool)


def as_tool(tool: Tool[..., Any]) -> PydanticTool[Any]:
    """A `holdfast.tool` as a tool of pydantic-ai's: its effect, retries, timeout, reconcile,
    preview, facts and estimate count, as in an agent of ours."""

    @functools.wraps(tool.fn)
    async def waits(*args: Any, **kwargs: Any) -> Any:
        known = _KNOWN.get()
        return await tool(*args, **kwargs) if known is None else known[0]

    @functools.wraps(tool.fn)
    def blocks(*args: Any, **kwargs: Any) -> Any:
        known = _KNOWN.get()
        return tool(*args, **kwargs) if known is None else known[0]

    function: Any = waits if tool.is_async else blocks
    function.holdfast_tool = tool
    return PydanticTool(function, takes_ctx=False, name=tool.name)


class _Steps(JournalCallableOperationBackend[Any]):
    """Each operation as a step.

    INVARIANT D69: the names of steps are kept data: a tool's is its own (``TOOLSET.TOOL`` of an MCP
    toolset), a model's PROVIDER.MODEL, all others' as pydantic-ai names journal entries.
    """

    def __init__(self, durability: HoldfastDurability[Any], of_tool: Any) -> None:
        config = RoleBasedOperationConfig[Any](
            model={}, event={}, capability={}, tool={}, resolve_tool=of_tool
        )
        super().__init__(agent_name=durability.name, config=config)
        self._durability = durability

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Body,
        cache_key: tuple[object, ...],
        config: Any,
    ) -> object:
        """Take the step, and return the payload that it recorded."""
        kind = getattr(operation_id, "toolset_kind", "")
        if scope.current_run() is not None and (
            kind == "mcp" or isinstance(operation_id, ToolsetGetInstructionsId)
        ):
            raise Misuse(
                f"{name}: an agent's run cannot hold the connection of an MCPToolset; run this "
                "agent in a guest (`runtime.guest`)"
            )
        match operation_id:
            case ModelRequestId() | ModelCompactMessagesId():
                return await self._model(operation_id, body, cache_key)
            case ToolsetCallToolId():
                return await self._tool(operation_id, body, cache_key, config or {})
            case _:
                return await self._other(operation_id, name, body, cache_key)

    async def _take(self, tool: Described, args: dict[str, Any], unit: _Unit) -> Any:
        """INVARIANT D72: a step's key in a guest is its place in the agent's run, by the order in
        which calls of a name begin, so agents side by side do not shift each other's."""
        container = _container()
        if container is not None and scope.current_run() is None:
            place, patience = f"{_RUN.get()}.{tool.name}", self._durability.patience
            key = f"{place}.{_count(container, place)}"
            found = (await container.step(tool, args, key=key, patience=patience)).value
        else:
            found = await step(tool, args)
        record_durable_unit(executed=unit.executed)
        return found

    # Tools ------------------------------------------------------------------------------------

    async def _tool(
        self, operation: ToolsetCallToolId, body: Body, key: tuple[Any, ...], config: Any
    ) -> object:
        name, given, tool = str(key[0]), key[1], key[3]
        own = _own(tool, name)
        unit = _Unit(body)
        args = plain(given)

        async def perform(asked: dict[str, Any]) -> object:
            if encode(asked) != encode(args):
                _amend(name, given, asked, tool)
            return await unit.run()

        prefix = operation.toolset_id if operation.toolset_kind == "mcp" else ""
        told = getattr(tool, "tool_def", tool)
        made = Described(
            own.name if own is not None else journal_name(prefix, name),
            perform,
            effect=self._effect(name, config, own or _function(tool, name)),
            description=getattr(told, "description", None) or "",
            schema=getattr(told, "parameters_json_schema", None) or {},
            timeout=own.timeout if own is not None else None,
            retries=own.retries if own is not None else 0,
            facts=own.facts if own is not None else None,
            estimate=own.estimate if own is not None else None,
        )
        if own is not None:
            made.backoff = own.backoff
            made.reconcile, made.preview = unit.instead(own.reconcile), unit.instead(own.preview)
        try:
            return await self._take(made, args, unit)
        except (Refused, Expired, OutcomeUnknown) as error:
            # INVARIANT D70: what was not allowed is an answer that the model reads, and can react
            # to; it counts against none of the agent's retries
            record_durable_unit(executed=unit.executed)
            raise ToolFailed(_told(error)) from error

    def _effect(self, name: str, config: Mapping[str, Any], own: Any = None) -> str:
        said = config.get("effect", self._durability.effects.get(name))
        if said is None:
            said = own.effect if isinstance(own, Tool) else getattr(own, "holdfast_effect", None)
        return "once" if said is None else _effect(name, said)

    # Models -----------------------------------------------------------------------------------

    async def _model(
        self,
        operation: ModelRequestId | ModelCompactMessagesId,
        body: Body,
        key: tuple[Any, ...],
    ) -> object:
        context: RunContext[Any] = key[-1]
        provider = str(getattr(context.model, "system", "") or "model")
        args = {
            "provider": provider,
            "model": operation.model_name,
            "dialect": "pydantic-ai",
            "request": request_of(operation, key),
        }
        unit = _Unit(body)
        place = f"model {provider}:{operation.model_name}"

        async def perform(asked: dict[str, Any]) -> dict[str, Any]:
            if encode(asked) != encode(args):
                raise Misuse(f"{place}: its request cannot be changed; deny it instead")
            began = _CLOCK.ticks_ns()
            try:
                payload: Any = await unit.run()
            except ModelHTTPError as error:
                text = masked(f"{place}: status {error.status_code}: {error.message}")
                retryable = error.status_code in _BUSY
                raise Outside(text[: limits.ERROR_TEXT_CHARS], retryable=retryable) from None
            except ModelAPIError as error:
                raise Outside(f"{place}: {type(error).__name__}", retryable=True) from None
            return value_of(payload, (_CLOCK.ticks_ns() - began) / 1e6)

        made = Described(
            journal_name(provider, operation.model_name), perform, effect="read", kind="model",
            retries=self._durability.retries,
        )  # fmt: skip
        try:
            return (await self._take(made, args, unit))["response"]
        except ToolError as error:
            if error.error_type != "Outside":
                raise
            raise ModelAPIError(operation.model_name, str(error)) from error

    # Others -----------------------------------------------------------------------------------

    async def _other(
        self, operation: DurableOperationId, name: str, body: Body, key: tuple[Any, ...]
    ) -> object:
        unit = _Unit(body)
        args = {"inputs": inputs_of(key)}
        effect = "read"
        if isinstance(operation, CapabilityId):
            effect = self._effect(f"{operation.capability_id}.{operation.operation}", {})
        elif isinstance(operation, EventStreamHandlerId):
            effect = "idempotent"

        async def perform(asked: dict[str, Any]) -> object:
            if encode(asked) != encode(args):
                raise Misuse(f"{name}: its inputs cannot be changed; deny it instead")
            return await unit.run()

        return await self._take(Described(journal_name(name), perform, effect=effect), args, unit)


class _Unit:
    """The body of an operation: performed by the host's loop, in the context of whoever asked for
    it, so that spans and what else is kept there are its own. ``executed``: it was performed here.
    """

    def __init__(self, body: Body) -> None:
        self.executed = False
        self._body = body
        self._context = contextvars.copy_context()

    def instead(self, look: Callable[..., Any] | None) -> Callable[..., Awaitable[Any]] | None:
        """What stands in for a tool (its reconcile, its preview), with a result of the body's form:
        the body goes through all but the tool itself."""
        if look is None:
            return None

        async def found(**args: Any) -> Any:
            known = look(**args)
            known = await known if inspect.isawaitable(known) else known
            return known if known is NOT_DONE else await self.run((known,))

        return found

    async def run(self, known: tuple[Any] | None = None) -> object:
        """Perform it; it may be performed again. ``known``: what the tool returned, or would."""
        self.executed = True
        context = self._context.copy()
        context.run(_KNOWN.set, known)
        context.run(scope.call.set, scope.call.get())
        context.run(scope.lane.set, None)
        loop = asyncio.get_running_loop()
        return await loop.create_task(_as_coroutine(self._body), context=context)


async def _as_coroutine(body: Body) -> object:
    return await body()


def _count(container: Any, name: str) -> int:
    counts = _COUNTS.setdefault(container, Counter())
    counts[name] += 1
    return counts[name]


def _next(container: Any, kind: str, parent: str) -> str:
    """The place of the next agent run inside of another, or of none ("")."""
    number = _count(container, f"{kind} {parent}")
    return f"{parent}-{number}" if parent else str(number)


def _container() -> Any:
    """The run or guest whose steps are taken by the code that is running, None inside a step."""
    run = scope.current_run()
    if run is not None:
        return run
    return scope.guest.get() if scope.call.get() is None else None


def _effect(name: str, value: Any) -> str:
    if value not in (*EFFECTS, AGENT):
        raise Misuse(f"tool {name}: effect {value!r} is none of {', '.join(EFFECTS)}")
    return str(value)


def _own(tool: Any, name: str) -> Tool[..., Any] | None:
    """The `holdfast.tool` behind a tool of the agent's, if it is one."""
    return getattr(_function(tool, name), "holdfast_tool", None)


def _function(tool: Any, name: str) -> Any:
    """The function of a tool of the agent's. Its attribute ``holdfast_effect`` says its effect, as
    in the adapters of other frameworks."""
    held = getattr(getattr(tool, "toolset", None), "tools", None)
    found = held.get(name) if isinstance(held, dict) else None
    return getattr(found, "function", None)


def _amend(name: str, given: Any, asked: dict[str, Any], tool: Any) -> None:
    """A person changed the arguments: the tool gets those, checked as a model's are."""
    validator = getattr(tool, "args_validator", None)
    if not isinstance(given, dict):
        raise Misuse(f"tool {name}: its arguments cannot be changed; deny it instead")
    checked = asked if validator is None else validator.validate_python(asked)
    given.clear()
    given.update(checked)


def _told(error: Refused | Expired | OutcomeUnknown) -> str:
    if isinstance(error, Refused):
        return f"Refused, and not performed: {error}"
    if isinstance(error, Expired):
        return f"Not performed: {error} (nobody answered in time; it may be asked for again)"
    return f"It is not known whether this happened: {error}"
