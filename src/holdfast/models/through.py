"""Models that are asked through pydantic-ai: all providers that it knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from holdfast.models.bodies import Asking, Message
from holdfast.models.endpoint import Heard, answered, failed
from holdfast.models.exchange import Answered, Usage
from holdfast.models.plain import dicts, mapping, string
from holdfast.models.replies import THROUGH
from holdfast.values.errors import Misuse, Outside

_FINISH = {"stop": "stop", "length": "length", "content_filter": "content_filter",
           "tool_call": "tool_calls", "error": "content_filter"}  # fmt: skip

_WANTED = "Once you are done, answer with JSON alone, without a fence, that fits this JSON Schema:"


class Library:
    """A model of pydantic-ai's. Its requests are recorded in a form of ours: the conversation, the
    tools, the parameters; keys and addresses are the library's affair."""

    dialect = THROUGH

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.timeout = timeout
        self._model: Any = None

    def request(self, asking: Asking) -> dict[str, Any]:
        """What is recorded of a request."""
        messages = [dict(one) for one in asking.messages]
        if asking.output is not None:  # not every provider has a way of its own, with tools beside
            schema = json.dumps(asking.output.schema, ensure_ascii=False)
            messages.insert(0, {"role": "system", "content": f"{_WANTED}\n{schema}"})
        found: dict[str, Any] = {
            "model": asking.model,
            "messages": messages,
            "tools": [
                {"name": one.name, "description": one.description, "parameters": one.schema}
                for one in asking.menu
            ],
        }
        if asking.output is not None:
            wanted = asking.output
            found["output"] = {
                "name": wanted.name,
                "schema": wanted.schema,
                "strict": wanted.strict,
            }
        if asking.parameters:
            found["parameters"] = dict(asking.parameters)
        return found

    def _ready(self) -> Any:
        if self._model is None:
            try:
                from pydantic_ai.exceptions import UserError
                from pydantic_ai.models import infer_model
            except ImportError:
                text = f"model {self.name}: pip install 'holdfast[pydantic-ai]', or say base_url="
                raise Misuse(text) from None
            try:
                self._model = infer_model(self.name)
            except (UserError, ImportError, ValueError) as error:
                text = str(error).partition("\n")[0]
                raise Misuse(f"model {self.name}: {text}") from None
        return self._model

    async def ask(self, args: Mapping[str, Any], heard: Heard | None) -> dict[str, Any]:
        """Ask once; `Outside` for whatever is no answer. Texts come whole."""
        model = self._ready()
        from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
        from pydantic_ai.messages import ModelResponse
        from pydantic_ai.models import ModelRequestParameters

        request, place = args["request"], f"model {self.name}"
        settings: Any = request.get("parameters")
        menu = ModelRequestParameters(**_parameters(request))
        try:
            async with asyncio.timeout(self.timeout):
                got: ModelResponse = await model.request(_messages(request), settings, menu)
        except ModelHTTPError as error:
            raise failed(place, error.status_code, _text(error.body)) from None
        except ModelAPIError as error:
            raise Outside(f"{place}: {type(error).__name__}", retryable=True) from None
        except TimeoutError:
            text = f"{place}: no answer within {self.timeout:g} s"
            raise Outside(text, retryable=True) from None
        message, read = _response(got)
        if heard is not None and read.text:
            heard(read.text)
        return answered(args, message, read)


def _text(body: Any) -> str:
    found = mapping(body)
    inner = mapping(found.get("error")) or found
    return string(inner.get("message")) or "an error"


def _parameters(request: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic_ai.tools import ToolDefinition

    tools = [
        ToolDefinition(
            name=one["name"],
            description=one["description"],
            parameters_json_schema=one["parameters"],
        )
        for one in dicts(request.get("tools"))
    ]
    return {"function_tools": tools, "allow_text_output": True}


def _messages(request: Mapping[str, Any]) -> list[Any]:
    """The conversation as pydantic-ai has it: what goes to the model, and what came from it."""
    from pydantic_ai.messages import ModelRequest

    found: list[Any] = []
    parts: list[Any] = []
    for one in dicts(request.get("messages")):
        if one["role"] != "assistant":
            parts.append(_part(one))
            continue
        found += [ModelRequest(parts=parts)] if parts else []
        parts = []
        found.append(_said(one))
    return [*found, ModelRequest(parts=parts)] if parts else found


def _part(one: Message) -> Any:
    from pydantic_ai.messages import (
        SystemPromptPart,
        ToolReturnPart,
        UserPromptPart,
    )

    content = one.get("content", "")
    if one["role"] == "system":
        return SystemPromptPart(content)
    if one["role"] == "user":
        return UserPromptPart(content)
    name, call = string(one.get("name")), one["id"]
    outcome = "failed" if one.get("error") else "success"
    return ToolReturnPart(name, content, tool_call_id=call, outcome=outcome)


def _said(one: Message) -> Any:
    from pydantic_ai.messages import (
        ModelMessagesTypeAdapter,
        ModelResponse,
        TextPart,
        ToolCallPart,
    )

    if one.get("dialect") == THROUGH and one.get("native"):
        return ModelMessagesTypeAdapter.validate_python([one["native"]])[0]
    parts: list[Any] = [TextPart(one["content"])] if one.get("content") else []
    parts += [
        ToolCallPart(call["name"], call["arguments"], tool_call_id=call["id"])
        for call in one.get("calls", ())
    ]
    return ModelResponse(parts=parts)


def _response(got: Any) -> tuple[dict[str, Any], Answered]:
    """The message and what it says. The library's own form stands in it, to go back unchanged."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter, TextPart, ToolCallPart

    (native,) = json.loads(ModelMessagesTypeAdapter.dump_json([got]))
    calls = [
        {"id": one.tool_call_id, "name": one.tool_name, "arguments": one.args or {}}
        for one in got.parts
        if isinstance(one, ToolCallPart)
    ]
    text = "".join(one.content for one in got.parts if isinstance(one, TextPart))
    finish = _FINISH.get(got.finish_reason or "", "tool_calls" if calls else "stop")
    used = got.usage
    read, written = used.cache_read_tokens, used.cache_write_tokens
    usage = Usage(
        input=max(0, used.input_tokens - read - written),
        output=used.output_tokens,
        cache_read=read,
        cache_write=written,
        reasoning=getattr(used, "output_reasoning_tokens", 0),
    )
    model = got.model_name or ""
    message = {"model": model, "text": text, "calls": calls, "finish": finish, "native": native}
    verbatim = native.get("usage")
    return message, Answered(
        model=model, text=text, finish=finish, usage=usage, verbatim=verbatim,
    )  # fmt: skip
