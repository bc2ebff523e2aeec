"""The one way out: only to what was named, by the address that was checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.sandbox import proxy as proxy_module
from holdfast.sandbox.proxy import Proxy, pattern
from holdfast.values.errors import Misuse
from tests.sandbox.support import Walls, python_inside

FETCH = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        with urllib.request.urlopen(url) as answer:
            print(answer.read().decode())
    except OSError as error:
        print(error)
"""
DIRECT = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    print("ESCAPED")
except OSError as error:
    print(error)
"""


@pytest.fixture
async def server() -> AsyncIterator[int]:
    """A web server on the host's loopback; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"you asked " + head.split(b"\r\n")[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    found = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield found.sockets[0].getsockname()[1]
    found.close()


async def test_a_named_server_is_reached_and_no_other(walls: Walls, server: int):
    url = f"http://127.0.0.1:{server}/a?b"
    # to the host's loopback through the proxy: NO_PROXY would keep the client from asking it
    through = {"NO_PROXY": "", "no_proxy": ""}
    ended = await walls.run(
        python_inside(), "-c", FETCH, url, "http://127.0.0.1:9/", "http://example.org/",
        network=(f"127.0.0.1:{server}",), environment=through,
    )  # fmt: skip
    lines = ended.stdout.decode().splitlines()
    assert lines[0] == "you asked GET /a?b HTTP/1.1"
    assert ["403" in line for line in lines[1:]] == [True, True]
    assert [text.partition(" ")[0] for text in ended.refused] == ["127.0.0.1:9", "example.org:80"]
    await walls.attack(DIRECT, server, network=(f"127.0.0.1:{server}",))


async def test_without_a_list_there_is_no_proxy(walls: Walls, server: int):
    ended = await walls.attack(DIRECT, server)
    assert b"refused" in ended.stdout
    env = await walls.run("/usr/bin/env")
    assert b"PROXY" not in env.stdout


async def _asked(patterns: tuple[str, ...], request: bytes) -> tuple[bytes, tuple[str, ...]]:
    proxy = Proxy(patterns)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    await proxy.start(listening)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await proxy.close()
    return answer, proxy.taken()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "0.0.0.0", "100.64.0.1", "fd00::1"],
)  # fmt: skip
async def test_a_name_that_leads_to_a_private_address_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANT S5: what a name resolves to is judged, not the name."""

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    answer, refused = await _asked(
        ("*.example.org",), b"CONNECT evil.example.org:443 HTTP/1.1\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 403")
    assert refused == (f"evil.example.org:443 is the private address {address}",)


@pytest.mark.parametrize(
    "request_line",
    [b"CONNECT example.org.evil.net:443 HTTP/1.1", b"CONNECT example.org:22 HTTP/1.1",
     b"GET http://example.org@evil.net/ HTTP/1.1", b"CONNECT evilexample.org:443 HTTP/1.1",
     b"CONNECT example.org HTTP/1.1", b"CONNECT example.org:99999 HTTP/1.1"],
)  # fmt: skip
async def test_only_what_was_named(request_line: bytes):
    answer, refused = await _asked(("example.org", "*.example.org"), request_line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")
    assert len(refused) == 1


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1", b"x", b"GET ftp://example.org/ HTTP/1.1", b"\xff"]
)
async def test_what_is_no_request_gets_no_answer(request_line: bytes):
    assert await _asked(("example.org",), request_line + b"\r\n\r\n") == (b"", ())


def test_patterns():
    assert pattern("example.com").matches("example.com", 443)
    assert not pattern("example.com").matches("a.example.com", 443)
    assert pattern("*.Example.org:8443").matches("a.b.example.org", 8443)
    assert not pattern("*.example.org").matches("example.org", 443)
    assert pattern("[::1]:80").matches("::1", 80)
    for wrong in ("", "*", "*.*.org", "a/b", "a:b", "a:0", "http://a"):
        with pytest.raises(Misuse):
            pattern(wrong)


def test_public_addresses_are_not_private():
    assert not proxy_module._private("8.8.8.8")
    assert not proxy_module._private("2606:4700::1111")
