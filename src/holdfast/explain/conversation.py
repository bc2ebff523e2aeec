"""Conversations in the arguments of model steps, in whatever dialect they were recorded.

Each dialect keeps its messages in a list of the request, in a form of its own. Here they are found,
named, given other words, and put into the chat form that tools for training read. Total: what is
not understood is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.values.canon import encode
from holdfast.values.errors import Misuse

LISTS: Final = ("messages", "input", "contents")
"""Where a request keeps its messages: chat and Anthropic's, responses, Gemini's."""
SYSTEMS: Final = ("system", "instructions", "system_instruction", "systemInstruction")
"""Where it may keep a system text apart."""
_ASIDE: Final = (*LISTS, *SYSTEMS, "tools", "model", "stream", "stream_options")


class Conversation(msgspec.Struct, frozen=True):
    """What a model was asked. ``place``: the request's key that holds ``messages`` ("" if none
    does); ``system``: (key, value) of a system text that stands apart, or None; ``menu``: the tools
    that it was offered; ``parameters``: all else."""

    model: str
    place: str
    messages: tuple[Any, ...]
    system: tuple[str, Any] | None
    menu: Any
    parameters: dict[str, Any]


def asked(args: Any) -> Conversation:
    """The conversation in the plain arguments of a model step."""
    given: dict[str, Any] = args if isinstance(args, dict) else {}
    request = given.get("request")
    body: dict[str, Any] = request if isinstance(request, dict) else {}
    place = next((name for name in LISTS if isinstance(body.get(name), list | str)), "")
    found = body.get(place, ())
    system = next(((name, body[name]) for name in SYSTEMS if body.get(name)), None)
    model = ":".join(str(given[name]) for name in ("provider", "model") if given.get(name))
    return Conversation(
        model or str(body.get("model", "")), place,
        tuple(found) if isinstance(found, list | tuple) else (found,), system, body.get("tools"),
        {name: value for name, value in body.items() if name not in _ASIDE},
    )  # fmt: skip


def speaker(message: Any) -> str:
    """Whose message it is: a role, or what kind of item."""
    if isinstance(message, Mapping):
        return str(message.get("role") or message.get("type") or "message")
    return "user"


def words(message: Any) -> str:
    """The text of a message, else all of it as JSON."""
    if isinstance(message, str):
        return message
    if isinstance(message, Mapping):
        for name in ("content", "parts", "output", "text"):
            found = message.get(name)
            if isinstance(found, str) and found:
                return found
            if isinstance(found, list) and (text := _texts(found)):
                return text
    return encode(message).decode()


def _texts(parts: list[Any]) -> str:
    texts = [one.get("text") for one in parts if isinstance(one, Mapping)]
    whole = [one for one in texts if isinstance(one, str)]
    return "\n".join(whole) if len(whole) == len(parts) else ""


# Other words -----------------------------------------------------------------------------------


def with_words(message: Any, text: str) -> Any:
    """A message that says ``text`` instead; calls of tools in it, and ids, stay. `Misuse` if it has
    no place for words."""
    if isinstance(message, str):
        return text
    if not isinstance(message, dict):
        raise Misuse("--message: this message is no text")
    for name in ("content", "parts"):
        if name in message:
            return {**message, name: _parts_with(message[name], text)}
    if "output" in message:
        return {**message, "output": text}
    raise Misuse(f"--message: a message of type {speaker(message)!r} has no words to replace")


def _parts_with(content: Any, text: str) -> Any:
    if not isinstance(content, list):
        return text
    kept: list[Any] = []
    done = False
    for part in content:
        inner = part if isinstance(part, dict) else {}
        answer = "functionResponse" if "functionResponse" in inner else "function_response"
        if isinstance(inner.get("text"), str):
            changed = {**inner, "text": text}
        elif inner.get("type") == "tool_result":
            changed = {**inner, "content": text}
        elif isinstance(inner.get(answer), dict):
            changed = {**inner, answer: {**inner[answer], "response": {"result": text}}}
        else:
            kept.append(part)
            continue
        if not done or "text" not in inner:  # one text stands for all; every result is answered
            kept.append(changed)
        done = True
    if not done:
        raise Misuse("--message: this message has no words to replace")
    return kept


def neutral(value: Any) -> Any:
    """A value of the same shape that says nothing: empty texts and lists, zeros, false."""
    if isinstance(value, dict):
        return {name: neutral(one) for name, one in value.items()}
    if isinstance(value, str):
        return ""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return type(value)(0)
    return [] if isinstance(value, list) else None


# The chat form ---------------------------------------------------------------------------------


def chat(messages: Sequence[Any], system: Any = None) -> list[dict[str, Any]]:
    """Messages in the chat form: role, content, tool_calls, and tool_call_id of an answer."""
    found = [] if not system else [{"role": "system", "content": _flat(system)}]
    for message in messages:
        found += _chat_of(message)
    return found


def _chat_of(message: Any) -> list[dict[str, Any]]:
    """One recorded message; in other dialects several things may stand in one."""
    if not isinstance(message, Mapping):
        return [{"role": "user", "content": str(message)}]
    match message.get("type"):
        case "function_call":
            call = _call(message.get("call_id"), message.get("name"), message.get("arguments"))
            return [{"role": "assistant", "content": "", "tool_calls": [call]}]
        case "function_call_output":
            return [_answer(message.get("call_id"), message.get("output"))]
        case "reasoning":
            return []
        case _:
            pass
    role = {"model": "assistant", "developer": "system"}.get(speaker(message), speaker(message))
    content = message.get("content", message.get("parts"))
    if role == "tool":
        return [_answer(message.get("tool_call_id") or message.get("id"), content)]
    asked_for = message.get("tool_calls") or message.get("calls")
    calls = [_own_call(one) for one in asked_for] if isinstance(asked_for, list) else []
    answers: list[dict[str, Any]] = []
    texts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        _take_part(part, texts, calls, answers)
    said: list[dict[str, Any]] = []
    if texts or calls or not answers:
        said = [{"role": role, "content": "\n".join(texts)}]
        if calls:
            said[0]["tool_calls"] = calls
    return [*answers, *said]


def _take_part(
    part: Any, texts: list[str], calls: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    """One part of a message's content: a text, a call of a tool, or the answer to one."""
    if not isinstance(part, Mapping):
        if part is not None:
            texts.append(str(part))
    elif isinstance(part.get("text"), str):
        texts.append(part["text"])
    elif part.get("type") == "tool_use":
        calls.append(_call(part.get("id"), part.get("name"), part.get("input")))
    elif part.get("type") == "tool_result":
        answers.append(_answer(part.get("tool_use_id"), part.get("content")))
    elif call := _within(part, "functionCall", "function_call"):
        calls.append(_call(call.get("id"), call.get("name"), call.get("args")))
    elif answer := _within(part, "functionResponse", "function_response"):
        answers.append(_answer(answer.get("id") or answer.get("name"), answer.get("response")))
    elif part.get("type") not in ("thinking", "redacted_thinking"):
        texts.append(encode(part).decode())


def _within(part: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The mapping that stands under the first of these names that has one, else an empty one."""
    return next((part[name] for name in names if isinstance(part.get(name), Mapping)), {})


def _own_call(one: Any) -> dict[str, Any]:
    call = one if isinstance(one, Mapping) else {}
    inner = call.get("function")
    inner = inner if isinstance(inner, Mapping) else call
    return _call(call.get("id"), inner.get("name"), inner.get("arguments"))


def _call(key: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """A call of a tool, its arguments as a mapping where they are one: chat templates want that."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            arguments = {"text": arguments}
    function = {"name": str(name or ""), "arguments": arguments or {}}
    return {"id": str(key or ""), "type": "function", "function": function}


def _answer(key: Any, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": str(key or ""), "content": _flat(content)}


def _flat(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content.get("parts") if isinstance(content, Mapping) else content
    texts = _texts(parts) if isinstance(parts, list) else ""
    return texts or encode(content).decode()


def answered(value: Any) -> list[dict[str, Any]]:
    """The answer in the plain value of a model step, in the chat form; empty if there is none."""
    response = value.get("response") if isinstance(value, dict) else None
    if not isinstance(response, dict):
        return []
    if isinstance(response.get("choices"), list):  # openai.chat
        messages = [one.get("message") for one in response["choices"][:1] if isinstance(one, dict)]
    elif isinstance(response.get("output"), list):  # openai.responses
        messages = response["output"]
    elif isinstance(response.get("candidates"), list):  # gemini
        messages = [one.get("content") for one in response["candidates"][:1]]
    elif isinstance(response.get("content"), list):  # anthropic.messages
        messages = [{"role": "assistant", "content": response["content"]}]
    else:  # a library's
        messages = [{"role": "assistant", "content": response.get("text", ""),
                     "calls": response.get("calls") or []}]  # fmt: skip
    return _joined(chat([one for one in messages if one]))


def _joined(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an answer says in several items, as one message of the assistant's."""
    texts = [one["content"] for one in said if one["content"]]
    calls = [call for one in said for call in one.get("tool_calls", ())]
    if not said:
        return []
    found: dict[str, Any] = {"role": "assistant", "content": "\n".join(texts)}
    return [{**found, "tool_calls": calls} if calls else found]
