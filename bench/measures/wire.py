"""The model wire: what `holdfast proxy` adds to a call and to a stream of a hundred pieces, beside
the same request made directly. Provider (a stand-in), proxy and client are processes of their own;
the proxy's journal is durable (FULL). Processor time is the proxy's, as the kernel counts it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.ground import Ground
from bench.report import Figure, median

PIECES = 100
TEXT = "eight ch" * PIECES
PACE_SECONDS = 0.002
SCRIPT = [
    {"text": TEXT, "size": 8, "again": True, "when": '"at once"'},
    {"text": TEXT, "size": 8, "again": True, "when": '"paced"', "pause": PACE_SECONDS},
    {"text": TEXT, "size": 8, "again": True, "when": '"slowly"', "pause": 0.03},
    {"text": "a short answer", "again": True},
]
POLICY = 'version: 1\nrules: [{id: all, when: {agent: "*"}, then: allow}]\n'
FLEET = 200
TICKS = os.sysconf("SC_CLK_TCK")


BARE = """
import asyncio, json, sys
import aiohttp
from holdfast.runtime.serving import served

async def main(upstream):
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)

    async def app(scope, receive, send):
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message["body"]
        kind = {"content-type": "application/json"}
        async with http.post(upstream + scope["path"], data=body, headers=kind) as reply:
            head = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": reply.status, "headers": head})
            while part := await reply.content.readany():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async with served(app) as url:
        print(json.dumps({"upstreams": {"anthropic": url}, "token": ""}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await http.close()

asyncio.run(main(sys.argv[1]))
"""
"""The least that a proxy on these parts does: what ours is compared with."""


class Proxy:
    """A running proxy: its address and headers for clients, its processor time and memory."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.url = told["upstreams"]["anthropic"]
        self.headers = {"x-api-key": told["token"]}
        self.pid = process.pid
        self._stat = Path(f"/proc/{process.pid}/stat")
        self._status = Path(f"/proc/{process.pid}/status")

    def spent_ms(self) -> float:
        """Processor time so far."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS * 1000

    def peak_mib(self) -> float:
        """Most memory so far."""
        line = next(one for one in self._status.read_text().splitlines() if "VmHWM" in one)
        return int(line.split()[1]) / 1024


@contextmanager
def _process(*command: str, folder: Path) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *command], text=True, cwd=folder, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.communicate()


def _lines(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def standing(folder: Path) -> Generator[tuple[str, Proxy, Proxy]]:
    """A provider's address, our proxy in front of it, and a bare one."""
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    (folder / "policy.yaml").write_text(POLICY)
    with ExitStack() as stack:
        server = stack.enter_context(
            _process("-m", "holdfast.testing.standin", "--script", "script.json", "--with-stdin",
                     folder=folder)
        )  # fmt: skip
        url = _lines(server)
        process = stack.enter_context(
            _process("-m", "holdfast.cli", "proxy", "--upstream", f"anthropic={url}", "--json",
                     "--policy", "policy.yaml", "--until-stdin-ends", folder=folder)
        )  # fmt: skip
        ours = Proxy(process, json.loads(_lines(process)))
        process = stack.enter_context(_process("-c", BARE, url, folder=folder))
        yield url, ours, Proxy(process, json.loads(_lines(process)))


def _body(number: int, pace: str, *, stream: bool) -> bytes:
    """A question of a person, and what a tool found since."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"n": number}}
    found = {"type": "tool_result", "tool_use_id": "toolu_1", "content": f"found {number}"}
    said = [
        {"role": "user", "content": "What is the answer?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [found]},
    ]
    body = {"model": "claude-sonnet-4-5", "max_tokens": 1000, "messages": said}
    return json.dumps({**body, "metadata": {"user_id": pace}, "stream": stream}).encode()


async def _ask(http: aiohttp.ClientSession, base: str, body: bytes) -> tuple[float, float, bytes]:
    """Milliseconds to the first byte and to the last, and what came."""
    start = time.perf_counter()
    async with http.post(f"{base}/v1/messages", data=body) as reply:
        first = await reply.content.readany()
        begun = time.perf_counter()
        rest = await reply.content.read()
        assert reply.status == 200, first
    return (begun - start) * 1e3, (time.perf_counter() - start) * 1e3, first + rest


async def _beside(
    places: list[tuple[aiohttp.ClientSession, str]], times: int, pace: str, *, stream: bool
) -> list[tuple[list[float], list[float]]]:
    """First and whole milliseconds in each place, asked in turns."""
    took: list[tuple[list[float], list[float]]] = [([], []) for _ in places]
    for number in range(times):
        for (http, base), (firsts, wholes) in zip(places, took, strict=True):
            first, whole, found = await _ask(http, base, _body(number, pace, stream=stream))
            assert not stream or b"message_stop" in found
            firsts.append(first)
            wholes.append(whole)
    return took


async def measure(ground: Ground) -> list[Figure]:
    """Added processor time and latency, and two hundred streams at once."""
    folder = ground.folder("wire")
    with standing(folder) as (url, proxy, bare):
        async with AsyncExitStack() as stack:
            places: list[tuple[aiohttp.ClientSession, str]] = []
            for base, headers in ((url, {}), (proxy.url, proxy.headers), (bare.url, {})):
                unbounded = aiohttp.TCPConnector(limit=0)
                http = aiohttp.ClientSession(connector=unbounded, headers=headers)
                places.append((await stack.enter_async_context(http), base))
            await _beside(places, 50, "warm", stream=False)
            await _beside(places, 10, "at once", stream=True)
            found: list[Figure] = []
            calls = ground.size(1000, 200)
            for what, pace, stream, times, limit in (
                ("a call", "short", False, calls, 0.5),
                (f"a stream of {PIECES} pieces", "at once", True, calls // 2, 1.5),
                (f"a stream of {PIECES} pieces, 2 ms apart", "paced", True, calls // 20, None),
            ):
                before = proxy.spent_ms(), bare.spent_ms()
                took = await _beside(places, times, pace, stream=stream)
                cpu = (proxy.spent_ms() - before[0]) / times, (bare.spent_ms() - before[1]) / times
                found += _figures(what, took, cpu, limit, stream=stream)
            found += await _fleet(places[1][0], proxy)
    return found


def _figures(
    what: str, took: list[tuple[list[float], list[float]]], spent: tuple[float, float],
    limit: float | None, *, stream: bool,
) -> list[Figure]:  # fmt: skip
    (first, whole), (later, last), (_, bare) = [(median(a), median(b)) for a, b in took]
    cpu, least = spent
    target, reached = (f"<= {limit:g} ms", cpu <= limit) if limit else ("", None)
    found = [
        Figure(f"wire, added CPU: {what}", cpu, "ms", target, reached, {"bare proxy": least}),
        Figure(
            f"wire, whole time: {what}", last, "ms", peers={"direct": whole, "bare proxy": bare}
        ),
    ]  # fmt: skip
    if stream:
        added = later - first
        found += [
            Figure(f"wire, added to the first byte: {what}", added, "ms", "<= 3 ms", added <= 3),
            Figure(f"wire, first byte: {what}", later, "ms", peers={"direct": first}),
        ]
    return found


async def _fleet(http: aiohttp.ClientSession, proxy: Proxy) -> list[Figure]:
    """Many streams at once, each of three seconds, on one core."""
    os.sched_setaffinity(proxy.pid, {max(os.sched_getaffinity(0))})
    before, start = proxy.spent_ms(), time.perf_counter()
    took = await asyncio.gather(
        *(_ask(http, proxy.url, _body(n, "slowly", stream=True)) for n in range(FLEET)),
        return_exceptions=True,
    )
    whole = [one for one in took if isinstance(one, tuple) and b"message_stop" in one[2]]
    busy = (proxy.spent_ms() - before) / 10 / (time.perf_counter() - start)
    dropped, memory = FLEET - len(whole), proxy.peak_mib()
    return [
        Figure(f"wire, dropped of {FLEET} streams at once", dropped, "", "0", not dropped),
        Figure(f"wire, memory with {FLEET} streams", memory, "MiB", "<= 200 MiB", memory <= 200),
        Figure(f"wire, share of one core for {FLEET} streams of 3 s", busy, "%"),
    ]
