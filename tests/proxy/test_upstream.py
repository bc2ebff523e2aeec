"""Servers that say what none should, end when they should not, or are not there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.proxy import frames
from holdfast.proxy.exchange import Peer
from holdfast.proxy.links import Links
from holdfast.proxy.listen import serve_door
from holdfast.proxy.upstream import Server, Upstream
from holdfast.values.errors import Outside
from tests.proxy.support import HERE, lines_of, until

pytestmark = pytest.mark.timeout(300)


class Asks:
    """What a connection needs to know of a call."""

    exchange = None

    def __init__(self) -> None:
        self.sent: Any = None


def links_to(*servers: Server) -> Links:
    return Links({one.name: one for one in servers}, Peer(), lambda *_: None, lambda *_: None)


def hostile(place: Path) -> Server:
    return Server("h", command=(sys.executable, str(HERE / "hostile.py"), str(place / "ledger")))


async def pay(upstream: Upstream, how: str) -> bytes:
    params = {"name": "pay", "arguments": {"how": how}}
    return await upstream.request("tools/call", params, call=Asks())


async def test_whatever_a_server_says_its_answers_are_heard(tmp_path: Path):
    """INVARIANTS D141, D142: and an answer that cannot be read is one that was lost."""
    links = links_to(hostile(tmp_path))
    try:
        upstream = await links.to("h")
        for how in ("note", "print"):
            assert frames.fields(await pay(upstream, how)) == {"content": []}
        for how in ("deep", "deep, id last", "deep, no id", "no object"):
            with pytest.raises(ConnectionResetError):  # a step of `once` is then open
                await pay(upstream, how)
        assert frames.fields(await pay(upstream, "")) == {"content": []}
        assert lines_of(tmp_path / "ledger") == ["paid"] * 7
    finally:
        await links.close()


@pytest.mark.parametrize("body", [b'{"jsonrpc":"2.0"', b"[1]", b'{"jsonrpc":"2.0","id":9}'])
async def test_an_answer_over_http_that_cannot_be_read_is_lost(body: bytes):
    """INVARIANT D142: and a note beside an answer does not break it (D141)."""

    async def server(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] != "POST":
            await send({"type": "http.response.start", "status": 405, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        message = json.loads((await receive())["body"])
        found: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": ["tools"]}
        said = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": found}).encode()
        kind = b"application/json"
        if message["method"] == "tools/call" and message["params"]["name"] == "bad":
            said = body
        elif message["method"] == "tools/call":
            kind = b"text/event-stream"
            note = {"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": {}, "progress": 1}}  # fmt: skip
            said = b"data: %b\n\ndata: %b\n\n" % (json.dumps(note).encode(), said)
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    stop, at = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_door(server, "127.0.0.1", 0, stop, at.set_result))
    links = links_to(Server("far", url=(await at).removeprefix("listening: ")))
    try:
        upstream = await links.to("far")
        assert upstream.can == {}
        with pytest.raises(ConnectionError):
            await upstream.request("tools/call", {"name": "bad"}, call=Asks())
        good = await upstream.request("tools/call", {"name": "good"}, call=Asks())
        assert frames.fields(good)["protocolVersion"] == "2025-11-25"
    finally:
        await links.close()
        stop.set()
        await serving


async def test_what_was_never_sent_is_no_open_question(tmp_path: Path):
    """INVARIANT D140: `Outside` says that nothing happened; a later part of a call cannot."""
    links = links_to(hostile(tmp_path))
    try:
        upstream = await links.to("h")
        os.kill(upstream.wire.pid, signal.SIGKILL)  # type: ignore[union-attr]
        gone = asyncio.Event()
        links.server_lost = lambda *_: gone.set()  # type: ignore[method-assign]
        await gone.wait()
        call = Asks()
        for _ in range(2):  # tried again, it is as before
            with pytest.raises(Outside):
                await upstream.request("tools/call", {"name": "pay"}, call=call)
        call.sent = (upstream, None)
        with pytest.raises(ConnectionError):
            await upstream.request("tools/call", {"name": "pay"}, call=call)
        await upstream.close()
        assert lines_of(tmp_path / "ledger") == []
    finally:
        await links.close()
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        far = Upstream(Server("far", url=f"http://127.0.0.1:{nobody.getsockname()[1]}/"), links)
        await far.wire.open()
        with pytest.raises(Outside):
            await far.request("tools/call", {"name": "pay"}, call=Asks())
        await far.close()


async def test_a_server_that_is_being_greeted_does_not_outlive_its_door(tmp_path: Path):
    """INVARIANT D3: whoever waits for the greeting is cut off, or the connections are closed."""
    mute = "import os,sys;open(sys.argv[1],'a').write(f'{os.getpid()}\\n');sys.stdin.read()"
    file = tmp_path / "pids"
    for count, cut_off in ((1, True), (2, False)):
        links = links_to(Server("mute", command=(sys.executable, "-c", mute, str(file))))
        opening = asyncio.create_task(links.to("mute"))
        await asyncio.to_thread(until, lambda n=count: len(lines_of(file)) == n)
        if cut_off:
            opening.cancel()
            await asyncio.wait([opening])
        await links.close()
        with pytest.raises(ProcessLookupError):
            os.kill(int(lines_of(file)[-1]), 0)
        with pytest.raises((asyncio.CancelledError, Outside)):
            await opening
