"""Clients that are lost while they are answered, or too many, and what servers print."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from holdfast.engine.answers import answer
from holdfast.proxy.door import Door, tokens
from holdfast.proxy.exchange import Exchange
from holdfast.proxy.frames import parse
from holdfast.proxy.upstream import Server
from holdfast.values import limits
from holdfast.values.ports import SystemClock
from tests.proxy.conftest import TOKEN
from tests.proxy.support import HERE, INITIALIZE, LEDGER, WAIT, lines_of, until

pytestmark = pytest.mark.timeout(300)

JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {TOKEN}"}  # fmt: skip
LOOKS = {"name": "look", "arguments": {}}


def ledger(place: Path) -> Server:
    return Server("ledger", command=(sys.executable, LEDGER, str(place / "ledger")))


def said(about: int, method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": about, "method": method, "params": params}).encode()


async def greeted(http: httpx2.AsyncClient, url: str) -> str:
    found = await http.post(url, content=said(1, "initialize", INITIALIZE), headers=JSON)
    return found.headers.get("mcp-session-id", "") if found.status_code == 200 else "none"


def posted(mark: str, body: bytes) -> bytes:
    heads = {**JSON, "Host": "localhost", "Mcp-Session-Id": mark, "Content-Length": len(body)}
    lines = [f"{name}: {value}\r\n" for name, value in heads.items()]
    return f"POST /mcp HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


async def test_a_retry_right_behind_a_lost_connection_repeats_nothing(opened: Any, tmp_path: Path):
    """INVARIANTS D13, D144: both are in the kernel before the door looks at either."""
    async with opened([ledger(tmp_path)]) as place, httpx2.AsyncClient(timeout=WAIT) as http:
        mark, address = await greeted(http, place.url), urlsplit(place.url)
        loop, where = asyncio.get_running_loop(), (address.hostname, address.port)
        with socket.create_connection(where) as lost, socket.create_connection(where) as again:
            for one in (lost, again):
                one.setblocking(False)
            await loop.sock_sendall(again, posted(mark, said(2, "ping", {})))
            assert await loop.sock_recv(again, 65536)
            slow = {"name": "slow", "arguments": {"to": "ann"}}
            await loop.sock_sendall(lost, posted(mark, said(3, "tools/call", slow)))
            await asyncio.to_thread(until, lambda: lines_of(tmp_path / "ledger"))
            retry = posted(mark, said(4, "tools/call", slow))
            again.send(retry[:9])  # what came first is looked at first
            lost.close()
            again.send(retry[9:])
            peer = place.front._links[0].peer
            await asyncio.to_thread(until, lambda: 4 in peer.exchanges)
            (tmp_path / "ledger.go").touch()
            found = b""
            while b'"slow ann"' not in found:
                found += await loop.sock_recv(again, 65536)
        assert lines_of(tmp_path / "ledger") == ["slow ann"]
        assert 3 not in peer.exchanges  # nobody waits for it: it keeps no place


async def test_a_lost_connection_is_known_before_a_retry_is_looked_at(opened: Any, tmp_path: Path):
    """INVARIANT D144: its end takes the loop some turns: it is read, told, somebody woken."""
    async with opened([ledger(tmp_path)]) as place:
        door = Door(tokens({TOKEN: place.front}), clock=SystemClock(), mark=lambda: "one")
        heads = {**JSON, "Host": "localhost", "Mcp-Session-Id": "one"}
        lost, never = asyncio.Event(), asyncio.Event()

        async def post(body: bytes, gone: asyncio.Event) -> bytes:
            pieces, sent = [body], bytearray()

            async def receive() -> dict[str, Any]:
                if pieces:
                    return {"type": "http.request", "body": pieces.pop()}
                await gone.wait()  # woken in one turn, and as with a socket there are two more
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.extend(message.get("body", b""))

            said_now = heads if b"initialize" not in body else {**heads, "Mcp-Session-Id": ""}
            pairs = [(k.lower().encode(), v.encode()) for k, v in said_now.items() if v]
            await door({"type": "http", "method": "POST", "path": "/mcp", "headers": pairs},
                       receive, send)  # fmt: skip
            return bytes(sent)

        await post(said(1, "initialize", INITIALIZE), never)
        slow = {"name": "slow", "arguments": {"to": "ann"}}
        first = asyncio.create_task(post(said(2, "tools/call", slow), lost))
        await asyncio.to_thread(until, lambda: lines_of(tmp_path / "ledger"))
        retry = asyncio.create_task(post(said(3, "tools/call", slow), never))
        lost.set()
        await first
        (tmp_path / "ledger.go").touch()
        assert b'"slow ann"' in await retry
        assert lines_of(tmp_path / "ledger") == ["slow ann"]


async def test_a_call_cancelled_over_http_is_cancelled_at_its_server(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANTS D12, D13, D195: its stream ends without an answer; the same call repeats
    nothing."""
    monkeypatch.setattr(limits, "CANCEL_SECONDS", 0.05)
    odd = Server("odd", command=(sys.executable, str(HERE / "odd.py"), str(tmp_path / "odd")))
    async with opened([odd], patience=0) as place, httpx2.AsyncClient(timeout=WAIT) as http:
        headers = {**JSON, "Mcp-Session-Id": await greeted(http, place.url)}
        obey = said(2, "tools/call", {"name": "obey", "arguments": {}})
        call = asyncio.create_task(http.post(place.url, content=obey, headers=headers))
        await asyncio.to_thread(until, lambda: lines_of(tmp_path / "odd"))
        cancels = {"jsonrpc": "2.0", "method": "notifications/cancelled",
                   "params": {"requestId": 2, "reason": "enough"}}  # fmt: skip
        noted = await http.post(place.url, content=json.dumps(cancels), headers=headers)
        assert noted.status_code == 202
        assert '"id"' not in (await call).text
        await asyncio.to_thread(until, lambda: len(lines_of(tmp_path / "odd")) == 2)
        await asyncio.to_thread(until, lambda: not place.front.busy)
        again = await http.post(place.url, content=obey.replace(b"2,", b"3,", 1), headers=headers)
        assert "holdfast" in again.text
        assert '"isError":true' in again.text
        assert sorted(lines_of(tmp_path / "odd")) == ["cancelled", "obey"]


async def test_a_call_whose_modern_client_left_is_not_performed_though_approved(
    opened: Any, tmp_path: Path
):
    """INVARIANT D12: of this era, to close the stream is to cancel; the same call goes on."""
    asks = "version: 1\nrules: [{id: ask, when: {tool: '*'}, then: escalate}]\n"
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}  # fmt: skip
    headers = {**JSON, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call",
               "Mcp-Name": "pay"}  # fmt: skip
    pay = said(1, "tools/call", {"name": "pay", "arguments": {"to": "ann"}, "_meta": meta})
    how: dict[str, Any] = {"policy": asks, "patience": 1_000.0, "ask": "inbox"}
    async with opened([ledger(tmp_path)], **how) as place:
        guest: Any = place.front.stepping.guest
        store = place.runtime.store
        async with httpx2.AsyncClient(timeout=WAIT) as http:
            call = asyncio.create_task(http.post(place.url, content=pay, headers=headers))
            async with asyncio.timeout(WAIT):
                while not (await store.run(guest.id)).waits:  # noqa: ASYNC110 - another's news
                    await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            await asyncio.to_thread(until, lambda: not place.front._calls())
            (wait,) = (await store.run(guest.id)).waits
            await answer(store, guest.id, wait.key, "approve", by="ann", now_ms=1,
                         digest=wait.digest)  # fmt: skip
            place.runtime.host.ring()
            assert (await http.post(place.url, content=said(2, "ping", {}))).status_code == 401
            assert lines_of(tmp_path / "ledger") == []
            again = await http.post(place.url, content=pay, headers=headers)
            assert '"pay ann"' in again.text
        assert lines_of(tmp_path / "ledger") == ["pay ann"]


async def test_clients_of_one_token_shut_out_nobody(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANT D143: the one that was silent longest goes, its id with it."""
    monkeypatch.setattr(limits, "PEERS_OPEN_ITEMS", 3)
    async with opened([ledger(tmp_path)]) as place, httpx2.AsyncClient(timeout=WAIT) as http:
        marks = [await greeted(http, place.url) for _ in range(5)]
        assert "none" not in marks

        async def status(mark: str) -> int:
            headers = {**JSON, "Mcp-Session-Id": mark}
            found = await http.post(place.url, content=said(2, "ping", {}), headers=headers)
            return found.status_code

        assert [await status(mark) for mark in marks] == [404, 404, 200, 200, 200]


async def asked(headers: dict[str, str], path: str = "/mcp", **how: Any) -> tuple[int, list[str]]:
    """What a door says to a request, and what it has done with it until then."""
    did: list[str] = []
    sent: list[Any] = []

    async def receive() -> Any:
        did.append("read")
        return {"type": "http.request", "body": b'{"command": ["x"]}\n', "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    heads = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": heads}
    await Door(lambda _: None, clock=SystemClock(), mark=str, **how)(scope, receive, send)
    return sent[0]["status"], did


async def test_nothing_is_read_of_a_pipe_before_its_token():
    """INVARIANTS D22, D23; a host that is none is no host of ours."""
    local = {"host": "localhost"}
    assert await asked(local, "/mcp/pipe", piped=lambda _: None) == (401, [])
    assert await asked({"host": "[x"}) == (403, [])
    assert await asked({**local, "origin": "http://[x"}) == (403, [])


async def test_a_pipe_cut_while_an_answer_is_written_says_that_it_is_lost():
    """INVARIANT D15: neither the answer that is being written, nor one that comes later, hangs."""
    fed: asyncio.Queue[Any] = asyncio.Queue()
    writes, told = asyncio.Event(), []

    class Front:
        def take(self, peer: Any, frame: Any) -> None:
            self.peer, self.one = peer, Exchange(peer, frame, {})
            self.telling = asyncio.create_task(self.one.result(b"{}"))

        def gone(self, peer: Any) -> None:
            told.append("gone")

        async def settle(self, seconds: float) -> None:
            assert not await asyncio.wait_for(self.telling, WAIT)
            assert not await asyncio.wait_for(self.peer.deliver(b"{}", self.one), WAIT)
            told.append("settled")

        async def close(self) -> None:
            told.append("closed")

    async def send(message: Any) -> None:
        if b"result" in message.get("body", b""):
            writes.set()
            await asyncio.Event().wait()  # its reader takes nothing

    front = Front()
    made: Any = front
    door = Door(lambda _: None, clock=SystemClock(), mark=str, piped=lambda _: lambda _: made)
    heads = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/pipe", "headers": heads}
    body = b'{"command": ["x"]}\n' + said(1, "ping", {}) + b"\n"
    assert parse(body.splitlines()[1])
    fed.put_nowait({"type": "http.request", "body": body, "more_body": True})
    piping = asyncio.create_task(door(scope, fed.get, send))
    await writes.wait()
    fed.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(piping, WAIT)
    assert told == ["gone", "settled", "closed"]


async def test_what_a_server_prints_commands_no_terminal(opened: Any, capfd: Any):
    """INVARIANT D145: its last words are there, as text."""
    words = (
        r"import sys; sys.stderr.buffer.write("
        r"'\x1b[31mre\x1b]0;t\x07d\x9b2J\r\n\tgrün'.encode())"
    )
    async with opened([Server("dies", command=(sys.executable, "-c", words))]) as place:
        with pytest.raises(Exception, match="dies"):
            await place.front.shared.to("dies")
    found = capfd.readouterr().err
    assert "re]0;td2J\n\tgrün" in found
    assert "\x1b" not in found
