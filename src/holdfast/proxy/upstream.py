"""One connection to one server: how it is greeted, asked and heard, whatever era it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from holdfast.proxy import eras, frames
from holdfast.proxy.child import Child
from holdfast.proxy.remote import Remote
from holdfast.proxy.within import Within
from holdfast.values import limits
from holdfast.values.errors import Outside


class Server(msgspec.Struct, frozen=True):
    """A server as somebody configured it: a ``command``, a ``url``, or one ``within`` this process.
    ``name``: what its tools are called after in the journal; what it says of itself does not
    count. ``meant``: what a call of one of its tools means, `holdfast.proxy.within.meant`."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = {}
    within: Callable[[Callable[[bytes, Any], None]], Within] | None = None
    meant: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]] | None = None


class Who(msgspec.Struct, frozen=True):
    """On whose behalf a request is made: what a client says of itself, and can."""

    client: Any = None
    capabilities: Mapping[str, Any] = {}
    level: str = ""


class Sent:
    """A request to a server that waits for its answer. ``call``: what it is part of; ``schema``:
    of the arguments of the tool that it calls."""

    __slots__ = ("call", "future", "id", "method", "params", "schema")

    def __init__(self, about: int, method: str, params: dict[str, Any]) -> None:
        self.id = about
        self.method = method
        self.params = params
        self.call: Any = None
        self.schema: Any = None
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """Whether it was answered."""
        return self.future.done()

    def fail(self, error: Exception) -> None:
        """It will not be answered."""
        # INVARIANT D6: a request is answered once, whatever the server says twice
        if not self.future.done():
            self.future.set_exception(error)


class Owner(Protocol):
    """Who hears what a server says of its own accord."""

    def server_note(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        """A notification; ``sent``: the request to which it belongs, if that is known."""
        ...

    def server_asks(self, upstream: Upstream, frame: frames.Frame, sent: Sent | None) -> None:
        """A request of a legacy server."""
        ...

    def server_lost(self, upstream: Upstream, why: str) -> None:
        """The connection is gone."""
        ...


class Upstream:
    """A connection. ``modern``: the era that the server speaks; ``can``: its capabilities;
    ``tools``: the definitions of its tools by name, None while they are not known (any more)."""

    def __init__(self, server: Server, owner: Owner) -> None:
        self.server = server
        self.owner = owner
        self.modern = False
        self.version = ""
        self.can: dict[str, Any] = {}
        self.info: Any = None
        self.instructions = ""
        self.tools: dict[str, dict[str, Any]] | None = None
        self.open_requests: dict[int, Sent] = {}
        self.lost = ""
        self._last = 0
        self._learning = asyncio.Lock()
        self.wire = self._wire()

    def _wire(self) -> Child | Remote | Within:
        server, receive = self.server, self._receive
        if server.within is not None:
            return server.within(receive)
        if server.url:
            return Remote(server.url, headers=server.headers, receive=receive, lost=self._gone)
        return Child(
            server.command, env=server.env, cwd=server.cwd, receive=receive, lost=self._gone
        )

    # Greeting -----------------------------------------------------------------------------------

    async def open(self, greeting: Mapping[str, Any], who: Who, *, modern: bool) -> None:
        """Begin, in the era of the client if the server speaks it: ``modern`` says which to try
        first. `Outside` if it speaks neither."""
        await self.wire.open()
        tries = (self._discover, self._greet) if modern else (self._greet, self._discover)
        errors: list[str] = []
        # a server that answers the first too late has by then said that it speaks it
        for attempt in (*tries, self._discover):
            try:
                await attempt(greeting, who)
                return
            except (frames.RpcError, frames.Broken, TimeoutError) as error:
                errors.append(str(error) or "no answer")
            except ConnectionError as error:
                errors.append(str(error))
                break
        await self.close()
        why = f": {self.lost}" if self.lost else ""
        raise Outside(f"mcp: server {self.server.name} cannot be spoken to ({errors[0]}{why})")

    async def _discover(self, greeting: Mapping[str, Any], who: Who) -> None:
        del greeting
        self._speak(eras.MODERN, modern=True)
        try:
            params = self.dressed({}, {}, who)
            async with asyncio.timeout(limits.PROBE_SECONDS):
                found = frames.fields(await self.request("server/discover", params))
            if eras.MODERN not in (found.get("supportedVersions") or ()):
                raise frames.RpcError(frames.UNSUPPORTED_VERSION, "it speaks other revisions")
        except BaseException:
            self._speak("", modern=False)
            raise
        self.can = found.get("capabilities") or {}
        self.info = (found.get("_meta") or {}).get(eras.SERVER) or found.get("serverInfo")
        self.instructions = str(found.get("instructions") or "")

    async def _greet(self, greeting: Mapping[str, Any], who: Who) -> None:
        params = eras.greeting(greeting, who.capabilities)
        async with asyncio.timeout(limits.GREET_SECONDS):
            found = frames.fields(await self.request("initialize", params))
        self._speak(str(found.get("protocolVersion") or eras.LEGACY[0]), modern=False)
        self.can = found.get("capabilities") or {}
        self.info = found.get("serverInfo")
        self.instructions = str(found.get("instructions") or "")
        await self.note("notifications/initialized", {})
        if isinstance(self.wire, Remote):
            self.wire.listen()

    def _speak(self, version: str, *, modern: bool) -> None:
        self.version, self.modern = version, modern
        if isinstance(self.wire, Remote):
            self.wire.version, self.wire.modern = version, modern

    # Asking -------------------------------------------------------------------------------------

    def dressed(self, params: Mapping[str, Any], meta: Mapping[str, Any], who: Who) -> Any:
        """Parameters with a ``_meta`` that this server understands."""
        meta = eras.without_envelope(meta)
        if self.modern:
            meta |= eras.envelope(self.version, who.client, who.capabilities, who.level)
        return {**params, "_meta": meta} if meta else dict(params)

    async def request(
        self, method: str, params: dict[str, Any], *, call: Any = None, schema: Any = None
    ) -> bytes:
        """Ask; its result as JSON. `RpcError` is the server's own; `ConnectionError`: the answer
        is lost, and nobody knows whether it was carried out."""
        if self.lost:
            raise ConnectionResetError(f"server {self.server.name}: {self.lost}")
        self._last += 1
        sent = Sent(self._last, method, params)
        sent.call, sent.schema = call, schema
        if call is not None:
            call.sent = (self, sent)
        self.open_requests[sent.id] = sent
        try:
            await self.wire.send(frames.request(sent.id, method, frames.plain(params)), sent)
            return await sent.future
        finally:
            del self.open_requests[sent.id]
            if not sent.future.cancel() and not sent.future.cancelled():
                sent.future.exception()  # it was told, or nobody is there to be told

    async def note(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the server something; that it is gone is not found out here."""
        try:
            await self.wire.send(frames.note(method, frames.plain(params)), None)
        except ConnectionError:
            return

    async def cancel(self, sent: Sent, reason: str) -> None:
        """Ask the server to give a request up."""
        if sent.id in self.open_requests and sent.method != "initialize":
            said = {"requestId": sent.id} | ({"reason": reason} if reason else {})
            await self.note("notifications/cancelled", said)

    async def answer(self, about: frames.Id, answer: bytes | frames.RpcError) -> None:
        """Answer a request of a legacy server."""
        if isinstance(answer, bytes):
            line = frames.result(about, answer)
        else:
            line = frames.error(about, answer.code, answer.text, answer.data)
        try:
            await self.wire.send(line, None)
        except ConnectionError:
            return

    async def listed(self, method: str, field: str, who: Who) -> list[Any]:
        """A whole list, all of its pages."""
        found: list[Any] = []
        cursor: Any = None
        for _ in range(limits.LIST_PAGES):
            params = {} if cursor is None else {"cursor": cursor}
            page = frames.fields(await self.request(method, self.dressed(params, {}, who)))
            items = page.get(field)
            found += items if isinstance(items, list) else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                return found
            if len(found) > limits.TOOLS_ITEMS:
                break
        raise frames.RpcError(frames.INTERNAL_ERROR, f"{method} of {self.server.name} has no end")

    async def tool(self, name: str, who: Who) -> dict[str, Any] | None:
        """The definition of a tool as the server gives it now, None if it has none such."""
        if self.tools is None or name not in self.tools:
            async with self._learning:
                if self.tools is None or name not in self.tools:
                    self.learn(await self.listed("tools/list", "tools", who))
        return None if self.tools is None else self.tools.get(name)

    def learn(self, definitions: list[Any]) -> None:
        """The server's tools are these."""
        self.tools = {
            one["name"]: one
            for one in definitions
            if isinstance(one, dict) and isinstance(one.get("name"), str)
        }

    # Hearing ------------------------------------------------------------------------------------

    def _receive(self, line: bytes, sent: Sent | None) -> None:
        try:
            frame = frames.parse(line)
        except frames.Broken:
            if sent is not None:
                sent.fail(frames.RpcError(frames.INTERNAL_ERROR, "the answer cannot be read"))
            return  # servers that print what is no message are common: the others still count
        if not frame.is_answer:
            if frame.id is frames.UNSET:
                self._noted(frame, sent)
            elif self.modern:
                return  # modern servers ask nothing this way
            else:
                self.owner.server_asks(self, frame, sent)
            return
        found = self.open_requests.get(frame.id) if isinstance(frame.id, int) else None
        if found is None and sent is not None and frame.error is not frames.UNSET:
            found = sent if frame.id is frames.UNSET else None
        if found is None or found.done:
            return
        if frame.error is not frames.UNSET:
            found.fail(frames.error_of(frame.error))
        else:
            found.future.set_result(frames.raw(frame.result))

    def _noted(self, frame: frames.Frame, sent: Sent | None) -> None:
        if frame.method == "notifications/tools/list_changed":
            self.tools = None  # INVARIANT D7: a definition that changed is looked at again
        self.owner.server_note(self, frame, sent)

    def _gone(self, why: str) -> None:
        self.lost = why
        for sent in list(self.open_requests.values()):
            sent.fail(ConnectionResetError(f"server {self.server.name}: {why}"))
        self.owner.server_lost(self, why)

    async def close(self) -> None:
        """Let go of it; a server process ends."""
        await self.wire.close()
        if not self.lost:
            self.lost = "the connection was closed"
        for sent in list(self.open_requests.values()):
            sent.fail(ConnectionResetError(f"server {self.server.name}: {self.lost}"))
