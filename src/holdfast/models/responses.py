"""The dialect ``openai.responses``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from holdfast.models.chat import error, failure, usage
from holdfast.models.exchange import Answered, Asked, Call, pieces
from holdfast.models.plain import dicts, mapping, number, string, strings
from holdfast.models.sse import Event

__all__ = ["NAME", "PATH", "Gather", "answer", "error", "events", "request", "said"]

NAME = "openai.responses"
PATH = "/v1/responses"


# ---- requests --------------------------------------------------------------------------------


def request(body: dict[str, Any]) -> Asked:
    """What a request body asks for. The instructions are the first item of the conversation."""
    known = ("input", "instructions", "tools", "model", "stream")
    asked = body.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else dicts(asked)
    system = body.get("instructions")
    first = ({"role": "system", "content": system},) if system else ()
    return Asked(
        dialect=NAME,
        model=string(body.get("model")),
        messages=(*first, *items),
        tools=tuple(dicts(body.get("tools"))),
        parameters={key: value for key, value in body.items() if key not in known},
        max_output=number(body.get("max_output_tokens")),
        stream=body.get("stream") is True,
    )


def said(messages: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """The texts of role user, which are no tool results."""
    for item in messages:
        if item.get("role") == "user" and item.get("type", "message") == "message":
            yield from strings(item.get("content"), "input_text", "text")


# ---- answers ---------------------------------------------------------------------------------


def answer(message: dict[str, Any]) -> Answered:
    """What a whole response says."""
    items = dicts(message.get("output"))
    parts = [part for one in items for part in dicts(one.get("content"))]
    stopped = string(mapping(message.get("incomplete_details")).get("reason"))
    return Answered(
        model=string(message.get("model")),
        text="".join(string(one.get("text")) for one in parts if one.get("type") == "output_text"),
        calls=tuple(
            Call(string(one.get("call_id")), string(one.get("name")), one.get("arguments"))
            for one in items
            if one.get("type") == "function_call"
        ),
        finish=stopped or string(message.get("status")),
        usage=usage(message.get("usage"), "input", "output"),
        verbatim=message.get("usage"),
        error=failure(message),
    )


# ---- streams ---------------------------------------------------------------------------------

_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_GROWS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "text",
}


class Gather:
    """The whole message of a stream. ``message`` is None before anything came; ``done`` after the
    stream's own last word, which holds the whole response; a stream that ends earlier leaves what
    its items were until then."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.done = False
        self.error = ""
        self._items: dict[int, dict[str, Any]] = {}

    def take(self, event: Event) -> None:
        """One more event."""
        found = mapping(event.data)
        kind = string(found.get("type"))
        index = number(found.get("output_index"))
        if kind in _LAST:
            self.message = mapping(found.get("response"))
            self.done = True
            self.error = failure(self.message)
        elif kind == "error":
            self.error = string(found.get("message")) or failure(found) or "an error"
        elif kind in {"response.created", "response.in_progress", "response.queued"}:
            if not self.done:
                begun = mapping(found.get("response"))
                self.message = {**begun, "output": list(self._items.values())}
        elif self.message is None or self.done:
            return
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            self._items[index] = {**mapping(found.get("item"))}
            self.message["output"] = [self._items[at] for at in sorted(self._items)]
        elif index in self._items:
            self._grow(self._items[index], kind, found)

    @staticmethod
    def _grow(item: dict[str, Any], kind: str, found: dict[str, Any]) -> None:
        if kind == "response.function_call_arguments.delta":
            item["arguments"] = string(item.get("arguments")) + string(found.get("delta"))
            return
        if kind not in {"response.content_part.added", "response.content_part.done", *_GROWS}:
            return
        parts = item["content"] = dicts(item.get("content"))
        place = number(found.get("content_index"))
        if kind not in _GROWS:
            parts[place : place + 1] = [{**mapping(found.get("part"))}]
        elif place < len(parts):
            name = _GROWS[kind]
            parts[place][name] = string(parts[place].get(name)) + string(found.get("delta"))


def events(message: dict[str, Any], size: int, *, usage: bool = True) -> Iterator[Event]:
    """``message`` as a stream, texts in pieces of ``size`` characters. Usage is always told."""
    del usage
    places = count()

    def event(kind: str, **fields: Any) -> Event:
        return Event(kind, {"type": kind, "sequence_number": next(places), **fields})

    begun = {**message, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for place, item in enumerate(dicts(message.get("output"))):
        yield from _item(event, item, place, size)
    status = string(message.get("status"))
    last = f"response.{status}" if f"response.{status}" in _LAST else "response.completed"
    yield event(last, response=message)


def _item(event: Any, item: dict[str, Any], place: int, size: int) -> Iterator[Event]:
    kind = item.get("type")
    at = {"item_id": string(item.get("id")), "output_index": place}
    begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
    if kind == "message":
        begun["content"] = []
    elif kind == "function_call":
        begun["arguments"] = ""
    yield event("response.output_item.added", output_index=place, item=begun)
    if kind == "function_call":
        text = string(item.get("arguments"))
        for piece in pieces(text, size):
            yield event("response.function_call_arguments.delta", **at, delta=piece)
        named = {"name": item.get("name"), "arguments": text}
        yield event("response.function_call_arguments.done", **at, **named)
    elif kind == "message":
        for index, part in enumerate(dicts(item.get("content"))):
            yield from _part(event, part, {**at, "content_index": index}, size)
    yield event("response.output_item.done", output_index=place, item=item)


def _part(event: Any, part: dict[str, Any], at: dict[str, Any], size: int) -> Iterator[Event]:
    name, word = (
        ("refusal", "refusal") if part.get("type") == "refusal" else ("text", "output_text")
    )
    text = string(part.get(name))
    more = {"logprobs": []} if word == "output_text" else {}
    yield event("response.content_part.added", **at, part={**part, name: ""})
    for piece in pieces(text, size):
        yield event(f"response.{word}.delta", **at, delta=piece, **more)
    yield event(f"response.{word}.done", **at, **{name: text}, **more)
    yield event("response.content_part.done", **at, part=part)
