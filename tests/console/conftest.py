"""A store that real agents filled, a real server on it, and a real browser before it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from holdfast import Runtime, Settings

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVENTS = 10_000
"""Events of the long run, and two: its beginning and its end."""
PATIENCE = int(os.environ.get("HOLDFAST_TEST_PATIENCE", "30000"))
"""How long a condition may take to come true, in milliseconds: far more than it does."""


class Store:
    """A directory with agents and a store. ``runs``: ids by agent."""

    def __init__(self, place: Path) -> None:
        self.place = place
        shutil.copy(Path(__file__).parent / "console_agents.py", place / "console_agents.py")
        self.settings = Settings(
            store=str(place / ".holdfast"), synchronous="NORMAL", user="ann", linger=0.0
        )
        self.runs: dict[str, str] = {}

    async def run(self, agent: str, *args: Any, name: str = "", waits: bool = False) -> str:
        """Run an agent until it ends, or (``waits``) until it waits for somebody."""
        async with Runtime(self.settings) as runtime:
            program = runtime.programs.load(f"console_agents.py:{agent}")
            handle = await runtime.launch(program, args, name=name)
            if waits:
                while (await runtime.store.run(handle.id)).status != "waiting":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            else:
                await asyncio.gather(handle.result(), return_exceptions=True)
        self.runs.setdefault(agent, handle.id)
        return handle.id


class Server:
    """``holdfast serve`` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, said: dict[str, str]) -> None:
        self.process = process
        self.url = said["url"]
        self.token = said["token"]
        self.signin = said["signin"]


async def serve(store: Store, *options: str) -> Server:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast.cli", "serve", "--port", "0", "--json", *options,
        cwd=store.place, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HOLDFAST_STORE": ".holdfast", "HOLDFAST_USER": "ann"},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await process.stdout.readline()
    return Server(process, json.loads(line))


async def stop(server: Server) -> None:
    server.process.terminate()
    async with asyncio.timeout(60):
        await server.process.communicate()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Runs of every kind: a long one, a failed one, one with children, one with a world, one whose
    tool says hostile things, and two that wait for a person."""
    found = Store(tmp_path_factory.mktemp("console"))
    await found.run("long", EVENTS, name="long")
    await found.run("evil", name="evil")
    await found.run("broken", name="broken")
    await found.run("parent", name="family")
    await found.run("writer", "notes.md", "hello\n", name="writer")
    await found.run("colour", name="shed", waits=True)
    await found.run("support", "A-17", name="case-17", waits=True)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(store: Store) -> AsyncIterator[Server]:
    made = await serve(store)
    yield made
    await stop(made)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not os.path.exists(CHROMIUM):  # noqa: PTH110, ASYNC240 - a look, no wait
        if os.environ.get("HOLDFAST_TEST_BROWSER") == "required":
            pytest.fail(f"{CHROMIUM} is not there, and HOLDFAST_TEST_BROWSER says it must be")
        pytest.skip(f"{CHROMIUM} is not there: apt install chromium")
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield made
        await made.close()


class Seat:
    """A browser that is signed in, and what its console complained about."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.troubles: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text}")

    async def open(self, path: str) -> Page:
        await self.page.goto(self.url + path)
        return self.page


@pytest_asyncio.fixture(loop_scope="session")
async def seat(browser: Browser, server: Server) -> AsyncIterator[Seat]:
    """A person at a browser. Whatever the page breaks of its policy, and every error in its
    console, fails the test (INVARIANT X133 is what they rest on)."""
    context = await browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    made = Seat(context, page, server.url)
    await page.request.post(f"{server.url}/signin", form={"token": server.token, "next": "/runs"})
    yield made
    troubles = [one for one in made.troubles if not any(want in one for want in made.expected)]
    await context.close()
    assert not troubles
