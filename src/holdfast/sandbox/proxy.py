"""The one way out of a sandbox: an HTTP proxy that reaches only what the caller has named.

It runs in the process that asked and listens on a socket made inside the sandbox, so a command
finds it on its own loopback and there is no other way. INVARIANT S5: names are resolved here, the
address that was checked is the one that is connected to, and private addresses are reached only if
a pattern names the address (or localhost) itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import NamedTuple

from holdfast.sandbox.doorway import copy_stream
from holdfast.values import limits
from holdfast.values.errors import Misuse

_WEB_PORTS = (80, 443)
_OURS = (b"host", b"proxy-connection", b"proxy-authorization", b"connection", b"keep-alive")


class Pattern(NamedTuple):
    """``host[:port]``: ``below`` means all names that end with ``host``. Port 0: 80 and 443."""

    host: str
    port: int
    below: bool

    def matches(self, host: str, port: int) -> bool:
        """Whether a target is meant."""
        if port != self.port and (self.port or port not in _WEB_PORTS):
            return False
        return host.endswith("." + self.host) if self.below else host == self.host


def pattern(text: str) -> Pattern:
    """Read one pattern, such as ``example.com``, ``*.example.org:8443`` or ``[::1]:80``. Misuse."""
    host, port = _split(text, 0)
    below = host.startswith("*.")
    host = host.removeprefix("*.")
    if not host or "*" in host or "/" in host or port < 0:
        raise Misuse(f"network pattern {text!r}: write host, host:port or *.host")
    return Pattern(host, port, below)


def _split(text: str, default: int) -> tuple[str, int]:
    """Host and port; port -1: not a port."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
        return host, -1
    return host.lower().rstrip("."), int(port) if port else default


def _private(address: str) -> bool:
    """Whether an address is not one of the public internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        embedded = found.ipv4_mapped or found.sixtofour
        if found in ipaddress.ip_network("64:ff9b::/96"):
            embedded = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if embedded is not None:
            found = embedded
    return not found.is_global or found.is_multicast


class _RefusedError(Exception):
    """Not to be reached; the text says why."""


class Proxy:
    """A filtering proxy on a listening socket."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = tuple(pattern(text) for text in patterns)
        self._server: asyncio.Server | None = None
        self._free = asyncio.Semaphore(limits.PROXY_CONNECTIONS)
        self._talks: set[asyncio.Task[None]] = set()
        self._refused: list[str] = []

    def taken(self) -> tuple[str, ...]:
        """What was turned away since this was last asked."""
        taken, self._refused = tuple(self._refused), []
        return taken

    async def start(self, listening: socket.socket) -> None:
        """Serve a socket that listens already; it belongs to the proxy from now on."""
        self._server = await asyncio.start_server(
            self._talk, sock=listening, limit=limits.PROXY_HEAD_BYTES
        )

    async def close(self) -> None:
        """Stop, cutting what is in progress."""
        if self._server is not None:
            self._server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._talks.add(me)
        try:
            async with self._free:
                await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client or the server has gone, or what came was no request
        except asyncio.CancelledError:
            pass  # the sandbox is closed: nobody awaits this
        finally:
            self._talks.discard(me)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        method, target, _ = line.decode("ascii").split(" ")
        tunnel = method == "CONNECT"
        place, path = (target, "") if tunnel else _absolute(target)
        try:
            host, port = _split(place, -1 if tunnel else 80)
            server, upstream = await self._connect(host, port)
        except _RefusedError as error:
            self._note(str(error))
            writer.write(_answer(b"403 Forbidden", f"holdfast: {error}"))
            await writer.drain()
            return
        except (OSError, TimeoutError) as error:
            writer.write(_answer(b"502 Bad Gateway", f"holdfast: {place}: {error}"))
            await writer.drain()
            return
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.write(f"{method} {path} HTTP/1.1\r\n".encode() + _for_one(fields, place))
            both = (copy_stream(reader, upstream), copy_stream(server, writer))
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            upstream.close()

    async def _connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port < 0 or not any(one.matches(host, port) for one in self._patterns):
            raise _RefusedError(f"{host}:{port} is not in the list of allowed hosts")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(limits.PROXY_CONNECT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            problem: OSError | None = None
            for family, _, _, _, address in found:
                name = str(address[0])
                if _private(name) and not self._named(host, name, port):
                    raise _RefusedError(f"{host}:{port} is the private address {name}")
                try:
                    return await asyncio.open_connection(name, port, family=family)
                except OSError as error:
                    problem = error
        raise problem or OSError(f"{host} has no address")

    def _named(self, host: str, address: str, port: int) -> bool:
        """Whether a pattern names a private address, or localhost, itself."""
        literal = [one for one in self._patterns if not one.below]
        return any(
            one.matches(address, port) or (one.host == "localhost" and one.matches(host, port))
            for one in literal
        )

    def _note(self, text: str) -> None:
        if text not in self._refused and len(self._refused) < limits.REFUSED_MAX_ITEMS:
            self._refused.append(text)


def _absolute(target: str) -> tuple[str, str]:
    """``http://host:port/path`` as place and path."""
    scheme, found, rest = target.partition("://")
    if not found or scheme.lower() != "http":
        raise ValueError(target)
    place, slash, path = rest.partition("/")
    return place.rpartition("@")[2], slash + path or "/"


def _for_one(fields: bytes, place: str) -> bytes:
    """Header fields for the server: one request for each connection."""
    lines = [
        line for line in fields.split(b"\r\n")
        if line and line.partition(b":")[0].strip().lower() not in _OURS
    ]  # fmt: skip
    return b"\r\n".join([b"Host: " + place.encode(), *lines, b"Connection: close", b"", b""])


def _answer(status: bytes, text: str) -> bytes:
    body = text.encode() + b"\n"
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        status, len(body), body,
    )  # fmt: skip
