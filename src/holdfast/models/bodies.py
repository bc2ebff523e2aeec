"""Conversations in one form for all models, and the bodies of requests in each dialect's own.

A conversation is a list of plain dictionaries:

    {"role": "system", "content": "..."}
    {"role": "user", "content": "..."}           or a list of parts in the dialect's own form
    {"role": "assistant", "content": "...", "calls": [{"id", "name", "arguments"}], ...}
    {"role": "tool", "id": "...", "name": "...", "content": "...", "error": False}

An answer's message (`Reply.message`) is of the third kind; ``native`` in it is what the model said
in its dialect's form, which goes back to it unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from holdfast.models import chat, messages, responses
from holdfast.models.menu import Entry, Wanted
from holdfast.models.plain import mapping
from holdfast.values import limits
from holdfast.values.errors import Misuse

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")


class Asking(NamedTuple):
    """One request as a program makes it. ``parameters``: ``max_tokens`` and what else the dialect
    knows, in its own words."""

    model: str
    messages: Sequence[Message]
    menu: Iterable[Entry] = ()
    output: Wanted | None = None
    parameters: Mapping[str, Any] = {}
    stream: bool = False


def conversation(asked: str | Sequence[Message], system: str = "") -> list[dict[str, Any]]:
    """A conversation from a text or messages; `Misuse` names the message that is none."""
    found: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    if isinstance(asked, str):
        return [*found, {"role": "user", "content": asked}]
    for place, one in enumerate(asked):
        role = one.get("role") if isinstance(cast("Any", one), Mapping) else None
        if role not in ROLES:
            raise Misuse(f"message {place}: its role must be one of {', '.join(ROLES)}")
        if not isinstance(one.get("content", ""), str | list):
            raise Misuse(f"message {place}: its content must be a text or a list of parts")
        if role == "tool" and not isinstance(one.get("id"), str):
            raise Misuse(f"message {place}: it must name the call that it answers, by `id`")
        found.append(dict(one))
    if not found:
        raise Misuse("there is nothing to ask: give a text or messages")
    return found


def body(dialect: str, asking: Asking) -> dict[str, Any]:
    """The JSON body that asks it; `Misuse` for a dialect that is not written here."""
    if dialect not in _WRITERS:
        raise Misuse(f"no requests are written in dialect {dialect!r}: {', '.join(_WRITERS)}")
    found = _WRITERS[dialect](asking)
    return {**found, **({"stream": True} if asking.stream else {})}


# ---- openai.chat ---------------------------------------------------------------------------------


def _chat(asking: Asking) -> dict[str, Any]:
    found: dict[str, Any] = {"model": asking.model}
    found["messages"] = [_chat_message(one) for one in asking.messages]
    if tools := [
        {
            "type": "function",
            "function": {
                "name": one.name, "description": one.description, "parameters": one.schema,
            },
        }
        for one in asking.menu
    ]:  # fmt: skip
        found["tools"] = tools
    if asking.output is not None:
        found["response_format"] = {"type": "json_schema", "json_schema": asking.output.told()}
    if asking.stream:
        found["stream_options"] = {"include_usage": True}
    return {**found, **asking.parameters}


def _chat_message(one: Message) -> dict[str, Any]:
    role, content = one["role"], one.get("content", "")
    if role == "tool":
        return {"role": "tool", "tool_call_id": one["id"], "content": content}
    if role != "assistant":
        return {"role": role, "content": content}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": _text(call["arguments"])},
        }
        for call in one.get("calls", ())
    ]
    found = {"role": "assistant", "content": content or None}
    return {**found, "tool_calls": calls} if calls else {"role": role, "content": content}


def _text(arguments: Any) -> str:
    """Arguments as the model wrote them, where it wrote text."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


# ---- openai.responses ----------------------------------------------------------------------------


def _responses(asking: Asking) -> dict[str, Any]:
    found: dict[str, Any] = {"model": asking.model}
    found["input"] = [item for one in asking.messages for item in _items(one)]
    if tools := [
        {
            "type": "function", "name": one.name, "description": one.description,
            "parameters": one.schema, "strict": False,
        }
        for one in asking.menu
    ]:  # fmt: skip
        found["tools"] = tools
    if asking.output is not None:
        found["text"] = {"format": {"type": "json_schema", **asking.output.told()}}
    parameters = dict(asking.parameters)
    if "max_tokens" in parameters:
        found["max_output_tokens"] = parameters.pop("max_tokens")
    return {**found, **parameters}


def _items(one: Message) -> list[dict[str, Any]]:
    role, content = one["role"], one.get("content", "")
    if role == "tool":
        return [{"type": "function_call_output", "call_id": one["id"], "output": content}]
    if role != "assistant":
        return [{"role": role, "content": content}]
    if one.get("dialect") == responses.NAME:
        return list(one.get("native", ()))
    calls = [
        {
            "type": "function_call", "call_id": call["id"], "name": call["name"],
            "arguments": _text(call["arguments"]),
        }
        for call in one.get("calls", ())
    ]  # fmt: skip
    return ([{"role": role, "content": content}] if content else []) + calls


# ---- anthropic.messages --------------------------------------------------------------------------


def _messages(asking: Asking) -> dict[str, Any]:
    found: dict[str, Any] = {"model": asking.model, "max_tokens": limits.ANSWER_TOKENS}
    system = [one.get("content", "") for one in asking.messages if one["role"] == "system"]
    if system:
        found["system"] = "\n\n".join(map(str, system))
    found["messages"] = _turns(one for one in asking.messages if one["role"] != "system")
    if tools := [
        {"name": one.name, "description": one.description, "input_schema": one.schema}
        for one in asking.menu
    ]:
        found["tools"] = tools
    if asking.output is not None:
        wanted = {"type": "json_schema", "schema": asking.output.schema}
        found["output_config"] = {"format": wanted}
    return {**found, **asking.parameters}


def _turns(asked: Iterable[Message]) -> list[dict[str, Any]]:
    """Results of tools that were called together stand in one message of the user's."""
    found: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for one in asked:
        role, content = one["role"], one.get("content", "")
        if role == "tool":
            result = {"type": "tool_result", "tool_use_id": one["id"], "content": content}
            if one.get("error"):
                result["is_error"] = True
            if results is None:
                results = []
                found.append({"role": "user", "content": results})
            results.append(result)
            continue
        results = None
        if role == "assistant":
            content = _blocks(one)
        found.append({"role": role, "content": content})
    return found


def _blocks(one: Message) -> Any:
    if one.get("dialect") == messages.NAME and one.get("native"):
        return one["native"]
    calls = [
        {
            "type": "tool_use", "id": call["id"], "name": call["name"],
            "input": _object(call["arguments"]),
        }
        for call in one.get("calls", ())
    ]  # fmt: skip
    text = one.get("content", "")
    return ([{"type": "text", "text": text}] if text else []) + calls if calls else text


def _object(arguments: Any) -> dict[str, Any]:
    try:
        return mapping(json.loads(arguments) if isinstance(arguments, str) else arguments)
    except ValueError:
        return {}


_WRITERS: Mapping[str, Callable[[Asking], dict[str, Any]]] = {
    chat.NAME: _chat,
    responses.NAME: _responses,
    messages.NAME: _messages,
}
