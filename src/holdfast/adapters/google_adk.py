"""Google's Agent Development Kit through the gate (the extra ``google-adk``): a plugin, by which
every call of a model and of a tool is a step of the guest that the agents run in::

    app = App(name="app", root_agent=agent, plugins=[Governed({"look": "read"}, patience=0)])

A call that is refused comes back as the tool's response, which the model can react to.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from google.adk.agents import LlmAgent
from google.adk.agents.callback_context import CallbackContext
from google.adk.agents.context import Context
from google.adk.events.event_actions import EventActions
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.tools import BaseTool, FunctionTool, exit_loop
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.tool_context import ToolContext
from google.adk.tools.transfer_to_agent_tool import TransferToAgentTool, transfer_to_agent

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
from holdfast.values.errors import Expired, Misuse, OutcomeUnknown, Refused

_THEIRS = "adk-"
"""What ids begin with that are not told to models."""


class Governed(BasePlugin):
    """Models and tools of all agents of a runner through the gate.

    ``effects``: of tools by name, else as `holdfast.adapters.taking.effect` marks their functions,
    else ``once``. ``patience``: seconds that a call waits for a person; then `Suspended` leaves the
    runner, the guest stays open, and the same code in a guest of the same name goes on. None: as
    long as it takes. Put it last: plugins behind it do not see what it answers.
    """

    def __init__(
        self, effects: Mapping[str, str] | None = None, *, patience: float | None = None
    ) -> None:
        super().__init__("holdfast")
        self._effects = dict(effects or {})
        self._patience = patience

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> LlmResponse | None:
        """The model's answer is a step's outcome."""
        if not governed_here():
            return None
        invocation = callback_context.get_invocation_context()
        agent = cast("LlmAgent", invocation.agent)
        given: dict[str, Any] = {"callback_context": callback_context, "llm_request": llm_request}
        if said := await _first(agent.canonical_before_model_callbacks, given):
            return cast("LlmResponse", said)
        invocation.increment_llm_call_count()
        model = await agent.canonical_model_async(callback_context)
        named = llm_request.model or model.model
        provider = type(model).__name__.removesuffix("Llm") or "model"
        turn = sum(one.role == "model" for one in llm_request.contents)
        tool = model_named(provider.lower(), named)
        key = f"{tool.name}.{turn + 1}"
        args = {
            "provider": provider.lower(), "model": named, "dialect": "google-adk",
            "request": _request(llm_request),
        }  # fmt: skip

        async def perform(bound: dict[str, Any]) -> dict[str, Any]:
            unchanged(bound, args)
            found: LlmResponse | None = None
            async for one in model.generate_content_async(llm_request, stream=False):
                found = one
            if found is None:
                raise Misuse(f"model {named}: gave no answer")
            return _answer(found, key)

        recorded = await take(tool, args, perform, key=key, patience=self._patience)
        return LlmResponse.model_validate_json(json.dumps(recorded["response"]))

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> dict[str, Any] | None:
        """The tool's response is a step's outcome."""
        step = self._tool(tool) if governed_here() else None
        if step is None:
            return None
        agent = cast("LlmAgent", tool_context.get_invocation_context().agent)
        given: dict[str, Any] = {"tool": tool, "args": tool_args, "tool_context": tool_context}
        said = await _first(agent.canonical_before_tool_callbacks, given)
        if said is not None:
            return cast("dict[str, Any]", said)
        # INVARIANT D118: a person whom the framework would have asked is not passed over
        if await tool.check_require_confirmation(tool_args, tool_context) is True:
            raise Misuse(
                f"tool {tool.name} asks by require_confirmation, which a governed runner does not "
                "do: leave it out, and let the policy ask"
            )

        async def perform(bound: dict[str, Any]) -> dict[str, Any]:
            result = await tool.run_async(args=bound, tool_context=tool_context)
            return _written(result, tool_context)

        key = journal_name("call", tool_context.function_call_id or tool.name)
        try:
            found = await take(step, tool_args, perform, key=key, patience=self._patience)
        except (Refused, Expired, OutcomeUnknown) as error:
            return {"error": str(error)}
        return _read(found, tool, tool_context)

    def _tool(self, tool: BaseTool) -> Described | None:
        """What is called; None if it only steers the agents, or its own calls are the steps."""
        function = tool.func if isinstance(tool, FunctionTool) else None
        if isinstance(tool, TransferToAgentTool) or function in (exit_loop, transfer_to_agent):
            return None
        if isinstance(tool, AgentTool):
            if not tool.include_plugins:  # calls would go past the gate: D58
                raise Misuse(f"tool {tool.name}: its agent must run with include_plugins=True")
            return None
        kind = effect_of(tool.name, self._effects, function)
        if kind == AGENT:
            return None
        told = tool._get_declaration()  # pyright: ignore[reportPrivateUsage] ADK's one way to it
        shape = {} if told is None else told.model_dump(mode="json", exclude_none=True)
        schema = shape.get("parameters_json_schema") or shape.get("parameters") or {}
        return described(tool.name, kind, description=tool.description, schema=schema)


async def _first(callbacks: Sequence[Callable[..., Any]], given: Mapping[str, Any]) -> Any:
    """What the first of an agent's own callbacks says: ADK skips them where a plugin answers."""
    for callback in callbacks:
        said = callback(**given)
        said = await said if inspect.isawaitable(said) else said
        if said is not None:
            return said
    return None


def _request(asked: LlmRequest) -> dict[str, Any]:
    """What is asked, as it is recorded."""
    return asked.model_dump(
        mode="json", include={"contents", "config"}, exclude_none=True, exclude_defaults=True
    )


def _answer(found: LlmResponse, key: str) -> dict[str, Any]:
    """An answer as it is recorded.

    INVARIANT D119: calls that the model gave no id have the same one in every process.
    """
    parts = (found.content.parts if found.content is not None else None) or ()
    for number, part in enumerate(parts):
        call = part.function_call
        if call is not None and (not call.id or call.id.startswith(_THEIRS)):
            call.id = f"{_THEIRS}{key}.{number}"
    told = found.usage_metadata
    usage = {
        name: count
        for name, count in (
            ("input", told and told.prompt_token_count),
            ("output", told and told.candidates_token_count),
            ("cache_read", told and told.cached_content_token_count),
            ("reasoning", told and told.thoughts_token_count),
        )
        if count
    }
    used(usage)
    return {
        "status": 200,
        "response": json.loads(found.model_dump_json(exclude_none=True)),
        "usage": usage,
        "usage_verbatim": told.model_dump(mode="json", exclude_none=True) if told else None,
        "price": None,
        "first_ms": None,
        "finish": found.finish_reason.value if found.finish_reason else None,
    }


def _written(result: Any, context: Context) -> dict[str, Any]:
    """A result as it is recorded, with what the tool told the runner to do."""
    if hasattr(result, "model_dump"):
        result = result.model_dump(mode="json")
    actions = json.loads(context.actions.model_dump_json(exclude_defaults=True, exclude_none=True))
    told = {"result": result, "actions": actions}
    if not recordable(told):
        raise Misuse(f"what the tool returned cannot be recorded: a {type(result).__name__}")
    return told


def _read(recorded: Any, tool: BaseTool, context: Context) -> dict[str, Any]:
    if not (isinstance(recorded, dict) and recorded.keys() == {"result", "actions"}):
        recorded = {"result": recorded, "actions": {}}  # what a person said that the result was
    actions = EventActions.model_validate_json(json.dumps(recorded["actions"]))
    for name in recorded["actions"]:
        if name == "state_delta":
            context.state.update(actions.state_delta)
        else:
            setattr(context.actions, name, getattr(actions, name))
    result = recorded["result"]
    if isinstance(result, dict):
        return cast("dict[str, Any]", result)
    return {} if result is None and tool.is_long_running else {"result": result}
