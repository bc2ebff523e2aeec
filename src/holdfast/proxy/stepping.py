"""A call of a tool as a step of a guest run, and what the client is told of how it ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from holdfast.engine.described import Described, journal_name
from holdfast.gate.proposal import EFFECTS
from holdfast.proxy import eras, frames, naming
from holdfast.proxy.answers import Answers
from holdfast.proxy.asking import Asking
from holdfast.proxy.call import Call
from holdfast.proxy.exchange import Exchange
from holdfast.proxy.links import Links
from holdfast.proxy.longcalls import handle_of
from holdfast.proxy.upstream import Upstream
from holdfast.proxy.within import ROOTS
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import (
    Expired,
    HoldfastError,
    Misuse,
    OutcomeUnknown,
    Refused,
    Suspended,
    ToolError,
)

_BIG = re.compile(rb"[:\[,\s]-?[0-9]{19,}")
"""Numbers that may be too long for what the journal keeps."""
_ANSWERED = re.compile(r"(-?[0-9]+): (.*)", re.DOTALL)


class Taken(Protocol):
    """How a step of a guest ended; see `holdfast.engine.guest`."""

    @property
    def value(self) -> Any: ...
    @property
    def key(self) -> str: ...
    @property
    def replayed(self) -> bool: ...


class Guest(Protocol):
    """What is needed of a guest run; see `holdfast.engine.guest.Guest`."""

    async def step(
        self,
        tool: Described,
        args: Mapping[str, Any],
        *,
        key: str = "",
        perform: Callable[[dict[str, Any]], Any] | None = None,
        patience: float | None = None,
    ) -> Taken: ...
    def delivered(self, key: str) -> None: ...
    def lost(self, key: str) -> None: ...
    def unheard(self, name: str) -> list[dict[str, Any]]: ...


class Stepping:
    """Takes calls as steps of ``guest``. ``effect``: what the policy says that a tool does ("" if
    it does not speak of it); ``asking`` asks the person at the client, or does not; ``patience``:
    seconds that a call waits for a person; ``mark`` makes names that nobody guesses; ``met`` is
    told what the client of each call says that it is;
    ``closed``: nothing is sent any more."""

    def __init__(
        self,
        guest: Guest,
        *,
        effect: Callable[[str], str],
        asking: Asking,
        patience: float,
        mark: Callable[[], str],
        met: Callable[[object], None] = lambda _: None,
    ) -> None:
        self.guest = guest
        self._met = met
        self._effect = effect
        self.asking = asking
        self.patience = patience
        self.mark = mark
        self.closed = False
        self._tools: dict[tuple[str, str], Described] = {}
        self._hints: dict[str, str] = {}

    def key_of(self, exchange: Exchange) -> tuple[str, dict[str, Any]]:
        """What an identical call has too."""
        return exchange.method, exchange.params

    async def carry_out(
        self, answers: Answers, links: Links, call: Call, params: dict[str, Any]
    ) -> None:
        """Carry a call out and tell whoever waits for it then how it ended."""
        step = call.method == "tools/call"
        key = ""
        say: Callable[[Exchange], Any]
        try:
            if step:
                raw, key = await self._step(answers, links, call, params)
            else:
                raw = await self._pass(answers, links, call, params)
        except frames.RpcError as error:
            code, text, data, key = error.code, error.text, error.data, error.key
            say = lambda one: one.fail(code, text, data)  # noqa: E731 - said below
        except frames.Broken as error:
            code, text = error.code, str(error)
            say = lambda one: one.fail(code, text)  # noqa: E731
        except (HoldfastError, Suspended) as error:
            text, key = _said(error), error.key if isinstance(error, HoldfastError) else ""
            if step and not isinstance(error, Misuse):
                say = lambda one: one.result(_refusal(one, text))  # noqa: E731
            else:
                say = lambda one: one.fail(frames.INTERNAL_ERROR, text)  # noqa: E731
        except ConnectionError as error:
            text = str(error)
            say = lambda one: one.fail(frames.INTERNAL_ERROR, text)  # noqa: E731
        except Exception as error:  # noqa: BLE001 - whoever asks is answered
            text = frames.unexpected(error)
            say = lambda one: one.fail(frames.INTERNAL_ERROR, text)  # noqa: E731
        else:
            made = raw
            say = lambda one: one.result(made)  # noqa: E731
        waited, call.exchange, call.over = call.exchange, None, True
        told = waited is not None and await say(waited)
        if key:
            self._tell(key, told or call.handed, waited)

    def _tell(self, key: str, told: bool, waited: Exchange | None) -> None:
        # INVARIANT D15: the outcome counts as delivered once it was written to a client that was
        # there, and only then
        if told:
            self.guest.delivered(key)
            return
        self.guest.lost(key)
        if waited is not None:
            waited.later = lambda: self.guest.delivered(key)

    async def _pass(
        self, answers: Answers, links: Links, call: Call, params: dict[str, Any]
    ) -> bytes:
        """A request that is no step but about which a server may ask back."""
        who = call.who
        if call.method == "prompts/get":
            found = await naming.whose(links, "prompts", str(params.get("name")), who)
            if found is None:
                name = params.get("name")
                raise frames.RpcError(frames.INVALID_PARAMS, f"Unknown prompt: {name}")
            many, params = [found[0]], {**params, "name": found[1]}
        else:
            many = await naming.holders(links, str(params.get("uri")))
        errors: list[frames.RpcError] = []
        for upstream in many:
            try:
                raw = await self._converse(upstream, links, call, params, None)
            except frames.RpcError as error:
                errors.append(error)
                continue
            exchange = call.exchange
            return raw if exchange is None else answers.told(exchange, call.method, raw, upstream)
        raise (
            errors[0]
            if errors
            else frames.RpcError(frames.INVALID_PARAMS, "no server has resources")
        )

    async def _step(
        self, answers: Answers, links: Links, call: Call, params: dict[str, Any]
    ) -> tuple[bytes, str]:
        name, args = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str) or not isinstance(args, dict):
            raise frames.RpcError(frames.INVALID_PARAMS, "say name, and arguments as an object")
        found = await naming.whose(links, "tools", name, call.who)
        definition = None
        if found is not None:
            upstream, own = found
            definition = await upstream.tool(own, links.who(upstream, call.who))
        if found is None or definition is None:
            # INVARIANT D16: what no server declares is not called: nobody could judge it
            raise frames.RpcError(frames.INVALID_PARAMS, f"Unknown tool: {name}")
        upstream, own = found
        tool = self.described(upstream.server.name, definition)
        rest = {k: v for k, v in params.items() if k not in ("name", "arguments")}

        async def perform(judged: dict[str, Any]) -> Any:
            if call.cancelled or self.closed:
                raise frames.RpcError(frames.INTERNAL_ERROR, "it was given up before it was sent")
            call.begun = True
            there = await links.to(upstream.server.name)
            asked = {**rest, "name": own}
            if judged or "arguments" in params:
                asked["arguments"] = judged
            schema = definition.get("inputSchema")
            try:
                raw = await self._converse(there, links, call, asked, schema)
            except frames.RpcError as error:
                call.error = error
                raise
            result = _readable(raw, there)
            handle = handle_of(result)
            if handle is not None:
                await call.hand_over(raw)
                result = await answers.long.outcome(there, links.who(there, call.who), handle)
                return _recordable(frames.plain(result), result)
            call.raw, call.native = raw, there.modern
            return _recordable(raw, result)

        args = await self._meant(upstream, tool, own, args)
        taken = await self._taken(tool, args, perform, call)
        try:
            return self._worded(answers, call, taken, upstream), taken.key
        except BaseException:
            self.guest.lost(taken.key)  # it is recorded, and nobody was told
            raise

    def _worded(self, answers: Answers, call: Call, taken: Taken, upstream: Upstream) -> bytes:
        """The outcome in the words of whoever waits for it now."""
        exchange = call.exchange
        if taken.replayed or call.raw is None:
            raw = frames.plain(_restored(taken.value))
            return raw if exchange is None else answers.told(exchange, call.method, raw, None)
        if exchange is None or call.native == exchange.modern:
            return call.raw
        return answers.told(exchange, call.method, call.raw, upstream)

    async def _meant(
        self, upstream: Upstream, tool: Described, own: str, args: dict[str, Any]
    ) -> dict[str, Any]:
        """What the arguments of a call mean just now, where its server knows that."""
        if upstream.server.meant is None:
            return args
        found = await upstream.server.meant(own, args)
        for one in self.guest.unheard(tool.name):
            # it may itself be why they mean something else now: it is answered, not done again
            if {**one, ROOTS: None} == {**found, ROOTS: None}:
                return one
        return found

    async def _taken(
        self, tool: Described, args: dict[str, Any], perform: Any, call: Call
    ) -> Taken:
        self._met(call.who.client)
        asks = self.asking.may(call)
        patience = 0.0 if asks else self.patience
        for _ in range(limits.ANSWER_ATTEMPTS):
            try:
                return await self.guest.step(tool, args, perform=perform, patience=patience)
            except ToolError as error:
                said = _ANSWERED.fullmatch(str(error))
                if error.error_type == "RpcError" and said:
                    # as the server said it, if it said it just now: the journal keeps no more
                    found = call.error or frames.RpcError(int(said[1]), said[2])
                    found.key = error.key
                    raise found from None
                raise
            except Suspended as error:
                if not asks:
                    raise
                text = str(error)
            if self.asking.both:
                return await self._either(tool, args, perform, call, text)
            if not await self.asking.ask(call, text):
                asks, patience = False, self.patience
        raise Misuse(f"tool {tool.name}: it is asked about again and again")

    async def _either(
        self, tool: Described, args: dict[str, Any], perform: Any, call: Call, text: str
    ) -> Taken:
        """Ask at the client and in the inbox: whoever answers first."""
        asking = asyncio.get_running_loop().create_task(self.asking.ask(call, text))
        try:
            return await self.guest.step(tool, args, perform=perform, patience=self.patience)
        finally:
            asking.cancel()

    async def _converse(
        self, upstream: Upstream, links: Links, call: Call, params: dict[str, Any], schema: Any
    ) -> bytes:
        """`_asked`, for as long as the client wants it: `ConnectionError` if it does not any more
        and nothing comes of it in time, for servers need not answer what is cancelled."""
        if call.cancelled or self.closed:
            raise frames.RpcError(frames.INTERNAL_ERROR, "it was given up before it was sent")
        try:
            async with asyncio.timeout(None) as call.limit:
                return await self._asked(upstream, links, call, params, schema)
        except TimeoutError:
            if call.limit is None or not call.limit.expired():
                raise
            if not call.attended and call.task is not None:
                call.task.cancel()  # it ends by itself; nobody waits for what a person says of it
            text = f"server {upstream.server.name}: it was cancelled, and no outcome came in time"
            raise ConnectionResetError(text) from None
        finally:
            call.limit = None

    async def _asked(
        self, upstream: Upstream, links: Links, call: Call, params: dict[str, Any], schema: Any
    ) -> bytes:
        """One request to a server, until it needs nothing from the client any more."""
        brought: dict[str, Any] = dict(call.first) if upstream.modern else {}
        call.first = {}
        for attempt in range(limits.INPUT_ATTEMPTS):
            meta = call.meta
            token = 0
            if call.exchange is not None and call.exchange.token is not None:
                token = links.token(call)
                meta = {**meta, "progressToken": token}
            who = links.who(upstream, call.who)
            try:
                raw = await upstream.request(
                    call.method, upstream.dressed({**params, **brought}, meta, who), call=call,
                    schema=schema,
                )  # fmt: skip
            finally:
                links.tokens.pop(token, None)
            if not upstream.modern or b'"input_required"' not in raw:
                return raw
            found = _readable(raw, upstream)
            if found.get("resultType") != "input_required":
                return raw
            passes = call.method != "tools/call" and call.exchange is not None
            if passes and call.exchange is not None and call.exchange.modern:
                return raw  # no step: the client's next request says all that there is to say
            brought = {}
            requests, state = found.get("inputRequests"), found.get("requestState")
            if isinstance(requests, dict) and requests:
                brought["inputResponses"] = await call.ask(
                    requests, state if isinstance(state, str) else ""
                )
            else:
                await asyncio.sleep(min(0.05 * 2**attempt, 0.25))
            if isinstance(state, str):
                brought["requestState"] = state
        raise frames.RpcError(frames.INTERNAL_ERROR, "the server asks again and again")

    def described(self, server: str, definition: dict[str, Any]) -> Described:
        """A tool as its server defines it now, under its name in the journal."""
        said = frames.plain([definition.get(part) for part in
                             ("name", "description", "inputSchema", "outputSchema")])  # fmt: skip
        name = journal_name(server, str(definition["name"]))
        effect = self._effect(name)
        if not effect:
            # INVARIANT D17: a server cannot talk a tool down once it was seen
            hint = eras.effect_of(definition.get("annotations"))
            before = self._hints.get(name, hint)
            effect = self._hints[name] = max(before, hint, key=EFFECTS.index)
        mark = (name, digest(said) + effect)
        found = self._tools.get(mark)
        if found is None:
            if len(self._tools) >= limits.TOOLS_ITEMS:
                self._tools.clear()  # a server that never says the same twice
            found = self._tools[mark] = Described(
                name, _nowhere, effect=effect, description=str(definition.get("description") or ""),
                schema=_object(definition.get("inputSchema")),
                output=_object(definition.get("outputSchema")),
            )  # fmt: skip
        return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


async def _nowhere(_: dict[str, Any]) -> Any:
    raise ConnectionResetError("the client that could perform it is gone")


def _readable(raw: bytes, upstream: Upstream) -> dict[str, Any]:
    """A result's fields. What cannot be read says nothing of whether the call happened."""
    try:
        return frames.fields(raw)
    except frames.Broken:
        text = f"server {upstream.server.name}: its answer cannot be read"
        raise ConnectionResetError(text) from None


def _recordable(raw: bytes, result: dict[str, Any]) -> Any:
    """A result as the journal keeps it: INVARIANT D18: whole, whatever numbers are in it."""
    if _BIG.search(raw):
        return {"$json": raw.decode()}
    return result


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"$json"}:
        return frames.fields(str(value["$json"]).encode())
    return value


def _refusal(exchange: Exchange, text: str) -> bytes:
    """A result that says why there is none, so that the model can react."""
    found: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    return frames.plain(found | {"resultType": "complete"} if exchange.modern else found)


def _said(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, Refused):
        return f"Not performed: {text}"
    if isinstance(error, Suspended):
        return f"Not performed yet: {text}. A person has to decide; then call it again, unchanged."
    if isinstance(error, Expired):
        return f"Not performed: {text}. Nobody refused it: it may be called again."
    if isinstance(error, OutcomeUnknown):
        return f"It is not known whether this happened: {text}. It is not repeated."
    return text
