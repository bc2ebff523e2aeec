"""What is recorded of the model requests and values of pydantic-ai."""

from __future__ import annotations

from typing import Any, cast

from pydantic_ai.durable_exec import ModelCompactMessagesId, ModelRequestId
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.tools import RunContext
from pydantic_ai.toolsets import ToolsetTool
from pydantic_core import to_jsonable_python

from holdfast.engine import scope


def plain(value: Any) -> Any:
    """A value as plain data, the same for the same: what has no form of its own is its type."""
    return to_jsonable_python(value, fallback=lambda one: f"<{type(one).__qualname__}>")


_TIMES = frozenset({"timestamp", "run_id", "conversation_id"})
_KINDS = frozenset({"kind", "part_kind", "event_kind"})


def inputs_of(key: tuple[Any, ...]) -> list[Any]:
    """The inputs of an operation, without what is of this process alone, and without times."""
    found: list[Any] = []
    for one in key:
        bare = one
        if isinstance(one, dict):
            bare = {name: value for name, value in one.items() if not _here(value)}
        if not _here(one):
            found.append(_timeless(plain(bare)))
    return found


def _here(value: Any) -> bool:
    return isinstance(value, RunContext | ToolsetTool)


def _timeless(value: Any) -> Any:
    """Plain data without the times that messages and events have, which differ every time."""
    if isinstance(value, list):
        return [_timeless(one) for one in value]
    if not isinstance(value, dict):
        return value
    drop = _TIMES if _KINDS & value.keys() else frozenset[str]()
    return {name: _timeless(one) for name, one in value.items() if name not in drop}


def request_of(operation: ModelRequestId | ModelCompactMessagesId, key: tuple[Any, ...]) -> Any:
    """A request, as much of it as matters to the answer. No header stands in it."""
    if isinstance(operation, ModelCompactMessagesId):
        asked = key[1]
        messages, settings, menu = (
            asked.messages, asked.model_settings, asked.model_request_parameters,
        )  # fmt: skip
        more: dict[str, Any] = {"compact": True, "instructions": key[2]}
    else:
        messages, settings, menu = key[1:4]
        more = {"stream": True} if operation.streaming else {}
    kept = {name: plain(one) for name, one in (settings or {}).items() if name != "extra_headers"}
    tools = [*menu.function_tools, *menu.output_tools]
    return {
        "messages": _timeless(ModelMessagesTypeAdapter.dump_python(messages, mode="json")),
        "tools": [
            {
                "name": one.name, "description": one.description or "",
                "parameters": plain(one.parameters_json_schema),
            }
            for one in tools
        ],
        "settings": kept,
        "output": {"mode": menu.output_mode, "schema": plain(menu.output_object)},
        **more,
    }  # fmt: skip


def value_of(payload: Any, took_ms: float) -> dict[str, Any]:
    """The value of a model step (decision 0012); tells budgets what was used."""
    response = cast("ModelResponse", ModelMessagesTypeAdapter.validate_python([payload])[0])
    used = response.usage
    read, written = used.cache_read_tokens, used.cache_write_tokens
    usage = {
        "input": max(0, used.input_tokens - read - written),
        "output": used.output_tokens,
        "cache_read": read,
        "cache_write": written,
        "reasoning": getattr(used, "output_reasoning_tokens", 0),
    }
    known = bool(used.input_tokens or used.output_tokens)
    price: dict[str, Any] | None = None
    if known:
        try:
            price = {"money": float(response.cost().total_price), "currency": "USD"}
        except (LookupError, AssertionError):
            price = {"unknown": f"the price of {response.model_name} is unknown"}
        performing = scope.call.get()
        if performing is not None:
            total = usage["input"] + usage["output"] + read + written
            money = price.get("money")
            performing.spend({"tokens": total} | ({} if money is None else {"money": money}))
    return {
        "status": 200,
        "response": payload,
        "usage": usage if known else None,
        "usage_verbatim": payload.get("usage"),
        "price": price,
        "first_ms": round(took_ms, 1),
        "finish": response.finish_reason or "",
    }
