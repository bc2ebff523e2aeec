"""The door for clients over HTTP: streamable HTTP of both eras, as a plain ASGI application."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from holdfast.proxy import eras, frames
from holdfast.proxy.answering import JSON, Answering, Receive, Scope, Send, say
from holdfast.proxy.config import from_command
from holdfast.proxy.front import Front
from holdfast.proxy.hosts import serves
from holdfast.proxy.lines import Lines
from holdfast.proxy.pipe import PipePeer
from holdfast.proxy.remote import mirrored
from holdfast.proxy.streams import GENERAL, WebPeer, place_of
from holdfast.proxy.upstream import Server
from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.values.ports import Clock

PIPE = "/pipe"
"""How the path ends at which pipes are taken."""
_TURNS = 4
"""Turns of the event loop after which a connection that was lost when they began is known to be:
its end is read, its protocol told, and whoever answers there woken."""


class Turned(Exception):
    """A request that is turned away: the HTTP status, and why."""

    def __init__(self, status: int, text: str, *, about: frames.Id = None, code: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.body = frames.error(about, code or frames.INVALID_REQUEST, text)


class Door:
    """An ASGI application. ``front_of`` gives the front of a bearer token, None for one that is
    unknown; ``hosts``: names by which it may be called beside those of this machine itself;
    ``mark`` makes names that nobody guesses; ``piped`` gives what makes the fronts of a
    token's pipes (`holdfast.proxy.pipe`), each for the server that it asks for, None if the token
    is unknown; without it there are none."""

    def __init__(
        self,
        front_of: Callable[[str], Front | None],
        *,
        clock: Clock,
        mark: Callable[[], str],
        hosts: frozenset[str] = frozenset(),
        piped: Callable[[str], Callable[[Server], Front] | None] | None = None,
    ) -> None:
        self._piped = piped
        self._front_of = front_of
        self._clock = clock
        self._mark = mark
        self._hosts = hosts
        self._peers: dict[str, tuple[Front, WebPeer]] = {}
        self._following = 0  # requests that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        try:
            self._check_names(headers)
            if scope["path"].endswith(PIPE):
                await self._pipe(headers, receive, send)
                return
            front = self._let_in(headers)
            match scope["method"]:
                case "POST":
                    await self._post(front, headers, receive, send)
                case "GET":
                    await self._get(front, headers, receive, send)
                case "DELETE":
                    front, peer = self._known(front, headers)
                    self._forget(peer)
                    await say(send, 200, b"", b"")
                case _:
                    raise Turned(405, "POST, GET or DELETE")
        except Turned as turned:
            more = [(b"allow", b"POST, GET, DELETE")] if turned.status == 405 else []
            if turned.status == 401:
                more.append((b"www-authenticate", b"Bearer"))
            await say(send, turned.status, JSON, turned.body, more)

    # Who comes in -------------------------------------------------------------------------------

    def _check_names(self, headers: Mapping[str, str]) -> None:
        # INVARIANT D22: a page in a browser that knows our address is no client: it names itself
        host = headers.get("host", "").strip()
        origin = headers.get("origin")
        if not serves(f"//{host}", self._hosts):
            raise Turned(403, "this host name is not served here")
        if origin is not None and not serves(origin, self._hosts):
            raise Turned(403, "this origin may not call")

    def _let_in(self, headers: Mapping[str, str]) -> Front:
        # INVARIANT D23: without a token that is known nothing is looked at, let alone done
        front = self._front_of(_token(headers))
        if front is None:
            raise Turned(401, "give the bearer token of this door")
        return front

    def _known(self, front: Front, headers: Mapping[str, str]) -> tuple[Front, WebPeer]:
        """The client that a legacy request is of."""
        mark = headers.get("mcp-session-id")
        if mark is None:
            raise Turned(400, "Mcp-Session-Id is missing: initialize first")
        found = self._peers.get(mark)
        if found is None or found[0] is not front:  # somebody else's is nobody's
            raise Turned(404, "this session is not known (any more): initialize again")
        version = headers.get("mcp-protocol-version", eras.LEGACY[0])
        if version not in eras.LEGACY:
            raise Turned(400, f"Unsupported protocol version: {version}")
        found[1].at = self._clock.ticks_ns()
        return found

    def _new(self, front: Front) -> WebPeer:
        """A new client. INVARIANT D143: clients of one token shut out none of another: each has
        room for so many, and beyond them the one that was silent longest goes."""
        now = self._clock.ticks_ns()
        idle = now - int(limits.PEER_IDLE_SECONDS * 1e9)
        for _, peer in list(self._peers.values()):
            if peer.at < idle and peer.is_idle:
                self._forget(peer)
        mine = [peer for one, peer in self._peers.values() if one is front]
        if len(mine) >= limits.PEERS_OPEN_ITEMS:
            oldest = min((one for one in mine if one.is_idle), key=lambda one: one.at, default=None)
            if oldest is None:
                raise Turned(503, "too many clients are connected", code=frames.INTERNAL_ERROR)
            self._forget(oldest)
        peer = WebPeer(self._mark())
        peer.at = now
        self._peers[peer.mark] = (front, peer)
        return peer

    def _forget(self, peer: WebPeer) -> None:
        front, _ = self._peers.pop(peer.mark)
        front.gone(peer)
        for stream in (peer.general, *peer.streams.values()):
            stream.end()

    # Messages come in ---------------------------------------------------------------------------

    async def _post(
        self, front: Front, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        accepts = headers.get("accept", "*/*")
        if "*/*" not in accepts and not (
            "application/json" in accepts and "text/event-stream" in accepts
        ):
            raise Turned(406, "accept application/json and text/event-stream")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Turned(415, "send application/json")
        try:
            frame = frames.parse(await _body(receive))
        except frames.Broken as error:
            raise Turned(400, str(error), about=error.about, code=error.code) from None
        about = None if frame.id is frames.UNSET else frame.id
        modern = self._is_modern(frame, headers)
        peer = WebPeer() if modern else self._peer_of(front, frame, headers)
        stream = peer.open() if about is not None and not frame.is_answer else None
        try:
            if frame.method == "tools/call" and self._following:
                # INVARIANT D144: what the kernel has told of lost connections is noticed before a
                # call that may repeat what went on there is looked at
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
            if modern and frame.id is not frames.UNSET:
                await self._check(front, frame, headers)
            exchange = front.take(peer, frame, stream)
        except frames.Broken as error:
            raise Turned(400, str(error), about=error.about, code=error.code) from None
        if exchange is None or stream is None:
            await say(send, 202, b"", b"")
            return
        stream.exchange = exchange
        answering = Answering(front, peer, stream, receive, send)
        if frame.method == "initialize" and peer.mark:
            answering.headers = [(b"mcp-session-id", peer.mark.encode())]
        self._following += 1
        try:
            await answering.run()
        finally:
            self._following -= 1

    def _peer_of(self, front: Front, frame: frames.Frame, headers: Mapping[str, str]) -> WebPeer:
        if frame.method == "initialize":
            return self._new(front)
        return self._known(front, headers)[1]

    def _is_modern(self, frame: frames.Frame, headers: Mapping[str, str]) -> bool:
        version = headers.get("mcp-protocol-version")
        if version == eras.MODERN or (version is not None and version not in eras.LEGACY):
            return True
        if version is not None or frame.params is frames.UNSET:
            return False
        meta = frames.fields(frame.params).get("_meta")
        return isinstance(meta, dict) and eras.is_modern(meta)

    async def _check(self, front: Front, frame: frames.Frame, headers: Mapping[str, str]) -> None:
        """INVARIANT D24: headers on which others decided say what the body says."""
        params = frames.fields(frame.params)
        meta = params.get("_meta")
        if not isinstance(meta, dict) or eras.VERSION not in meta:
            raise frames.Broken(
                frames.INVALID_PARAMS,
                f"params._meta lacks {eras.VERSION}",
                frame.id,  # pyright: ignore[reportArgumentType]  # a request has one
            )
        wrong = _mismatch(headers, "mcp-protocol-version", meta[eras.VERSION])
        wrong = wrong or _mismatch(headers, "mcp-method", frame.method)
        key = eras.NAMED_BY.get(str(frame.method))
        if key is not None and params.get(key) is not None:
            wrong = wrong or _mismatch(headers, "mcp-name", params[key], encoded=True)
        if not wrong and frame.method == "tools/call":
            schema = await front.schema_of(params.get("name"))
            arguments = params.get("arguments")
            asked = mirrored(schema, arguments if isinstance(arguments, dict) else {})
            declared = {name.lower() for name in mirrored(schema, _every(schema))}
            for name in declared | {one.lower() for one in asked}:
                value = {k.lower(): v for k, v in asked.items()}.get(name)
                if not _same(headers.get(name), value):
                    wrong = wrong or f"{name} does not match the arguments"
        if wrong:
            raise frames.Broken(
                frames.HEADER_MISMATCH,
                f"Header mismatch: {wrong}",
                frame.id,  # pyright: ignore[reportArgumentType]  # a request has one
            )

    # Pipes ---------------------------------------------------------------------------------------

    async def _pipe(self, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        """A client at the end of a pipe: its first line says which server, the others are its."""
        make = None if self._piped is None else self._piped(_token(headers))
        if make is None:  # before anything is read
            raise Turned(401, "give the bearer token of this door")
        fronts: list[Front] = []
        peer = PipePeer()

        def take(line: bytes) -> None:
            if fronts:
                try:
                    fronts[0].take(peer, frames.parse(line))
                except frames.Broken as error:
                    peer.push(frames.error(error.about, error.code, str(error)), None)
                return
            fronts.append(make(_server(line)))

        def too_long() -> None:
            text = f"a message has at most {limits.FRAME_BYTES:,} bytes"
            peer.push(frames.error(None, frames.INVALID_REQUEST, text), None)

        lines = Lines(take, too_long)
        try:
            async with asyncio.timeout(limits.GREET_SECONDS):
                while not fronts:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        raise Turned(400, "the pipe ended before it said which server")
                    lines.feed(message.get("body", b""))
        except TimeoutError:
            raise Turned(408, "the pipe did not say which server") from None
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"application/x-ndjson")]})  # fmt: skip
        writing = asyncio.get_running_loop().create_task(_write(peer, send))
        try:
            more = True
            while more and not writing.done():
                message = await receive()
                more = message["type"] != "http.disconnect" and bool(message.get("more_body"))
                lines.feed(message.get("body", b""))
        finally:
            writing.cancel()
            peer.drain()
            fronts[0].gone(peer)
            await fronts[0].settle(limits.LEAVE_SECONDS)
            await fronts[0].close()
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b""})

    # Streams that clients follow -----------------------------------------------------------------

    async def _get(
        self, front: Front, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        if headers.get("mcp-protocol-version") == eras.MODERN:
            raise Turned(405, "this revision has no stream to GET")
        if "text/event-stream" not in headers.get("accept", ""):
            raise Turned(406, "accept text/event-stream")
        front, peer = self._known(front, headers)
        stream, start = peer.general, peer.general.first
        last = headers.get("last-event-id")
        if last is not None:
            place = place_of(last)
            if place is None:
                raise Turned(400, "Last-Event-ID names no event of ours")
            if place[0] != GENERAL:
                stream = peer.streams.get(place[0]) or stream
            start = place[1] + 1 if stream.number == place[0] else stream.first
        if stream.followed:
            raise Turned(409, "this stream is being followed already")
        if stream.exchange is not None:
            stream.exchange.away = False
        answering = Answering(front, peer, stream, receive, send)
        await answering.follow(start, begun=False)


async def _write(peer: PipePeer, send: Send) -> None:
    while True:
        line, written = await peer.lines.get()
        taken = False
        try:
            await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
            taken = not peer.ended
        finally:  # cut off while it is written, it is lost: whoever waits is told so
            if written is not None and not written.done():
                written.set_result(taken)


def _server(line: bytes) -> Server:
    """The server that a pipe asks for."""
    try:
        said = frames.fields(line)
        command = tuple(str(word) for word in said["command"])
        env = {str(name): str(value) for name, value in (said.get("env") or {}).items()}
        found = from_command(command, str(said.get("server") or ""), env)
        return msgspec.structs.replace(found, cwd=str(said.get("cwd") or ""))
    except (frames.Broken, KeyError, TypeError, AttributeError, Misuse):
        raise Turned(400, "the pipe does not say which server") from None


def _token(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        # said twice, it could mean two things to two readers: it then means neither
        # space around a value is none of it (RFC 9110, 5.5), and not every parser takes it off
        found[key] = "\x00twice" if key in found else value.decode("latin-1").strip(" \t")
    return found


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Turned(400, "the request was cut off")
    if not message.get("more_body"):
        body = message.get("body", b"")
        if len(body) > limits.FRAME_BYTES:
            raise Turned(413, f"a message has at most {limits.FRAME_BYTES:,} bytes")
        return body
    found = bytearray(message.get("body", b""))
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Turned(400, "the request was cut off")
        found += message.get("body", b"")
        if len(found) > limits.FRAME_BYTES:
            raise Turned(413, f"a message has at most {limits.FRAME_BYTES:,} bytes")
    return bytes(found)


def _mismatch(headers: Mapping[str, str], name: str, said: Any, *, encoded: bool = False) -> str:
    found = headers.get(name)
    if found is None:
        return f"{name} is missing"
    if (_decoded(found) if encoded else found) != said:
        return f"{name} is not what the body says"
    return ""


def _decoded(text: str) -> str | None:
    if not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        return base64.b64decode(text[9:-2], validate=True).decode()
    return None


def _same(found: str | None, value: str | None) -> bool:
    if found is None or value is None:
        return found is value
    said, wanted = _decoded(found), _decoded(value)
    if said == wanted:
        return True
    with contextlib.suppress(ValueError, TypeError):
        return said is not None and wanted is not None and float(said) == float(wanted)
    return False


def _every(schema: Any) -> dict[str, Any]:
    """A value for each argument of a schema: all its headers are then said."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {name: _every(one) or "x" for name, one in properties.items()}


def tokens(known: Mapping[str, Front]) -> Callable[[str], Front | None]:
    """The fronts of these tokens, found in a time that tells nothing of them."""

    def front_of(token: str) -> Front | None:
        found: Front | None = None
        for one, front in known.items():
            if hmac.compare_digest(one.encode(), token.encode("utf-8", "replace")):
                found = front
        return found

    return front_of
