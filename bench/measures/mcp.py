"""What `holdfast mcp` adds to one call of a tool: gate and journal (FULL) between a client and a
server that does nothing, over standard streams and over HTTP, beside the server alone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.ground import CHECKOUT, Ground, rounds
from bench.report import Figure, median

SERVER = str(CHECKOUT / "bench" / "mcp_side.py")
TOKEN = "a-token-for-the-bench"
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"}}  # fmt: skip
TICK = os.sysconf("SC_CLK_TCK")

Ask = Callable[[str, Any], Any]


@contextmanager
def streams(*command: str) -> Generator[tuple[Ask, int]]:
    """A client of a process at its standard streams: how to ask it, and its id."""
    with subprocess.Popen(
        [sys.executable, *command], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=None if os.environ.get("BENCH_DEBUG") else subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        write, flush, read = process.stdin.write, process.stdin.flush, process.stdout.readline
        count = 0

        def ask(method: str, params: Any) -> Any:
            nonlocal count
            count += 1
            body = {"jsonrpc": "2.0", "id": count, "method": method, "params": params}
            write(json.dumps(body).encode() + b"\n")
            flush()
            while (found := json.loads(read())).get("id") != count:
                pass
            return found["result"]

        ask("initialize", GREETING)
        yield ask, process.pid
        process.stdin.close()


@contextmanager
def listening(*command: str) -> Generator[tuple[str, int]]:
    """A process that listens: its address and id."""
    with subprocess.Popen(
        [sys.executable, *command], cwd=CHECKOUT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("listening: "):
            if not line:
                raise RuntimeError(f"{command} ended")
        yield line.split()[1], process.pid
        process.terminate()


@contextmanager
def web(url: str) -> Generator[Ask]:
    """A client over HTTP, on one connection."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    link = http.client.HTTPConnection(parts.hostname, parts.port)
    link.connect()  # head and body go out at once, not when the other side has heard the head
    link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}",
               "Accept": "application/json, text/event-stream"}  # fmt: skip
    count = 0

    def ask(method: str, params: Any) -> Any:
        nonlocal count
        count += 1
        body = {"jsonrpc": "2.0", "id": count, "method": method, "params": params}
        link.request("POST", parts.path, json.dumps(body).encode(), headers)
        response = link.getresponse()
        if mark := response.getheader("mcp-session-id"):
            headers["Mcp-Session-Id"] = mark
        return json.loads(response.read())["result"]

    ask("initialize", GREETING)
    yield ask
    link.close()


def cpu_of(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def took(ask: Ask, tool: str, times: int, mark: str) -> list[float]:
    """Milliseconds of each call."""
    found: list[float] = []
    for number in range(times):
        params = {"name": tool, "arguments": {"to": f"{mark}{number}"}}
        start = time.perf_counter()
        ask("tools/call", params)
        found.append((time.perf_counter() - start) * 1e3)
    return found


def compared(
    name: str, direct: Ask, through: Ask, process: int, ground: Ground, most: float
) -> list[Figure]:
    times = ground.size(1_000, 200)
    for one in (direct, through):
        took(one, "look", 50, "warm")
    figures: list[Figure] = []
    for tool, effect in (("look", "read"), ("pay", "once")):
        alone: list[float] = []
        both: list[float] = []
        cpu = 0.0
        for turn in rounds(ground.size(5, 2)):
            alone += took(direct, tool, times, f"d{turn}.")
            before = cpu_of(process)
            both += took(through, tool, times, f"t{turn}.")
            cpu += cpu_of(process) - before
        added = median(both) - median(alone)
        figures.append(Figure(
            f"MCP over {name}, added to a {effect} call, p50", added, "ms", f"<= {most:g} ms",
            added <= most, {"direct": median(alone)},
            note=f"{median(both) / median(alone):.1f} x, CPU {cpu / len(both) * 1e3:.2f} ms",
        ))  # fmt: skip
    return figures


async def measure(ground: Ground) -> list[Figure]:
    folder = ground.folder("mcp")
    settings = ground.settings(folder)
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    proxy = ("-m", "holdfast.cli", "mcp", "--policy", settings.policy)
    figures: list[Figure] = []
    with ExitStack() as stack:
        direct, _ = stack.enter_context(streams(SERVER))
        store = ("--store", str(folder / "streams"))
        through, process = stack.enter_context(
            streams(*proxy, *store, "--", sys.executable, SERVER)
        )
        figures += compared("stdio", direct, through, process, ground, 1.0)
    with ExitStack() as stack:
        url, _ = stack.enter_context(listening(SERVER, "http"))
        store = ("--store", str(folder / "web"))
        door = ("--url", url, "--listen", "127.0.0.1:0", "--token-file", str(token))
        at, process = stack.enter_context(listening(*proxy, *store, *door))
        direct = stack.enter_context(web(url))
        through = stack.enter_context(web(at))
        figures += compared("HTTP", direct, through, process, ground, 2.0)
    return figures
