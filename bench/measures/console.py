"""The console in a real browser: a long run opened, and how soon an event is on the screen.

Needs chromium and Playwright (of the group dev) beside what the server needs; without them nothing
is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import holdfast
from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.runtime.settings import Settings

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
AGENTS = """\
import holdfast


@holdfast.tool(effect="read")
async def look(n: int) -> dict:
    return {"n": n, "text": f"page {n}"}


@holdfast.agent
async def long(count: int) -> int:
    for n in range(count):
        await look(n)
    return count


@holdfast.agent
async def paced(count: int) -> int:
    for _ in range(count):
        await look(await holdfast.wait_for("next"))
    return count
"""
WATCH = """\
window.shown = {};
const seen = () => {
  const list = document.querySelector(".tl[data-ready]");
  if (!list) return;
  if (window.ready === undefined && list.querySelector(".tl-row .lane")) {
    requestAnimationFrame(() => {
      window.ready ??= performance.now();
      document.documentElement.dataset.rows = "";
    });
  }
  for (const row of list.querySelectorAll(".tl-row")) {
    if (row.querySelector(".lane")) window.shown[row.id.slice(3)] ??= Date.now();
  }
};
new MutationObserver(seen).observe(document, { childList: true, subtree: true, attributes: true });
"""
"""Notes when the timeline had rows (ms since the navigation began), and when each row came."""


async def measure(ground: Ground) -> list[Figure]:
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        print("console: no Playwright here: nothing is measured")
        return []
    if not os.path.exists(CHROMIUM):  # noqa: PTH110, ASYNC240 - a look, no wait
        print(f"console: {CHROMIUM} is not there: nothing is measured")
        return []
    folder, events, times = ground.folder("console"), ground.size(10_000, 1_000), 7
    (folder / "agents.py").write_text(AGENTS)
    settings = ground.settings(folder, linger=0.0)
    async with holdfast.Runtime(settings) as runtime:
        program = runtime.programs.load(f"{folder}/agents.py:long")
        await (await runtime.launch(program, (events,), name="long")).result()
    async with _server(folder) as said, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = await (await browser.new_context(viewport={"width": 1200, "height": 800})).new_page()
        await page.add_init_script(WATCH)
        await page.request.post(
            f"{said['url']}/signin", form={"token": said["token"], "next": "/runs"}
        )
        opened: list[float] = []
        for _ in rounds(times):
            await page.goto(f"{said['url']}/runs/long")
            await page.wait_for_selector("html[data-rows]", state="attached")
            opened.append(await page.evaluate("window.ready"))
        other, own = await _lives(page, said, settings, folder, times)
        await browser.close()
    return [
        Figure(f"page of a run of {events:,} events, rows on the screen", median(opened), "ms",
               "<= 500 ms", median(opened) <= 500),
        Figure("live event from append to screen, of another process", median(other), "ms",
               "<= 200 ms", median(other) <= 200),
        Figure("live event from append to screen, of the server's process", median(own), "ms",
               "<= 200 ms", median(own) <= 200),
    ]  # fmt: skip


async def _lives(
    page: Any, said: dict[str, str], settings: Settings, folder: Path, times: int
) -> tuple[list[float], list[float]]:
    """How long events took that this process appends, and those of the server's process."""
    async with holdfast.Runtime(settings) as runtime:
        program = runtime.programs.load(f"{folder}/agents.py:paced")
        await runtime.launch(program, (2 * times,), name="live")
        await _waiting(runtime)
        await page.goto(f"{said['url']}/runs/live")
        await page.wait_for_selector("html[data-rows]", state="attached")
        await asyncio.sleep(1)  # the stream is open by then
        other = [await _once(page, runtime, n) for n in range(times)]
    async with holdfast.Runtime(settings) as runtime:  # it only looks on
        own = [await _once(page, runtime, n, said) for n in range(times, 2 * times)]
    return other, own


async def _waiting(runtime: holdfast.Runtime) -> None:
    while (await runtime.store.run("live")).status not in ("waiting", "done"):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def _once(
    page: Any, runtime: holdfast.Runtime, n: int, said: dict[str, str] | None = None
) -> float:
    """Have the run take a step, here or (``said``) in the server; ms from its commit to its row."""
    before = (await runtime.store.head("live")).pos
    if said is None:
        await runtime.signal("live", "next", n)
    else:
        reply = await page.request.post(
            f"{said['url']}/api/v1/runs/live/signal", data={"name": "next", "value": n},
            headers={"authorization": f"Bearer {said['token']}"},
        )  # fmt: skip
        assert reply.ok, await reply.text()
    while True:
        events = await runtime.store.read("live", before + 1)
        found = [
            one
            for one in events
            if one.kind == "step.settled" and (one.value or b"").startswith(b"{")
        ]
        if found:
            break
        await asyncio.sleep(0.005)
    await page.wait_for_selector(f"#tl-{found[0].pos} .lane", state="attached")
    at: float = await page.evaluate(f"window.shown[{found[0].pos}]")
    await _waiting(runtime)
    return at - found[0].at


@asynccontextmanager
async def _server(folder: Path) -> AsyncGenerator[dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast.cli", "serve", "--port", "0", "--json",
        "--policy", "allow.yaml", cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HOLDFAST_STORE": ".holdfast", "HOLDFAST_USER": "bench"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.communicate()
