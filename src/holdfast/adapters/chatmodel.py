"""A LangChain chat model whose calls are steps. Its answer is recorded as one message, which a
replay streams again in pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import BaseTool

from holdfast.adapters.places import place
from holdfast.adapters.taking import (
    governed,
    model_named,
    recordable,
    take,
    unchanged,
    used,
    wait,
)
from holdfast.engine.described import journal_name
from holdfast.values import limits
from holdfast.values.canon import encode

_SENT = ("content", "name", "tool_call_id", "tool_calls", "type")


def recorded(model: Runnable[Any, Any], *, patience: float | None = None) -> Any:
    """``model``, a chat model or one with arguments bound to it, whose calls are steps inside a
    guest. ``patience``: see `holdfast.adapters.langchain.Governed`."""
    if isinstance(model, RunnableBinding):
        inner = recorded(model.bound, patience=patience)
        return model.model_copy(update={"bound": inner})
    assert isinstance(model, BaseChatModel)
    return Recorded(model, patience)


def turn_of(messages: Sequence[Any]) -> int:
    """How many answers of a model a conversation has: tells its calls apart in whichever process
    they are made, also when a checkpointer spared those before."""
    return sum(isinstance(one, AIMessage) for one in messages)


class Recorded(BaseChatModel):
    """`recorded`, as a class."""

    inner: BaseChatModel
    patience: float | None = None

    def __init__(self, inner: BaseChatModel, patience: float | None = None) -> None:
        fields: dict[str, Any] = {
            "inner": inner, "patience": patience, "profile": inner.profile, "cache": False,
            "disable_streaming": inner.disable_streaming, "output_version": inner.output_version,
        }  # fmt: skip
        super().__init__(**fields)

    @property
    def _llm_type(self) -> str:
        return self.inner._llm_type  # a model stands in for another

    @property
    def model_name(self) -> str:
        """The provider's name of the model."""
        for name in ("model_name", "model", "model_id"):
            if isinstance(found := getattr(self.inner, name, None), str) and found:
                return found
        return type(self.inner).__name__

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        **kwargs: Any,
    ) -> Runnable[Any, AIMessage]:
        """Bind tools in the form that the provider takes them in."""
        return recorded(self.inner.bind_tools(tools, **kwargs), patience=self.patience)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        async def perform() -> AIMessage:
            found = await self.inner._agenerate(messages, stop, **kwargs)
            return cast("AIMessage", found.generations[0].message)

        message = await self._take(perform, messages, stop, kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if not governed():
            return self.inner._generate(messages, stop, **kwargs)
        return wait(self._agenerate(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Blocking code of a guest gets the whole answer, in pieces."""
        if not governed() and _streams(self.inner, "_stream"):
            yield from self.inner._stream(messages, stop, **kwargs)
            return
        found = self._generate(messages, stop, **kwargs)
        yield from pieces(cast("AIMessage", found.generations[0].message))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Pieces as they come while the step is performed; of a recorded answer, new ones."""
        came: asyncio.Queue[ChatGenerationChunk | None] = asyncio.Queue()
        streamed = False

        async def perform() -> AIMessage:
            nonlocal streamed
            whole: ChatGenerationChunk | None = None
            if _streams(self.inner, "_astream", "_stream"):
                async for one in self.inner._astream(messages, stop, **kwargs):
                    streamed = True
                    whole = one if whole is None else whole + one
                    came.put_nowait(one)
            if whole is None:
                found = await self.inner._agenerate(messages, stop, **kwargs)
                return cast("AIMessage", found.generations[0].message)
            return cast("AIMessage", message_chunk_to_message(whole.message))

        taking = asyncio.ensure_future(self._take(perform, messages, stop, kwargs))
        taking.add_done_callback(lambda _: came.put_nowait(None))
        try:
            while (piece := await came.get()) is not None:
                yield piece
            message = await taking
        finally:
            taking.cancel()
        if not streamed:
            for piece in pieces(message):
                yield piece

    async def _take(
        self,
        ask: Callable[[], Any],
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
    ) -> AIMessage:
        provider = self._get_ls_params().get("ls_provider") or self._llm_type
        request, dialect = self._request(messages, stop, kwargs)
        args = {
            "provider": provider, "model": self.model_name, "dialect": dialect, "request": request,
        }  # fmt: skip

        async def perform(bound: dict[str, Any]) -> dict[str, Any]:
            unchanged(bound, args)
            message = await ask()
            usage = _usage(message.usage_metadata)
            used(usage)
            return {
                "status": 200,
                "response": message_to_dict(message),
                "usage": usage,
                "usage_verbatim": message.usage_metadata,
                "price": None,
                "first_ms": None,
                "finish": message.response_metadata.get("finish_reason"),
            }

        tool = model_named(provider, self.model_name)
        key = journal_name(tool.name, str(turn_of(messages) + 1), place())
        found = await take(tool, args, perform, key=key, patience=self.patience)
        return cast("AIMessage", messages_from_dict([found["response"]])[0])

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.inner._get_ls_params(stop, **kwargs)

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """What is asked, without what frameworks make up on the way (ids, times); and its form.

        INVARIANT D59: the same question is recorded as the same bytes, in whatever process.
        """
        settings = {
            name: one if recordable(one) else f"a {type(one).__name__}"
            for name, one in kwargs.items()
            if one is not None and not name.startswith("ls_")  # for its tracing
        }
        if stop:
            settings["stop"] = stop
        plain = [one.model_dump(mode="json", include=set(_SENT)) for one in messages]
        return {"messages": plain, **settings}, "langchain"


def _streams(model: BaseChatModel, *ways: str) -> bool:
    """Whether a model has one of these ways to stream, of its own."""
    kind = type(model)
    return any(getattr(kind, name) is not getattr(BaseChatModel, name) for name in ways)


def pieces(message: AIMessage) -> Sequence[ChatGenerationChunk]:
    """A whole answer as a stream of pieces that add up to it."""
    text = message.content
    found: list[AIMessageChunk] = []
    if isinstance(text, str):
        step = limits.REPLAYED_PIECE_CHARS
        found = [AIMessageChunk(content=text[at : at + step], id=message.id)
                 for at in range(0, len(text), step)]  # fmt: skip
    calls: list[Any] = [
        {"name": one["name"], "args": _json(one["args"]), "id": one["id"], "index": number,
         "type": "tool_call_chunk"}
        for number, one in enumerate(message.tool_calls)
    ]  # fmt: skip
    rest = AIMessageChunk(
        content="" if found else text, id=message.id, tool_call_chunks=calls,
        additional_kwargs=message.additional_kwargs, usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata, chunk_position="last",
    )  # fmt: skip
    return [ChatGenerationChunk(message=one) for one in (*found, rest)]


def _json(args: Any) -> str:
    return encode(args).decode()


def _usage(told: UsageMetadata | None) -> dict[str, int]:
    """Tokens, as every step of a model has them."""
    if told is None:
        return {}
    read, made = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return {
        "input": told["input_tokens"],
        "output": told["output_tokens"],
        "cache_read": read.get("cache_read") or 0,
        "cache_write": read.get("cache_creation") or 0,
        "reasoning": made.get("reasoning") or 0,
    }
