"""The dialect ``anthropic.messages``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast.models.exchange import Answered, Asked, Call, Usage, pieces
from holdfast.models.plain import dicts, mapping, number, string, strings
from holdfast.models.sse import Event, decoded

NAME = "anthropic.messages"
PATH = "/v1/messages"


# ---- requests --------------------------------------------------------------------------------


def request(body: dict[str, Any]) -> Asked:
    """What a request body asks for. The system text is the first message of the conversation."""
    known = ("messages", "system", "tools", "model", "stream")
    system = body.get("system")
    first = ({"role": "system", "content": system},) if system else ()
    return Asked(
        dialect=NAME,
        model=string(body.get("model")),
        messages=(*first, *dicts(body.get("messages"))),
        tools=tuple(dicts(body.get("tools"))),
        parameters={key: value for key, value in body.items() if key not in known},
        max_output=number(body.get("max_tokens")),
        stream=body.get("stream") is True,
    )


def said(messages: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """The texts of role user, which are no tool results."""
    for message in messages:
        if message.get("role") == "user":
            yield from strings(message.get("content"), "text")


# ---- answers ---------------------------------------------------------------------------------


def answer(message: dict[str, Any]) -> Answered:
    """What a whole response says; also one of token counting."""
    blocks = dicts(message.get("content"))
    return Answered(
        model=string(message.get("model")),
        text="".join(string(one.get("text")) for one in blocks if one.get("type") == "text"),
        calls=tuple(
            Call(string(one.get("id")), string(one.get("name")), one.get("input"))
            for one in blocks
            if one.get("type") == "tool_use"
        ),
        finish=string(message.get("stop_reason")),
        usage=usage(message.get("usage")),
        verbatim=message.get("usage"),
        error=failure(message),
    )


def usage(found: Any) -> Usage | None:
    """Tokens as counted here, from a ``usage`` object."""
    if not isinstance(found, dict):
        return None
    details = mapping(found.get("output_tokens_details"))
    kept = found.get("cache_creation")
    return Usage(
        input=number(found.get("input_tokens")),
        output=number(found.get("output_tokens")),
        cache_read=number(found.get("cache_read_input_tokens")),
        cache_write=number(found.get("cache_creation_input_tokens")),
        reasoning=number(details.get("thinking_tokens")),
        cache_write_1h=number(mapping(kept).get("ephemeral_1h_input_tokens")),
    )


def failure(message: dict[str, Any]) -> str:
    """The text of an error body; empty for anything else."""
    if message.get("type") != "error" and "error" not in message:
        return ""
    return string(mapping(message.get("error")).get("message")) or "an error"


def error(status: int, kind: str, text: str) -> dict[str, Any]:
    """An error as this dialect says it."""
    return {"type": "error", "error": {"type": kind or "api_error", "message": text}}


# ---- streams ---------------------------------------------------------------------------------

_GROWS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "compaction_delta": "content",
}


class Gather:
    """The whole message of a stream. ``message`` is None before anything came; ``done`` after the
    stream's own last word."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.done = False
        self.error = ""
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}
        self._newest: dict[str, Any] = {}
        self._index = -1

    def take(self, event: Event) -> None:
        """One more event."""
        found = mapping(event.data)
        kind = found.get("type")
        if kind == "content_block_delta" and self._text(found):
            return  # nearly all are
        index = number(found.get("index"))
        if kind == "content_block_delta":
            if index in self._blocks:
                self._grow(index, mapping(found.get("delta")))
        elif kind == "message_start":
            self.message = {**mapping(found.get("message")), "content": []}
        elif kind == "error":
            self.error = failure(found)
        elif self.message is None:
            return
        elif kind == "content_block_start":
            if index not in self._blocks:
                self._newest = self._blocks[index] = {**mapping(found.get("content_block"))}
                self._index = index
                self.message["content"].append(self._newest)
        elif kind == "content_block_stop":
            self._stop(index)
        elif kind == "message_delta":
            self.message.update(mapping(found.get("delta")))
            used = {k: v for k, v in mapping(found.get("usage")).items() if v is not None}
            self.message["usage"] = {**mapping(self.message.get("usage")), **used}
            rest = found.keys() - {"type", "delta", "usage"}
            self.message.update({key: found[key] for key in found if key in rest})
        elif kind == "message_stop":
            self.done = True

    def _text(self, found: dict[str, Any]) -> bool:
        """Whether this is a piece of a text of the newest block, which then has it."""
        delta, block = found.get("delta"), self._newest
        if type(delta) is not dict or delta.get("type") != "text_delta":
            return False
        text, old = delta.get("text"), block.get("text")
        if found.get("index") != self._index or type(text) is not str or type(old) is not str:
            return False
        block["text"] = old + text
        return True

    def _grow(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        kind = string(delta.get("type"))
        if kind == "input_json_delta":
            more = string(delta.get("partial_json"))
            self._inputs[index] = self._inputs.get(index, "") + more
            block["input"] = self._inputs[index]
        elif kind == "citations_delta":
            old = block.get("citations")
            block["citations"] = [*(old if isinstance(old, list) else []), delta.get("citation")]
        elif kind in _GROWS:
            name = _GROWS[kind]
            block[name] = string(block.get(name)) + string(delta.get(name))

    def _stop(self, index: int) -> None:
        """The input of a call is whole: its JSON is read; what is none (cut off by a limit) stays
        text, and none at all stays what the block began with."""
        text = self._inputs.pop(index, None)
        if text is None:
            return
        value = decoded(text.encode("utf-8", "replace"))
        self._blocks[index]["input"] = value if isinstance(value, dict) else text or {}


def events(message: dict[str, Any], size: int, *, usage: bool = True) -> Iterator[Event]:
    """``message`` as a stream, texts in pieces of ``size`` characters. Usage is always told."""
    del usage
    late = {"stop_reason": message.get("stop_reason"), "stop_sequence": None}
    late["stop_sequence"] = message.get("stop_sequence")
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    used = mapping(message.get("usage"))
    if used:
        begun["usage"] = {**used, **({"output_tokens": 1} if "output_tokens" in used else {})}
    yield _event("message_start", message=begun)
    for index, block in enumerate(dicts(message.get("content"))):
        yield from _block(index, block, size)
    yield _event("message_delta", delta=late, usage=used)
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> Event:
    return Event(kind, {"type": kind, **fields})


def _block(index: int, block: dict[str, Any], size: int) -> Iterator[Event]:
    kind = block.get("type")
    begun, deltas = dict(block), []
    if kind == "text":
        begun["text"] = ""
        deltas = [("text_delta", "text", one) for one in pieces(string(block.get("text")), size)]
        if isinstance(block.get("citations"), list):
            begun["citations"] = []
            deltas += [("citations_delta", "citation", one) for one in block["citations"]]
    elif kind == "thinking":
        begun["thinking"] = ""
        deltas = [
            ("thinking_delta", "thinking", one)
            for one in pieces(string(block.get("thinking")), size)
        ]
        if signature := string(block.get("signature")):
            begun["signature"] = ""
            deltas.append(("signature_delta", "signature", signature))
    elif "input" in block:
        found = block["input"]
        text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
        begun["input"] = {}
        deltas = [("input_json_delta", "partial_json", one) for one in pieces(text, size)]
    yield _event("content_block_start", index=index, content_block=begun)
    for delta, key, value in deltas:
        delta_body = {"type": delta, key: value}
        yield _event("content_block_delta", index=index, delta=delta_body)
    yield _event("content_block_stop", index=index)
