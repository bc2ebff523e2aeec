"""The door over HTTP: who comes in, streams that are lost and taken up, pipes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from holdfast.proxy.listen import serve_door
from holdfast.proxy.sse import event
from holdfast.proxy.upstream import Server
from tests.proxy.conftest import TOKEN
from tests.proxy.support import INITIALIZE, LEDGER, WAIT, Client, lines_of, text_of, until

pytestmark = pytest.mark.timeout(300)

BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def said(about: Any, method: str, params: Any = None) -> bytes:
    body = {"jsonrpc": "2.0", "id": about, "method": method, "params": params or {}}
    return json.dumps(body).encode()


def ledger(place: Path) -> Server:
    return Server("ledger", command=(sys.executable, LEDGER, str(place / "ledger")))


async def begin(http: httpx2.AsyncClient, url: str) -> dict[str, str]:
    """A session: the headers of its requests."""
    headers = {**JSON, **BEARER}
    greeted = await http.post(url, content=said(1, "initialize", INITIALIZE), headers=headers)
    assert greeted.status_code == 200
    mark = greeted.headers["mcp-session-id"]
    return {**headers, "Mcp-Session-Id": mark, "MCP-Protocol-Version": "2025-11-25"}


async def written(file: Path, count: int) -> None:
    await asyncio.to_thread(until, lambda: len(lines_of(file)) >= count)


async def test_who_has_no_token_or_a_false_name_is_turned_away(opened: Any, tmp_path: Path):
    """INVARIANTS D22, D23, D24: before anything is looked at."""
    async with opened([ledger(tmp_path)]) as place, httpx2.AsyncClient(timeout=WAIT) as http:
        greeting = said(1, "initialize", INITIALIZE)

        async def status(more: dict[str, str], body: bytes = greeting) -> int:
            found = await http.post(place.url, content=body, headers={**JSON, **more})
            return found.status_code

        assert await status({}) == 401
        assert await status({"Authorization": "Bearer wrong"}) == 401
        assert await status({"Authorization": f"Basic {TOKEN}"}) == 401
        assert await status({**BEARER, "Host": "evil.example.com"}) == 403
        assert await status({**BEARER, "Origin": "https://evil.example.com"}) == 403
        assert await status({**BEARER, "Accept": "text/html"}) == 406
        assert await status({**BEARER, "Content-Type": "text/plain"}) == 415
        assert await status(BEARER, b"{broken") == 400
        assert await status(BEARER, said(1, "tools/list")) == 400  # no session
        assert await status({**BEARER, "Mcp-Session-Id": "x"}, said(1, "tools/list")) == 404
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {}}  # fmt: skip
        call = said(1, "tools/call", {"name": "look", "arguments": {}, "_meta": meta})
        modern = {**BEARER, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}
        assert await status({**modern, "Mcp-Name": "pay"}, call) == 400
        assert await status({**modern, "Mcp-Name": "look"}, call) == 200
        assert (await http.put(place.url, headers=BEARER)).status_code == 405
        assert lines_of(tmp_path / "ledger") == []


async def test_a_lost_stream_repeats_nothing(opened: Any, tmp_path: Path):
    """INVARIANTS D12, D13, D15: the same call again is the call that goes on, or its outcome."""
    async with opened([ledger(tmp_path)]) as place, httpx2.AsyncClient(timeout=WAIT) as http:
        headers = await begin(http, place.url)
        call = said(2, "tools/call", {"name": "slow", "arguments": {"to": "ann"}})
        lost = asyncio.create_task(http.post(place.url, content=call, headers=headers))
        await written(tmp_path / "ledger", 1)
        lost.cancel()  # the connection is closed while the call goes on
        await asyncio.wait([lost])
        # closing a socket takes the client's loop some turns: the door knows it when it is done
        calls = place.front._calls
        await asyncio.to_thread(until, lambda: not any(one.attended for one in calls()))
        again = call.replace(b'"id": 2', b'"id": 3')
        waits = asyncio.create_task(http.post(place.url, content=again, headers=headers))
        (tmp_path / "ledger.go").touch()
        found = (await waits).text
        answer = json.loads(found[found.index('{"jsonrpc":"2.0","id":3') :].split("\n")[0])
        assert (answer["id"], text_of(answer)) == (3, "slow ann")
        assert lines_of(tmp_path / "ledger") == ["slow ann"]
        new = call.replace(b'"id": 2', b'"id": 4')
        await http.post(place.url, content=new, headers=headers)
        assert lines_of(tmp_path / "ledger") == ["slow ann"] * 2
        assert (await http.delete(place.url, headers=headers)).status_code == 200
        gone = await http.post(place.url, content=said(5, "ping"), headers=headers)
        assert gone.status_code == 404


async def test_a_stream_is_taken_up_where_it_was_lost(opened: Any, tmp_path: Path):
    """INVARIANT D21: what came meanwhile is sent, once, from the last event on."""
    async with opened([ledger(tmp_path)]) as place, httpx2.AsyncClient(timeout=WAIT) as http:
        headers = await begin(http, place.url)
        call = said(2, "tools/call", {"name": "slow", "arguments": {"to": "ann"}})
        async with http.stream("POST", place.url, content=call, headers=headers) as stream:
            mark, frame = await first_of(stream)
            assert "notifications/message" in frame
        (tmp_path / "ledger.go").touch()
        taking_up = {**headers, "Accept": "text/event-stream", "Last-Event-ID": mark}
        async with http.stream("GET", place.url, headers=taking_up) as stream:
            again, frame = await first_of(stream)
        assert (json.loads(frame)["id"], text_of(json.loads(frame))) == (2, "slow ann")
        assert again != mark
        assert lines_of(tmp_path / "ledger") == ["slow ann"]


async def first_of(stream: httpx2.Response) -> tuple[str, str]:
    """The first message of a stream, and its id."""
    assert stream.status_code == 200
    mark = ""
    async for line in stream.aiter_lines():
        if line.startswith("id: "):
            mark = line[4:]
        if line.startswith("data: {"):
            return mark, line[6:]
    raise AssertionError("the stream ended")


async def test_a_servers_stream_that_ends_early_is_taken_up(opened: Any):
    """INVARIANT D5: and the call is not sent again."""
    calls: list[str] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        body = b"{}"
        if scope["method"] == "GET" and (b"last-event-id", b"7") in scope["headers"]:
            headers = [(b"content-type", b"text/event-stream")]
            answer = {"content": [{"type": "text", "text": "kept"}]}
            body = event(json.dumps({"jsonrpc": "2.0", "id": 3, "result": answer}).encode(), "8")
        elif scope["method"] == "POST":
            message = json.loads((await receive())["body"])
            method = message["method"]
            calls.append(method)
            found: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {},
                                     "serverInfo": {"name": "x", "version": "1"}}  # fmt: skip
            if method == "tools/list":
                found = {"tools": [{"name": "once", "inputSchema": {"type": "object"}}]}
            body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": found}).encode()
            if method == "tools/call":
                headers = [(b"content-type", b"text/event-stream")]
                body = b"id: 7\nretry: 1\ndata:\n\n"
        status = 405 if scope["method"] == "GET" and body == b"{}" else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    stop, said_at = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_door(server, "127.0.0.1", 0, stop, said_at.set_result))
    try:
        url = (await said_at).removeprefix("listening: ")
        async with opened([Server("far", url=url)]) as place, place.client("legacy") as client:
            assert (await client.call_tool("once", {})).content[0].text == "kept"
    finally:
        stop.set()
        await serving
    assert calls.count("tools/call") == 1


async def test_a_pipe_is_a_client_of_the_run_that_is_there(opened: Any, tmp_path: Path):
    """The door starts the server; the pipe opens no store."""
    async with opened([ledger(tmp_path)]) as place:
        parts = urlsplit(place.url)
        door = {"HOLDFAST_DOOR": f"http://{parts.netloc}", "HOLDFAST_TOKEN": TOKEN}

        def use() -> None:
            client = Client(tmp_path, "--server", "mine", "--", sys.executable, LEDGER,
                            "paid", env=door)  # fmt: skip
            try:
                assert text_of(client.call("pay", to="ann")) == "pay ann"
                assert client.close() == 0
            finally:
                client.end()

        await asyncio.to_thread(use)
        assert lines_of(tmp_path / "paid") == ["pay ann"]  # in the pipe's own directory
        planned = [one for one in await place.events() if one.kind == "step.planned"]
        assert b"mine.pay" in planned[0].body
        wrong = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "holdfast.cli", "mcp", "--", "true"], cwd=tmp_path,
            env={**os.environ, **door, "HOLDFAST_TOKEN": "wrong"}, capture_output=True, text=True,
            input="",
        )  # fmt: skip
        assert wrong.returncode == 3
        assert "HOLDFAST_TOKEN" in wrong.stderr


def test_a_pipe_without_a_client_says_so(tmp_path: Path):
    """INVARIANT D191: in one line, whether or not there is a door that could be asked."""
    (tmp_path / "file").write_text("{}\n")
    door = {"HOLDFAST_DOOR": "http://127.0.0.1:1", "HOLDFAST_TOKEN": TOKEN}
    for path in (os.devnull, tmp_path / "file"):
        with Path(path).open("rb") as stdin:
            found = subprocess.run(
                [sys.executable, "-m", "holdfast.cli", "mcp", "--", "true"], cwd=tmp_path,
                env={**os.environ, **door}, capture_output=True, text=True, stdin=stdin,
            )  # fmt: skip
        assert found.returncode == 2
        assert "must be connected to stdin and stdout through pipes" in found.stderr
        assert len(found.stderr.splitlines()) == 1
