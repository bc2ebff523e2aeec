"""What a stand-in model answers: the script, and an answer in each dialect's own form."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

import msgspec

from holdfast.models import chat, gemini, messages, responses
from holdfast.models.dialects import DIALECTS, Dialect
from holdfast.models.plain import dicts, mapping, string
from holdfast.values.errors import Misuse


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of a script; in JSON an object with these names. A text alone is `text`."""

    text: str = ""
    """What the model says."""
    calls: list[dict[str, Any]] = []
    """Tools it calls: ``{"name": "look_up", "arguments": {...}}``, and ``"id"`` if it matters."""
    thinking: str = ""
    """What it says it thought."""
    finish: str = ""
    """The stop reason in the dialect's words, instead of the usual one."""
    usage: dict[str, int] = {}
    """Tokens: ``input``, ``output``, ``cache_read``, ``cache_write``, ``reasoning``. Left out:
    a fourth of the bytes."""
    error: int = 0
    """A status instead of an answer: 400, 401, 429, 500, 529, ... with `message`."""
    message: str = ""
    """The text of the error."""
    retry_after: float | None = None
    """The header ``retry-after`` of an error."""
    wait: float = 0
    """Seconds before the first byte."""
    pause: float = 0
    """Seconds between two events of a stream."""
    size: int = 8
    """Characters in each piece of a stream."""
    after: int = -1
    """Events (without a stream: bytes of the body) that are sent before `then` happens."""
    then: Literal["", "reset", "close", "hang"] = ""
    """``reset``: the connection breaks; ``close``: its sending side ends, without the answer's end
    (half-closed); ``hang``: nothing comes until ``StandIn.go()``."""
    raw: str = ""
    """Bytes to send as they are, instead of a well-formed answer."""
    when: str = ""
    """Only for requests whose body has this text."""
    again: bool = False
    """Stays in the script after it was given."""


class Request(msgspec.Struct, frozen=True):
    """A request that the stand-in got."""

    method: str
    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    raw: bytes
    body: dict[str, Any]
    """The body's JSON; empty if it is none."""
    dialect: str = ""
    """``openai.chat``, ``openai.responses``, ``anthropic.messages``, ``gemini``; empty: none."""
    number: int = 0
    """The how many-th of all requests that ask a model, from 1."""

    @property
    def model(self) -> str:
        """The model asked for."""
        at = gemini.model(self.path) if self.dialect == gemini.NAME else ""
        return at or string(self.body.get("model"))

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.body.get("stream") is True or ":stream" in self.path

    @property
    def last(self) -> str:
        """The last message or item of the conversation, as JSON."""
        asked = DIALECTS[self.dialect].request(self.body) if self.dialect else None
        return json.dumps(asked.messages[-1]) if asked and asked.messages else ""


Says = str | dict[str, Any] | Answer
Script = Iterable[Says] | Callable[[Request], Says | Awaitable[Says]]
"""Answers in order, or a function of the request (it may be async, and wait)."""


def read(said: Says) -> Answer:
    """An answer as a script has it; `Misuse` for one that is none."""
    if isinstance(said, Answer):
        return said
    if isinstance(said, str):
        return Answer(text=said)
    try:
        return msgspec.convert(said, Answer)
    except msgspec.ValidationError as error:
        raise Misuse(f"an answer of the script: {error}") from None


class Answers:
    """A list as a script: each request takes the first answer that fits it and was not given."""

    def __init__(self, answers: Iterable[Says]) -> None:
        self.left = [read(one) for one in answers]

    def __call__(self, request: Request) -> Answer:
        """The next answer; an error 400 when none is left, which clients do not repeat."""
        text = request.raw.decode("utf-8", "replace")
        for place, one in enumerate(self.left):
            if one.when in text:
                return one if one.again else self.left.pop(place)
        return Answer(error=400, message="the stand-in's script has no answer left for this")


# ---- the dialects' forms ---------------------------------------------------------------------


def _used(answer: Answer, request: Request) -> dict[str, int]:
    out = answer.text + answer.thinking + "".join(json.dumps(one) for one in answer.calls)
    used = {"input": len(request.raw) // 4, "output": max(1, len(out) // 4)}
    return {"cache_read": 0, "cache_write": 0, "reasoning": 0, **used, **answer.usage}


def _calls(answer: Answer, request: Request, prefix: str) -> list[tuple[str, str, Any]]:
    return [
        (
            string(one.get("id")) or f"{prefix}{request.number}_{place}",
            string(one.get("name")),
            one.get("arguments", {}),
        )
        for place, one in enumerate(answer.calls)
    ]


def _chat(answer: Answer, request: Request) -> dict[str, Any]:
    used = _used(answer, request)
    read_in = used["input"] + used["cache_read"]
    found: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.thinking:
        found["reasoning_content"] = answer.thinking
    if answer.calls:
        found["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": _text(value)}}
            for id_, name, value in _calls(answer, request, "call_")
        ]
    finish = answer.finish or ("tool_calls" if answer.calls else "stop")
    return {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request.model,
        "choices": [{"index": 0, "message": found, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": read_in,
            "completion_tokens": used["output"],
            "total_tokens": read_in + used["output"],
            "prompt_tokens_details": {"cached_tokens": used["cache_read"], "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": used["reasoning"]},
        },
        "system_fingerprint": "fp_standin",
    }


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _responses(answer: Answer, request: Request) -> dict[str, Any]:
    used, number = _used(answer, request), request.number
    items: list[dict[str, Any]] = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        items.append({"type": "reasoning", "id": f"rs_{number}", "summary": summary})
    if answer.text or not answer.calls:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        head = {"type": "message", "id": f"msg_{number}", "status": "completed"}
        items.append({**head, "role": "assistant", "content": [part]})
    for id_, name, value in _calls(answer, request, "call_"):
        head = {"type": "function_call", "id": f"fc_{id_}", "status": "completed"}
        items.append({**head, "call_id": id_, "name": name, "arguments": _text(value)})
    read_in = used["input"] + used["cache_read"]
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "incomplete" if answer.finish else "completed",
        "error": None,
        "incomplete_details": {"reason": answer.finish} if answer.finish else None,
        "instructions": request.body.get("instructions"),
        "metadata": {},
        "model": request.model,
        "output": items,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": request.body.get("tool_choice", "auto"),
        "tools": dicts(request.body.get("tools")),
        "top_p": 1.0,
        "usage": {
            "input_tokens": read_in,
            "input_tokens_details": {"cached_tokens": used["cache_read"]},
            "output_tokens": used["output"],
            "output_tokens_details": {"reasoning_tokens": used["reasoning"]},
            "total_tokens": read_in + used["output"],
        },
    }


def _messages(answer: Answer, request: Request) -> dict[str, Any]:
    used = _used(answer, request)
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        signature = f"signed-{request.number}"
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": signature})
    if answer.text or not answer.calls:
        blocks.append({"type": "text", "text": answer.text})
    blocks += [
        {"type": "tool_use", "id": id_, "name": name, "input": value}
        for id_, name, value in _calls(answer, request, "toolu_")
    ]
    return {
        "id": f"msg_{request.number}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": blocks,
        "stop_reason": answer.finish or ("tool_use" if answer.calls else "end_turn"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": used["input"],
            "cache_creation_input_tokens": used["cache_write"],
            "cache_read_input_tokens": used["cache_read"],
            "output_tokens": used["output"],
            "service_tier": "standard",
        },
    }


def _gemini(answer: Answer, request: Request) -> dict[str, Any]:
    used = _used(answer, request)
    parts: list[dict[str, Any]] = []
    if answer.thinking:
        parts.append({"text": answer.thinking, "thought": True})
    if answer.text or not answer.calls:
        parts.append({"text": answer.text})
    parts += [
        {"functionCall": {"id": id_, "name": name, "args": value}}
        for id_, name, value in _calls(answer, request, "call_")
    ]
    finish = answer.finish or "STOP"
    read_in, out = used["input"] + used["cache_read"], used["output"] - used["reasoning"]
    return {
        "candidates": [
            {"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": read_in,
            "candidatesTokenCount": out,
            "totalTokenCount": read_in + used["output"],
            "cachedContentTokenCount": used["cache_read"],
            "thoughtsTokenCount": used["reasoning"],
        },
        "modelVersion": request.model,
        "responseId": f"resp_{request.number}",
    }


_FORMS: dict[str, Callable[[Answer, Request], dict[str, Any]]] = {
    chat.NAME: _chat,
    responses.NAME: _responses,
    messages.NAME: _messages,
    gemini.NAME: _gemini,
}

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def whole(answer: Answer, request: Request) -> dict[str, Any]:
    """The body of the answer without a stream."""
    dialect = DIALECTS[request.dialect]
    if answer.error:
        return failure(dialect, answer.error, answer.message or f"scripted error {answer.error}")
    return _FORMS[request.dialect](answer, request)


def failure(dialect: Dialect, status: int, text: str) -> dict[str, Any]:
    """The body of an error."""
    return dialect.error(status, _KINDS.get(status, "api_error"), text)


def counted(request: Request) -> dict[str, Any]:
    """What token counting answers."""
    many = len(request.raw) // 4
    return {"totalTokens": many} if request.dialect == gemini.NAME else {"input_tokens": many}


def wants_usage(request: Request) -> bool:
    """Whether a stream says its usage: Chat Completions only when asked to."""
    asked = mapping(request.body.get("stream_options")).get("include_usage")
    return request.dialect != chat.NAME or asked is True
