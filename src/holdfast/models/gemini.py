"""The dialect ``gemini``: ``generateContent`` and ``streamGenerateContent?alt=sse``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.models.chat import failure
from holdfast.models.exchange import Answered, Asked, Call, Usage, pieces
from holdfast.models.plain import dicts, mapping, number, string
from holdfast.models.sse import Event

NAME = "gemini"
PATH = "/v1beta/models/"


def model(path: str) -> str:
    """The model, which this dialect names in the path: ``/v1beta/models/NAME:generateContent``."""
    return path.partition("/models/")[2].partition(":")[0]


# ---- requests --------------------------------------------------------------------------------


def request(body: dict[str, Any]) -> Asked:
    """What a request body asks for; model and stream stand in the path. Every member has two names,
    as the provider takes both; of limits that are said twice the larger counts."""
    known = ("contents", "systemInstruction", "system_instruction", "tools", "model", "stream")
    system = body.get("systemInstruction", body.get("system_instruction"))
    first = ({**mapping(system), "role": "system"},) if system else ()
    menus = [
        dicts(one.get("functionDeclarations", one.get("function_declarations")))
        for one in dicts(body.get("tools"))
    ]
    return Asked(
        dialect=NAME,
        model=string(body.get("model")),
        messages=(*first, *dicts(body.get("contents"))),
        tools=tuple(tool for menu in menus for tool in menu),
        parameters={key: value for key, value in body.items() if key not in known},
        max_output=_limit(body, "maxOutputTokens", "max_output_tokens"),
        answers=max(1, _limit(body, "candidateCount", "candidate_count")),
        stream=body.get("stream") is True,
    )


def _limit(body: dict[str, Any], *names: str) -> int:
    configs = [mapping(body.get(one)) for one in ("generationConfig", "generation_config")]
    return max(number(config.get(name)) for config in configs for name in names)


def said(messages: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """The texts of role user, which are no tool results."""
    for message in messages:
        if message.get("role", "user") == "user":
            for part in dicts(message.get("parts")):
                if "text" in part:
                    yield string(part["text"])


# ---- answers ---------------------------------------------------------------------------------


def answer(message: dict[str, Any]) -> Answered:
    """What a whole response says."""
    found = dicts(message.get("candidates"))
    parts = [p for one in found for p in dicts(mapping(one.get("content")).get("parts"))]
    called = [mapping(one.get("functionCall")) for one in parts if "functionCall" in one]
    return Answered(
        model=string(message.get("modelVersion")),
        text="".join(string(one.get("text")) for one in parts if not one.get("thought")),
        calls=tuple(
            Call(string(one.get("id")), string(one.get("name")), one.get("args")) for one in called
        ),
        finish=next((string(one.get("finishReason")) for one in found), ""),
        usage=usage(message.get("usageMetadata")),
        verbatim=message.get("usageMetadata"),
        error=failure(message),
    )


def usage(found: Any) -> Usage | None:
    """Tokens as counted here, from a ``usageMetadata`` object."""
    if not isinstance(found, dict):
        return None
    cached = number(found.get("cachedContentTokenCount"))
    read_in = number(found.get("promptTokenCount")) + number(found.get("toolUsePromptTokenCount"))
    thought = number(found.get("thoughtsTokenCount"))
    return Usage(
        input=max(0, read_in - cached),
        output=number(found.get("candidatesTokenCount")) + thought,
        cache_read=cached,
        reasoning=thought,
    )


def error(status: int, kind: str, text: str) -> dict[str, Any]:
    """An error as this dialect says it."""
    return {"error": {"code": status, "message": text, "status": kind.upper()}}


# ---- streams ---------------------------------------------------------------------------------


class Gather:
    """The whole message of a stream. ``message`` is None before anything came; this dialect has no
    last word: ``done`` once a candidate says why it ended."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.done = False
        self.error = ""

    def take(self, event: Event) -> None:
        """One more event."""
        chunk = mapping(event.data)
        if chunk.get("error"):
            self.error = failure(chunk)
            return
        if not chunk:
            return
        message = self.message = self.message or {"candidates": []}
        message.update({key: value for key, value in chunk.items() if key != "candidates"})
        for candidate in dicts(chunk.get("candidates")):
            self._candidate(message["candidates"], candidate)

    def _candidate(self, whole: list[dict[str, Any]], chunk: dict[str, Any]) -> None:
        index = number(chunk.get("index"))
        one = next((old for old in whole if number(old.get("index")) == index), None)
        if one is None:
            one = {"content": {"parts": []}}
            whole.append(one)
        content = mapping(chunk.get("content"))
        parts = one["content"]["parts"]
        for part in dicts(content.get("parts")):
            _add(parts, part)
        one["content"].update({key: content[key] for key in content if key != "parts"})
        one.update({key: value for key, value in chunk.items() if key != "content"})
        self.done = self.done or bool(chunk.get("finishReason"))


_TEXT = frozenset({"text", "thought"})


def _add(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Texts grow while they are of one kind; every other part stands alone."""
    last = parts[-1] if parts else {}
    same = last.get("thought") == part.get("thought")
    plain = isinstance(part.get("text"), str) and isinstance(last.get("text"), str)
    if plain and same and not (last.keys() | part.keys()) - _TEXT:
        last["text"] += part["text"]
    else:
        parts.append(dict(part))


def events(message: dict[str, Any], size: int, *, usage: bool = True) -> Iterator[Event]:
    """``message`` as a stream, texts in pieces of ``size`` characters. Usage is always told."""
    del usage
    head = {key: value for key, value in message.items() if key != "candidates"}
    for candidate in dicts(message.get("candidates")):
        content = mapping(candidate.get("content"))
        rest = {key: value for key, value in candidate.items() if key == "index"}
        role = {key: value for key, value in content.items() if key != "parts"}
        for part in dicts(content.get("parts")):
            plain = not part.keys() - _TEXT and part.get("text")
            cut = pieces(part["text"], size) if plain else iter([None])
            for piece in cut:
                one = part if piece is None else {**part, "text": piece}
                yield Event("", {"candidates": [{"content": {"parts": [one], **role}, **rest}]})
        last = {key: value for key, value in candidate.items() if key != "content"}
        yield Event("", {"candidates": [{"content": role, **last}]})
    yield Event("", head)
