"""The dialect ``openai.chat``: Chat Completions, also as others speak it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.models.exchange import Answered, Asked, Call, Usage, pieces
from holdfast.models.plain import dicts, mapping, number, string, strings
from holdfast.models.sse import Event

NAME = "openai.chat"
PATH = "/v1/chat/completions"


# ---- requests --------------------------------------------------------------------------------


def request(body: dict[str, Any]) -> Asked:
    """What a request body asks for."""
    known = ("messages", "tools", "model", "stream")
    top = body.get("max_completion_tokens", body.get("max_tokens"))
    return Asked(
        dialect=NAME,
        model=string(body.get("model")),
        messages=tuple(dicts(body.get("messages"))),
        tools=tuple(dicts(body.get("tools"))),
        parameters={key: value for key, value in body.items() if key not in known},
        max_output=number(top),
        answers=max(1, number(body.get("n"))),
        stream=body.get("stream") is True,
    )


def said(messages: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """The texts of role user, which are no tool results."""
    for message in messages:
        if message.get("role") == "user":
            yield from strings(message.get("content"), "text")


# ---- answers ---------------------------------------------------------------------------------


def answer(message: dict[str, Any]) -> Answered:
    """What a whole response says."""
    choices = dicts(message.get("choices"))
    parts = [mapping(choice.get("message")) for choice in choices]
    found = [call for part in parts for call in dicts(part.get("tool_calls"))]
    return Answered(
        model=string(message.get("model")),
        text="".join(string(part.get("content")) for part in parts),
        calls=tuple(
            Call(string(one.get("id")), string(function.get("name")), function.get("arguments"))
            for one in found
            for function in [mapping(one.get("function"))]
        ),
        finish=next((string(one.get("finish_reason")) for one in choices), ""),
        usage=usage(message.get("usage")),
        verbatim=message.get("usage"),
        error=failure(message),
    )


def usage(found: Any, read: str = "prompt", written: str = "completion") -> Usage | None:
    """Tokens as counted here, from a ``usage`` object that calls them ``READ_tokens`` and
    ``WRITTEN_tokens``."""
    if not isinstance(found, dict):
        return None
    details = mapping(found.get(f"{read}_tokens_details"))
    cached = number(details.get("cached_tokens"))
    kept = number(details.get("cache_write_tokens"))
    thought = mapping(found.get(f"{written}_tokens_details")).get("reasoning_tokens")
    return Usage(
        input=max(0, number(found.get(f"{read}_tokens")) - cached - kept),
        output=number(found.get(f"{written}_tokens")),
        cache_read=cached,
        cache_write=kept,
        reasoning=number(thought),
    )


def failure(message: dict[str, Any]) -> str:
    """The text of an error body; empty for anything else."""
    found = message.get("error")
    if isinstance(found, str):
        return found
    return string(mapping(found).get("message")) or ("an error" if found else "")


def error(status: int, kind: str, text: str) -> dict[str, Any]:
    """An error as this dialect says it."""
    return {"error": {"message": text, "type": kind, "param": None, "code": kind or str(status)}}


# ---- streams ---------------------------------------------------------------------------------


class Gather:
    """The whole message of a stream. ``message`` is None before anything came; ``done`` after the
    stream's own last word."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.done = False
        self.error = ""

    def take(self, event: Event) -> None:
        """One more event."""
        chunk = event.data
        if chunk == "[DONE]":
            self.done = True
        elif isinstance(chunk, dict):
            if chunk.get("error"):
                self.error = failure(chunk)
                return
            if self.message is None:
                self.message = {"object": "chat.completion", "choices": []}
            self._join(self.message, chunk)

    def _join(self, message: dict[str, Any], chunk: dict[str, Any]) -> None:
        for key, value in chunk.items():
            if key == "choices":
                for choice in dicts(value):
                    self._choice(message["choices"], choice)
            elif key != "object" and (value is not None or key not in message):
                message[key] = value

    def _choice(self, choices: list[dict[str, Any]], chunk: dict[str, Any]) -> None:
        index = number(chunk.get("index"))
        choice = next((one for one in choices if one["index"] == index), None)
        if choice is None:
            message: dict[str, Any] = {}
            choice = {"index": index, "message": message, "finish_reason": None}
            choices.append(choice)
        for key, value in chunk.items():
            if key == "delta":
                _add(mapping(choice["message"]), mapping(value))
            elif key != "index" and (value is not None or key not in choice):
                choice[key] = _more(choice.get(key), value) if key == "logprobs" else value


_WHOLE = frozenset({"role", "type", "id", "name", "index", "object", "format"})
"""Texts that come at once; all others grow."""


def _add(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            calls = whole.setdefault(key, [])
            if isinstance(calls, list):
                _calls(calls, dicts(value))
        elif value is not None or key not in whole:
            whole[key] = value if key in _WHOLE else _more(whole.get(key), value)


def _calls(calls: list[dict[str, Any]], deltas: list[dict[str, Any]]) -> None:
    """Calls come in parts, told apart by ``index``, which a whole message does not have."""
    for place, delta in enumerate(deltas):
        index = number(delta.get("index", place))
        index = min(index, len(calls))
        if index == len(calls):
            calls.append({})
        _add(calls[index], {key: value for key, value in delta.items() if key != "index"})


def _more(old: Any, new: Any) -> Any:
    if isinstance(old, str) and isinstance(new, str):
        return old + new
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *new]
    if isinstance(old, dict) and isinstance(new, dict):
        _add(old, new)
        return old
    return old if new is None else new


def events(message: dict[str, Any], size: int, *, usage: bool = True) -> Iterator[Event]:
    """``message`` as a stream, texts in pieces of ``size`` characters."""
    head = {key: value for key, value in message.items() if key not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    for choice in dicts(message.get("choices")):
        index = number(choice.get("index"))
        for delta in _deltas(mapping(choice.get("message")), size):
            part = {"index": index, "delta": delta, "finish_reason": None}
            yield Event("", {**head, "choices": [part]})
        rest = {key: value for key, value in choice.items() if key not in ("index", "message")}
        yield Event("", {**head, "choices": [{"index": index, "delta": {}, **rest}]})
    if usage and "usage" in message:
        yield Event("", {**head, "choices": [], "usage": message["usage"]})
    yield Event("", "[DONE]")


def _deltas(message: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    grows = [
        key
        for key, value in message.items()
        if isinstance(value, str) and value and key not in _WHOLE
    ]
    calls = dicts(message.get("tool_calls"))
    yield {
        key: ("" if key in grows else value)
        for key, value in message.items()
        if key != "tool_calls"
    }
    for key in grows:
        for piece in pieces(message[key], size):
            yield {key: piece}
    if "tool_calls" in message and not calls:
        yield {"tool_calls": message["tool_calls"]}
    for index, call in enumerate(calls):
        function = mapping(call.get("function"))
        text = string(function.get("arguments"))
        first = {**call, "index": index}
        if "function" in call:
            first["function"] = {**function, **({"arguments": ""} if text else {})}
        yield {"tool_calls": [first]}
        for piece in pieces(text, size):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
