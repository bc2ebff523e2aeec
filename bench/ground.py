"""What measures stand on: a place on the disk, the floor, the peer, and child processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import holdfast

CHECKOUT = Path(__file__).resolve().parent.parent
ALLOW = """\
version: 1
name: allow
otherwise: allow
rules: []
"""


class Ground:
    """One measuring session: ``quick`` asks for small sizes; files live on the checkout's disk."""

    def __init__(self, quick: bool, peers: bool = True) -> None:
        self.quick = quick
        self.with_peers = peers
        cache = CHECKOUT / ".cache"
        cache.mkdir(exist_ok=True)
        self.root = Path(tempfile.mkdtemp(prefix="bench-", dir=cache))
        self._count = 0
        self._peer: Side | None = None

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def folder(self, name: str) -> Path:
        self._count += 1
        path = self.root / f"{name}-{self._count}"
        path.mkdir()
        return path

    def settings(self, folder: Path, **more: Any) -> holdfast.Settings:
        """Settings as a user would have them, but that ``once`` is allowed without asking."""
        policy = folder / "allow.yaml"
        policy.write_text(ALLOW)
        return holdfast.Settings(
            store=str(folder / ".holdfast"), policy=str(policy), user="bench", **more
        )

    @contextlib.asynccontextmanager
    async def runtime(self, name: str, **more: Any) -> AsyncGenerator[holdfast.Runtime]:
        async with holdfast.Runtime(self.settings(self.folder(name), **more)) as runtime:
            yield runtime

    @property
    def peer(self) -> Side | None:
        """DBOS on SQLite in a child process that lives as long as this session."""
        if not self.with_peers:
            return None
        if self._peer is None:
            self._peer = dbos(self.folder("dbos"))
        return self._peer


class Side:
    """A child process that answers one JSON line with one JSON line."""

    def __init__(self, module: str, *args: str, quiet: bool = True) -> None:
        self.spawned = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args], cwd=CHECKOUT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet and not os.environ.get("BENCH_DEBUG") else None,
        )  # fmt: skip

    def hear(self) -> dict[str, Any]:
        """The next line from the child."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self._process.args} ended "
                f"({self._process.wait()}); BENCH_DEBUG=1 shows its errors"
            )
        return json.loads(line)

    def ask(self, do: str, **args: Any) -> dict[str, Any]:
        """Ask for one thing and wait for the answer; for code without an event loop."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **args}) + "\n")
        self._process.stdin.flush()
        return self.hear()

    async def call(self, do: str, **args: Any) -> dict[str, Any]:
        """`ask` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.ask(do, **args))

    def kill(self) -> None:
        """SIGKILL: the child gets no chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()


def dbos(folder: Path) -> Side:
    """A DBOS process on the SQLite file in ``folder``, launched (runs left there are recovered)."""
    side = Side("bench.dbos_side", str(folder))
    side.hear()
    return side


def answer(handlers: dict[str, Any]) -> None:
    """The other end of a `Side`: answer lines from stdin until it closes. Each handler is an
    asynchronous function from keywords to a dict; ``ready`` is called first, if it is there."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes elsewhere

    async def main() -> None:
        ready = handlers.get("ready")
        out.write(json.dumps(await ready() if ready else {}) + "\n")
        out.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            out.write(json.dumps(await handlers[asked.pop("do")](**asked)) + "\n")
            out.flush()

    asyncio.run(main())
    os._exit(0)  # peers keep threads that would hold the process


class Raw:
    """The floor: 300-byte one-row commits in SQLite, WAL, ``synchronous=FULL``, log pre-grown."""

    def __init__(self, folder: Path) -> None:
        self._conn = sqlite3.connect(folder / "raw.db", isolation_level=None)
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.execute("PRAGMA synchronous=FULL")
        self._conn.execute("CREATE TABLE row(id INTEGER PRIMARY KEY, body TEXT)")
        self._conn.execute("BEGIN")
        self._conn.executemany("INSERT INTO row(body) VALUES(?)", [("x" * 300,)] * 13_000)
        self._conn.execute("COMMIT")
        self.cpu = 0.0
        self.rate(200)

    def rate(self, count: int) -> float:
        """Commits per second over ``count`` commits; ``cpu``: CPU seconds that one of them took."""
        conn, body = self._conn, "x" * 300
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("INSERT INTO row(body) VALUES(?)", (body,))
            conn.execute("COMMIT")
        self.cpu = (time.process_time() - cpu) / count
        return count / (time.perf_counter() - start)


async def until(test: Callable[[], Any | Awaitable[Any]], pause: float = 0.001) -> None:
    """Wait until ``test()`` holds. Marks and rows of a store ring no bell: they are polled."""
    while True:
        found = test()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(pause)


async def waiting(handle: holdfast.Handle) -> bool:
    """Whether a run's row says that it waits."""
    return await handle.status() == "waiting"


class Spent:
    """Wall-clock and process-CPU seconds spent inside a ``with`` block."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu = 0.0

    def __enter__(self) -> Spent:
        gc.collect()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start[0]
        self.cpu = time.process_time() - self._start[1]


def rss_mib(peak: bool = False) -> float:
    """Resident memory of this process, now or at its highest, in MiB."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) / 1024
    return 0.0


def rounds(count: int) -> Iterator[int]:
    """Round numbers, with the garbage of the last one collected."""
    for number in range(count):
        gc.collect()
        yield number
