"""Models for agents: each request is one step of kind ``model``."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any, Literal, overload

import msgspec

from holdfast.engine import scope
from holdfast.engine.declare import Tool
from holdfast.engine.described import Described, journal_name
from holdfast.engine.verbs import step
from holdfast.models import bodies, chat
from holdfast.models.bodies import Asking, Message
from holdfast.models.dialects import named
from holdfast.models.endpoint import KNOWN, Endpoint, Heard, Source, base_of, worst_money
from holdfast.models.estimate import worst
from holdfast.models.exchange import pieces
from holdfast.models.menu import Wanted, menu
from holdfast.models.replies import THROUGH, Reply, reply
from holdfast.models.through import Library
from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside


def model(
    name: str,
    *,
    base_url: str = "",
    key: str = "",
    dialect: str = "",
    timeout: float = limits.MODEL_SECONDS,
    retries: int = limits.MODEL_RETRY_ATTEMPTS,
    **parameters: Any,
) -> Model:
    """The model ``provider:name``, as ``holdfast.model("openai:gpt-5")``.

    Providers ``openai`` and ``anthropic``, and any other with a ``base_url`` (or the variable
    ``PROVIDER_BASE_URL``), are asked over the wire, in ``dialect``: ``openai.chat`` (the default),
    ``openai.responses``, ``anthropic.messages``. All others are asked through pydantic-ai, if it is
    installed (``holdfast[pydantic-ai]``). ``key``: instead of ``PROVIDER_API_KEY``; it is never
    recorded. ``timeout``: seconds of one attempt; ``retries``: of busy and broken endpoints.
    ``parameters``: for every request, as in `Model`. `Misuse` for a name that is none.
    """
    provider, colon, rest = name.partition(":")
    if not (colon and provider and rest):
        raise Misuse(f"model {name!r}: say provider:name, as in openai:gpt-5")
    known = KNOWN.get(provider)
    if base_url or known is not None or base_of(provider) or dialect:
        dialect = dialect or (known.dialect if known is not None else chat.NAME)
        source: Source = Endpoint(
            provider, dialect, url=base_url, key=key, timeout=timeout, retries=retries
        )
    else:
        if key:
            raise Misuse(f"model {name!r}: key= goes with base_url=; else set the provider's own")
        source = Library(name, timeout)
    return Model(provider, rest, source, retries=retries, parameters=parameters)


class Model:
    """A model, called with messages: ``reply = await model("Hello", tools=[...])``.

    Made by `model`, or by `holdfast.testing.models` for tests. ``name`` is the model's own,
    ``parameters`` go with every request.
    """

    def __init__(
        self,
        provider: str,
        name: str,
        source: Source,
        *,
        retries: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.provider = provider
        self.name = name
        self.source = source
        self.retries = retries
        self.parameters = dict(parameters or {})

    @overload
    def __call__(
        self,
        asked: str | Sequence[Message],
        *,
        tools: Iterable[Tool[..., Any]] = (),
        output: Any = None,
        system: str = "",
        stream: Literal[False] = False,
        on_text: Heard | None = None,
        **parameters: Any,
    ) -> Coroutine[Any, Any, Reply]: ...
    @overload
    def __call__(
        self,
        asked: str | Sequence[Message],
        *,
        tools: Iterable[Tool[..., Any]] = (),
        output: Any = None,
        system: str = "",
        stream: Literal[True],
        **parameters: Any,
    ) -> Stream: ...
    def __call__(
        self,
        asked: str | Sequence[Message],
        *,
        tools: Iterable[Tool[..., Any]] = (),
        output: Any = None,
        system: str = "",
        stream: bool = False,
        on_text: Heard | None = None,
        **parameters: Any,
    ) -> Coroutine[Any, Any, Reply] | Stream:
        """Ask the model; one step.

        ``asked``: a text, or messages (`holdfast.models.bodies`). ``tools``: what it may call;
        their calls stand in the reply, nothing calls them. ``output``: a type, of which the reply
        has an instance; `Outside` if the answer is none. ``stream``: gives a `Stream` of texts
        instead. ``on_text``: is told pieces of text as they come, and nothing on replay.
        ``parameters``: ``max_tokens``, ``temperature`` and what else the endpoint knows.

        Raises `Misuse` for messages that are none, `Refused` if the policy or a person says no,
        `ToolError` (an `Outside`) for an endpoint that fails, after its retries.
        """
        messages = bodies.conversation(asked, system)
        wanted = None if output is None else Wanted(output)
        asking = Asking(
            self.name, messages, menu(tools).values(), wanted, self._said(parameters),
            stream=stream or on_text is not None,
        )  # fmt: skip
        request = self.source.request(asking)
        if stream:
            return Stream(self, request, len(messages), wanted)
        return self.take(request, len(messages), wanted, on_text)

    def _said(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        said = {**self.parameters, **parameters}
        if self.provider == "openai" and self.source.dialect == chat.NAME and "max_tokens" in said:
            said["max_completion_tokens"] = said.pop("max_tokens")  # its own word since 2024
        return said

    async def take(
        self, request: dict[str, Any], turn: int, wanted: Wanted | None, heard: Heard | None
    ) -> Reply:
        """Take the step that makes a request, and read its value. ``turn``: messages asked."""
        dialect = self.source.dialect
        args = {
            "provider": self.provider, "model": self.name, "dialect": dialect, "request": request,
        }  # fmt: skip

        async def perform(given: dict[str, Any]) -> dict[str, Any]:
            return await self.source.ask(given, heard)

        tool = Described(
            journal_name(self.provider, self.name), perform, effect="read", kind="model",
            estimate=self._worst, retries=self.retries,
        )  # fmt: skip
        found = reply(dialect, await step(tool, args), turn)
        if wanted is None or found.stop != "done":
            return found
        try:
            output = wanted.read(found.text)
        except Outside as error:
            raise Unfit(f"model {self.provider}:{self.name}: {error}", found) from None
        return dataclasses.replace(found, output=output)

    def _worst(self, request: dict[str, Any], **_: Any) -> dict[str, float]:
        """What a request can use at most, for budgets."""
        dialect = self.source.dialect
        asked = named(chat.NAME if dialect == THROUGH else dialect).request(request)
        usage = worst(asked, len(msgspec.json.encode(request)))
        money = worst_money(self.provider, self.name, usage)
        return {"tokens": usage.total} | ({} if money is None else {"money": money})

    def __repr__(self) -> str:
        return f"<model {self.provider}:{self.name}>"


class Unfit(Outside):
    """A structured answer that does not fit its type. ``reply``: what the model said."""

    def __init__(self, message: str, found: Reply) -> None:
        super().__init__(message)
        self.reply = found


class Stream:
    """An answer as it comes: ``async for text in stream`` gives its pieces, ``await stream`` the
    whole reply, before or after.

    Inside an agent's run the pieces are those of the recorded answer: what a program does may not
    hang on when a network delivers. Elsewhere they come live, and after a crash from the record.
    A stream that breaks off after its first piece is not asked again: somebody heard it.
    """

    def __init__(
        self, asked: Model, request: dict[str, Any], turn: int, wanted: Wanted | None
    ) -> None:
        self._model = asked
        self._asking = (request, turn, wanted)
        self._came: asyncio.Queue[str | None] = asyncio.Queue()
        self._reply: asyncio.Future[Reply] | None = None
        self._heard = False

    def _begin(self) -> asyncio.Future[Reply]:
        if self._reply is None:
            inside = scope.current_run() is not None
            heard = None if inside else self._hear
            self._reply = asyncio.ensure_future(self._model.take(*self._asking, heard))
            self._reply.add_done_callback(lambda _: self._came.put_nowait(None))
        return self._reply

    def _hear(self, text: str) -> None:
        self._heard = True
        self._came.put_nowait(text)

    def __await__(self) -> Generator[Any, Any, Reply]:
        return self._begin().__await__()

    async def __aiter__(self) -> AsyncIterator[str]:
        asked = self._begin()
        try:
            while (text := await self._came.get()) is not None:
                yield text
            found = await asked
        finally:
            if not asked.done():  # whoever read it went away
                asked.cancel()
        if not self._heard:
            for text in pieces(found.text, limits.WIRE_EVENT_CHARS):
                yield text
