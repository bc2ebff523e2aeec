"""What the tests of the HTTP interface share: a seeded store, a site on it, and ways to ask it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

import holdfast
from holdfast.api.access import Access, Person, digest
from holdfast.api.app import create_app
from holdfast.api.site import Site
from holdfast.gate import Policy, parse_policy
from holdfast.runtime import Runtime
from holdfast.runtime.serving import served
from holdfast.runtime.settings import Settings
from holdfast.testing.clock import SeededDice
from holdfast.tools import world
from holdfast.values.ports import Clock, SystemClock, SystemDice

POLICY = parse_policy(
    """
version: 1
name: api-tests
rules:
  - id: reading
    when: {effect: [read, world]}
    then: allow
  - id: paying
    when: {tool: pay}
    then: escalate
    reason: money leaves
""",
    "api-tests",
)

ROLES = ("viewer", "approver", "admin")
TOKENS = {role: f"token-of-the-{role}-0123456789" for role in ROLES}
PEOPLE = {role: Person(f"{role}-person", role) for role in ROLES}
METRICS = "token-of-prometheus-0123456789"
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"


@holdfast.tool(effect="read")
async def look(n: int) -> dict:
    return {"n": n, "text": HOSTILE}


@holdfast.tool(effect="once")
async def pay(amount: int, to: str) -> str:
    return f"paid {amount} to {to}"


@holdfast.agent
async def reader(n: int = 2) -> int:
    total = 0
    for i in range(n):
        total += (await look(i))["n"]
    await world.write("notes/total.txt", f"{total}\n")
    return total


@holdfast.agent
async def shop(amount: int = 3) -> Any:
    await look(amount)
    return await pay(amount, "bob")


@holdfast.agent
async def asks() -> Any:
    return await holdfast.ask("Which colour?", choices=["red", "green"])


@holdfast.agent
async def listens() -> Any:
    return await holdfast.wait_for("go")


@holdfast.agent
async def breaks() -> None:
    await look(1)
    raise ValueError(HOSTILE)


async def seed(runtime: Runtime) -> None:
    """Runs of every kind: ended, failed, waiting for a person, a choice and a signal, forked."""
    for name, program in (("read", reader), ("bad", breaks)):
        handle = await runtime.launch(program, (), {}, name=name)
        with contextlib.suppress(holdfast.HoldfastError):
            await handle.result()
    for name, program in (("shop", shop), ("asks", asks), ("listens", listens)):
        await runtime.launch(program, (), {}, name=name)
        await until(lambda name=name: _waits(runtime, name))


async def _waits(runtime: Runtime, run: str) -> bool:
    return (await runtime.store.run(run)).status == "waiting"


async def until(true: Any, seconds: float = 60) -> None:
    """Wait for a condition, asked again and again."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.005)


def access(clock: Clock | None = None, **more: Any) -> Access:
    known = {digest(TOKENS[role]): PEOPLE[role] for role in ROLES}
    return Access(known, clock=clock or SystemClock(), dice=SystemDice(), metrics=digest(METRICS),
                  **more)  # fmt: skip


@contextlib.asynccontextmanager
async def site_on(
    directory: Path | None, *, clock: Clock | None = None, goes_on: bool = True,
    linger: float = 0.05, policy: Policy = POLICY, **more: Any,
) -> AsyncGenerator[Site]:  # fmt: skip
    """A site on a store in ``directory``, or in memory."""
    store = str(directory / ".holdfast") if directory else "unused"
    settings = Settings(store=store, linger=linger, user="local-user")
    async with Runtime(
        settings, store=None if directory else "memory", policy=policy, serve=goes_on,
        dice=SeededDice(1) if directory is None else None,
    ) as runtime:  # fmt: skip
        for one in (reader, shop, asks, listens, breaks):
            runtime.programs.add(one)
        yield Site(runtime, access(clock, **more), goes_on=goes_on, clock=clock)


class Reply(msgspec.Struct):
    """What came back, in this process."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1 or name == "set-cookie", found
        return found[-1] if found else ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        return self.header("set-cookie").partition(";")[0]


async def call(
    site: Site, method: str, path: str, *, token: str = "", json_body: Any = None,
    form: bytes = b"", host: str = "127.0.0.1:1", headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:  # fmt: skip
    """One request to the application of ``site``, without a network."""
    parts = urlsplit(path)
    sent = {"host": host} if host else {}
    content = body or form
    if token:
        sent["authorization"] = f"Bearer {token}"
    if json_body is not None:
        content, sent["content-type"] = json.dumps(json_body).encode(), "application/json"
    if form:
        sent["content-type"] = "application/x-www-form-urlencoded"
    sent |= headers or {}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "scheme": "http", "path": parts.path,
        "raw_path": parts.path.encode("utf-8", "surrogateescape"),
        "query_string": parts.query.encode("utf-8", "surrogateescape"), "root_path": "",
        "headers": [(key.encode(), value.encode("utf-8", "surrogateescape"))
                    for key, value in sent.items()],
        "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    told: list[Any] = [{"type": "http.request", "body": content, "more_body": False}]
    said: list[Any] = []

    async def receive() -> Any:
        if told:
            return told.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        said.append(message)

    await create_app(site)(scope, receive, send)
    start = said[0]
    return Reply(
        start["status"],
        [(key.decode().lower(), value.decode()) for key, value in start["headers"]],
        b"".join(one.get("body", b"") for one in said[1:]),
    )


@contextlib.contextmanager
def served_site(directory: Path) -> Generator[tuple[str, Site]]:
    """A seeded site on a real port, in a thread of its own: its address."""
    begun, over = threading.Event(), threading.Event()
    found: list[Any] = []

    async def main() -> None:
        async with site_on(directory) as site:
            await seed(site.runtime)
            async with served(create_app(site), leave=1.0) as url:
                found.extend((url, site))
                begun.set()
                await asyncio.to_thread(over.wait)
                site.feed.close()

    def run() -> None:
        try:
            asyncio.run(main())
        finally:
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(60)
        assert found, "the server did not begin"
        yield found[0], found[1]
    finally:
        over.set()
        thread.join()
