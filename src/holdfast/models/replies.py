"""What a model answered, read from the value of its step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.models import chat, messages, responses
from holdfast.models.dialects import DIALECTS
from holdfast.models.exchange import Answered, Call
from holdfast.models.plain import dicts, mapping, string
from holdfast.values.canon import digest, encode

THROUGH = "pydantic-ai"
"""The dialect of models that are asked through pydantic-ai."""


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model calls. ``broken``: the arguments as it wrote them, if they are no JSON
    object; then ``arguments`` is empty."""

    id: str
    name: str
    arguments: dict[str, Any]
    broken: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer. ``stop``: why the model stopped: done, calls, length, filter or refused;
    ``message``: the answer as a message, to go on from; ``output``: the structured answer that was
    asked for; ``usage``, ``price``: as recorded, None if unknown."""

    text: str
    calls: tuple[ToolCall, ...]
    stop: str
    message: dict[str, Any]
    output: Any = None
    model: str = ""
    usage: dict[str, int] | None = None
    price: dict[str, Any] | None = None


_STOPS = {
    "stop": "done", "tool_calls": "calls", "function_call": "calls", "length": "length",
    "content_filter": "filter", "completed": "done", "max_output_tokens": "length",
    "end_turn": "done", "stop_sequence": "done", "tool_use": "calls", "max_tokens": "length",
    "model_context_window_exceeded": "length", "refusal": "refused", "tool_call": "calls",
}  # fmt: skip


def reply(dialect: str, value: Mapping[str, Any], turn: int) -> Reply:
    """The answer in a step's value. ``turn``: messages of the conversation before it, to name calls
    to which the model gave no id."""
    response = mapping(value.get("response"))
    answered = _through(response) if dialect == THROUGH else DIALECTS[dialect].answer(response)
    calls = tuple(_named(call, turn, place) for place, call in enumerate(answered.calls))
    message: dict[str, Any] = {"role": "assistant", "content": answered.text}
    if calls:
        message["calls"] = [
            {"id": one.id, "name": one.name, "arguments": one.arguments} for one in calls
        ]
    native = _native(dialect, response)
    if native:
        message |= {"dialect": dialect, "native": native}
    return Reply(
        text=answered.text,
        calls=tuple(map(_read, calls)),
        stop=_stop(dialect, response, answered),
        message=message,
        model=answered.model,
        usage=value.get("usage"),
        price=value.get("price"),
    )


def _through(response: dict[str, Any]) -> Answered:
    return Answered(
        model=string(response.get("model")),
        text=string(response.get("text")),
        calls=tuple(
            Call(string(one.get("id")), string(one.get("name")), one.get("arguments"))
            for one in dicts(response.get("calls"))
        ),
        finish=string(response.get("finish")),
    )


def _named(call: Call, turn: int, place: int) -> Call:
    if call.id:
        return call
    return call._replace(id=f"call_{digest(encode([turn, place, call.name]))[:12]}")


def _read(call: Call) -> ToolCall:
    found = call.arguments
    if isinstance(found, str):
        try:
            found = json.loads(found) if found.strip() else {}
        except (ValueError, RecursionError):
            found = None
    if isinstance(found, dict):
        return ToolCall(call.id, call.name, found)
    return ToolCall(call.id, call.name, {}, str(call.arguments))


def _stop(dialect: str, response: dict[str, Any], answered: Answered) -> str:
    stop = _STOPS.get(answered.finish, "done")
    if dialect == chat.NAME:
        choices = dicts(response.get("choices"))
        if any(mapping(one.get("message")).get("refusal") for one in choices):
            return "refused"
    if dialect == responses.NAME:
        parts = [
            part for one in dicts(response.get("output")) for part in dicts(one.get("content"))
        ]
        if any(one.get("type") == "refusal" for one in parts):
            return "refused"
    if answered.calls and stop == "done":
        return "calls"
    return "done" if stop == "calls" and not answered.calls else stop


def _native(dialect: str, response: dict[str, Any]) -> Any:
    """What goes back to the model as it said it: signed thoughts and the like stand there."""
    if dialect == responses.NAME:
        return dicts(response.get("output"))
    if dialect == messages.NAME:
        blocks = dicts(response.get("content"))  # an empty text would not be taken back
        return [one for one in blocks if one.get("type") != "text" or one.get("text")]
    return response.get("native") if dialect == THROUGH else None
