"""The live stream over a real port: resuming, what was missed, other processes, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from holdfast.api.app import create_app
from holdfast.api.site import Site
from holdfast.runtime.serving import served
from holdfast.values import limits
from tests.api.sites import PEOPLE, TOKENS, call, seed, site_on, until

VIEWER = {"Authorization": f"Bearer {TOKENS['viewer']}"}

OTHER = """
import asyncio
from holdfast.runtime import Runtime
from holdfast.runtime.settings import Settings
from tests.api.sites import POLICY, reader

async def main():
    async with Runtime(Settings(store={store!r}), policy=POLICY) as runtime:
        print("up", flush=True)
        await asyncio.to_thread(input)
        await (await runtime.launch(reader, (), dict(n=1), name="elsewhere")).result()

asyncio.run(main())
"""


class Frame(msgspec.Struct):
    """One server-sent event. ``id``: "" for none; ``what``: "" for a plain one."""

    id: str = ""
    what: str = ""
    data: Any = None


async def frames(reply: aiohttp.ClientResponse) -> AsyncIterator[Frame]:
    frame = Frame()
    async for raw in reply.content:
        name, _, value = raw.decode().rstrip("\n").partition(": ")
        match name:
            case "id":
                frame.id = value
            case "event":
                frame.what = value
            case "data":
                frame.data = json.loads(value)
            case "" if frame != Frame():
                yield frame
                frame = Frame()
            case _:
                pass


async def read(url: str, count: int, query: str = "", **headers: str) -> list[Frame]:
    """The first so many frames with something in them."""
    found: list[Frame] = []
    sent = VIEWER | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{url}/api/v1/live{query}", headers=sent) as reply,
    ):
        assert reply.status == 200
        assert reply.content_type == "text/event-stream"
        async for frame in frames(reply):
            if frame.data is not None:
                found.append(frame)
            if len(found) >= count:
                return found
    raise AssertionError(f"the stream ended after {found}")


@contextlib.asynccontextmanager
async def serving(directory: Path) -> AsyncGenerator[tuple[Site, str]]:
    async with site_on(directory) as site, served(create_app(site), leave=1.0) as url:
        try:
            yield site, url
        finally:
            site.feed.close()


async def test_a_stream_goes_on_where_it_broke_without_a_gap_or_a_double(tmp_path: Path):
    async with serving(tmp_path) as (site, url):
        await seed(site.runtime)
        last = await site.store.last_seq()
        first = await read(url, 3, "?after=0")
        rest = await read(url, last - 3, "?after=0", Last_Event_ID=first[-1].id)
        assert [int(one.id) for one in first + rest] == list(range(1, last + 1))
        assert [one.data["seq"] for one in first + rest] == list(range(1, last + 1))
        assert first[0].data["kind"] == "run.started"
        only = await read(url, 5, "?after=0&run=read")
        assert [(one.data["run"], one.data["pos"]) for one in only] == [
            ("read", pos) for pos in range(5)
        ]


async def test_what_is_appended_here_and_by_other_processes_is_told(tmp_path: Path):
    async with serving(tmp_path) as (site, url):
        await seed(site.runtime)
        last = await site.store.last_seq()
        program = OTHER.format(store=site.settings.store)
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert other.stdout is not None
        assert other.stdin is not None
        assert await other.stdout.readline() == b"up\n"
        async with asyncio.timeout(60):
            listening = asyncio.create_task(read(url, 1, f"?after={last}"))
            await until(lambda: len(site.feed._listeners) == 1)
            # an answer that this process takes, then a run that another one makes
            answer = {"decision": "answer", "value": "red"}
            await call(site, "POST", "/api/v1/runs/asks/answer", token=TOKENS["approver"],
                       json_body=answer)  # fmt: skip
            (given,) = await listening
            assert (given.data["run"], given.data["kind"]) == ("asks", "approval.given")
            await until(lambda: not site.feed._listeners)
            there = asyncio.create_task(read(url, 4, "?run=elsewhere"))
            await until(lambda: len(site.feed._listeners) == 1)
            other.stdin.write(b"\n")
            other.stdin.close()
            assert [one.data["pos"] for one in await there] == [0, 1, 2, 3]
            await other.wait()
        await until(lambda: not site.feed._listeners)


async def test_who_is_too_far_behind_is_told_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """X115."""
    async with serving(tmp_path) as (site, url):
        await seed(site.runtime)
        last = await site.store.last_seq()
        monkeypatch.setattr(limits, "LIVE_BACKLOG_EVENTS", last - 2)
        (missed,) = await read(url, 1, "?after=0")
        assert (missed.what, missed.id) == ("missed", str(last))
        assert missed.data == {"after": 0, "through": last}
        fine = await read(url, 1, "?after=2")
        assert fine[0].id == "3"


async def test_streams_end_when_their_browser_is_signed_out_or_the_server_stops(tmp_path: Path):
    """X115."""
    async with serving(tmp_path) as (site, url):
        secret = site.access.open(PEOPLE["viewer"])
        async with aiohttp.ClientSession() as client, asyncio.timeout(60):
            sent = {"Cookie": f"{site.access.cookie}={secret}"}
            one = await client.get(f"{url}/api/v1/live", headers=sent)
            other = await client.get(f"{url}/api/v1/live", headers=VIEWER)
            await until(lambda: len(site.feed._listeners) == 2)
            site.access.close(secret)
            site.feed._ring()
            await one.read()
            await until(lambda: len(site.feed._listeners) == 1)
            site.feed.close()
            await other.read()
        await until(lambda: not site.feed._listeners)


async def test_a_burst_of_streams_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "LIVE_CONNECTIONS", 3)
    async with site_on(tmp_path) as site:
        held = asyncio.get_running_loop().create_future()
        codes: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])
                if message["status"] == 200:
                    await held  # the client takes nothing yet: nobody listens

        scope = {
            "type": "http", "method": "GET", "scheme": "http", "path": "/api/v1/live",
            "raw_path": b"/api/v1/live", "query_string": b"", "root_path": "",
            "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "headers": [(b"host", b"127.0.0.1:1"),
                        (b"authorization", VIEWER["Authorization"].encode())],
            "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 1),
        }  # fmt: skip
        app = create_app(site)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        streams = [
            asyncio.create_task(app({**scope, "state": {}}, receive, send)) for _ in range(8)
        ]
        await until(lambda: len(codes) == 8)
        assert sorted(codes) == [200] * 3 + [503] * 5
        for one in streams:
            one.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        assert not site.feed._listeners


async def test_streams_are_bounded_and_places_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with serving(tmp_path) as (site, url):
        monkeypatch.setattr(limits, "LIVE_CONNECTIONS", 1)
        async with aiohttp.ClientSession(headers=VIEWER) as client:
            for wrong in ("x", "-1", "1" * 30, "٣"):
                sent = {"Last-Event-ID": wrong}
                reply = await client.get(f"{url}/api/v1/live", headers=sent)
                assert reply.status == 400, wrong
            held = await client.get(f"{url}/api/v1/live")
            await until(lambda: len(site.feed._listeners) == 1)
            full = await client.get(f"{url}/api/v1/live")
            assert full.status == 503
            held.close()
