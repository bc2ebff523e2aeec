"""The timeline: only rows in sight exist, whatever the length of the run."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from holdfast import Runtime
from tests.console.conftest import EVENTS, PATIENCE, Seat, Store

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)


COUNT = re.compile(f"{EVENTS // 10}[2-9]")
"""Its events, and what the server that follows the store found about them."""


def rows(page: Page):
    return page.get_by_role("grid", name="Events").get_by_role("row")


async def test_a_long_run_opens_and_scrolls(seat: Seat):
    """INVARIANT X138: a run of ten thousand events makes no ten thousand rows."""
    page = await seat.open("/runs/long")
    await expect(rows(page).filter(has_text="tool look(n=0)")).to_be_visible()
    await expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", COUNT)
    assert await rows(page).count() < 200
    assert len(await page.content()) < 300_000
    await page.get_by_role("grid").focus()
    await page.wait_for_load_state()
    await page.keyboard.press("End")
    await expect(rows(page).filter(has_text=f"tool look(n={EVENTS - 1})")).to_be_visible()
    await page.get_by_role("grid").evaluate("view => { view.scrollTop = view.scrollHeight / 2 }")
    await expect(rows(page).filter(has_text=f"look(n={EVENTS // 2})").first).to_be_visible()
    assert await rows(page).count() < 200


async def test_rows_are_walked_and_opened_with_keys(seat: Seat):
    page = await seat.open("/runs/case-17")
    await expect(rows(page).filter(has_text="asks:")).to_have_attribute("aria-selected", "true")
    await page.wait_for_load_state()
    await page.keyboard.press("k")
    await page.wait_for_load_state()
    await page.keyboard.press("k")
    await page.wait_for_load_state()
    await page.keyboard.press("j")
    chosen = rows(page).filter(has_text="tool look(n=3)")
    await expect(chosen).to_have_attribute("aria-selected", "true")
    await page.wait_for_load_state()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Event #4")).to_be_visible()


async def test_all_events_are_searched(seat: Seat):
    page = await seat.open("/runs/long")
    await expect(rows(page).first).to_be_visible()
    await page.wait_for_load_state()
    await page.keyboard.press("/")
    await page.keyboard.type("n=9876)")
    await expect(rows(page)).to_have_count(1)
    said = page.get_by_role("status").filter(has_text=re.compile("1 of 10,00[2-9]"))
    await expect(said).to_be_visible()


async def test_events_are_added_while_a_run_goes_on(seat: Seat, store: Store):
    async with Runtime(store.settings) as runtime:
        program = runtime.programs.load("console_agents.py:paced")
        handle = await runtime.launch(program, (), name="growing")
        await runtime.signal("growing", "next", 1)
        page = await seat.open("/runs/growing")
        await expect(rows(page).filter(has_text="look(n=1)")).to_be_visible()
        await page.evaluate("window.still = true")
        await runtime.signal("growing", "next", 2)
        await expect(rows(page).filter(has_text="look(n=2)")).to_be_visible()
        async with asyncio.timeout(60):
            await handle.result()
    await expect(page.get_by_text("done").first).to_be_visible()
    assert await page.evaluate("window.still")
