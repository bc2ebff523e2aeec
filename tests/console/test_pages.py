"""The pages in a real browser: lists, links that stay, and what hostile text comes to."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.console.conftest import PATIENCE, Seat, Server, Store

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)


async def test_runs_are_listed_and_filtered_by_the_address(seat: Seat):
    page = await seat.open("/runs")
    await expect(page.get_by_role("link", name="case-17", exact=True)).to_be_visible()
    await page.get_by_label("Status").select_option("failed")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("link", name="broken", exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name="case-17", exact=True)).to_have_count(0)
    assert "status=failed" in page.url
    await page.reload()
    await expect(page.get_by_text("the ledger does not balance")).to_be_visible()
    await page.goto(f"{seat.url}/runs?text=ledger")
    await expect(page.get_by_role("row")).to_have_count(2)


async def test_a_list_has_pages_with_addresses(seat: Seat):
    """INVARIANT X131: a page of runs is bounded, and says where the next one begins."""
    page = await seat.open("/runs?limit=2&agent=quick")
    rows = page.get_by_role("table", name="Runs").get_by_role("row")
    await expect(rows).to_have_count(3)
    first = await rows.nth(1).get_by_role("link").first.inner_text()
    page = await seat.open("/runs?limit=1&agent=quick")
    await page.get_by_role("link", name="Older").click()
    await expect(rows).to_have_count(2)
    await expect(rows.nth(1)).not_to_contain_text(first)
    await page.get_by_role("link", name="Newest").click()
    await expect(page.get_by_role("link", name=first, exact=True)).to_be_visible()


async def test_a_new_run_appears_without_a_reload(seat: Seat, store: Store):
    page = await seat.open("/runs")
    await page.evaluate("window.still = true")
    await store.run("quick", name="just-now")
    row = page.get_by_role("row").filter(has_text="just-now")
    await expect(row).to_contain_text("done")
    assert await page.evaluate("window.still")


async def test_a_script_in_a_result_is_text(seat: Seat):
    """INVARIANT X130: what agents and tools say reaches a page as text."""
    for path in ("/runs/evil", "/runs/evil/steps/1", "/runs/evil/events/1", "/runs/evil?view=raw",
                 "/runs/evil/why/1"):  # fmt: skip
        page = await seat.open(path)
        await expect(page.get_by_text("<script>window.owned = 1</script>").first).to_be_attached()
        await page.wait_for_load_state()
        assert await page.evaluate("window.owned") is None
        assert "\u202e" not in await page.content()


async def test_every_event_and_step_has_an_address_that_stays(seat: Seat):
    page = await seat.open("/runs/writer/steps/3")
    await expect(page.get_by_role("heading", name="tool world.edit")).to_be_visible()
    await expect(page.get_by_role("group", name="World")).to_contain_text("+rye bread")
    await page.get_by_role("link", name="#3").click()
    await expect(page.get_by_role("heading", name="Event #3")).to_be_visible()
    here = page.url
    await page.reload()
    assert page.url == here
    await expect(page.get_by_role("heading", name="As recorded")).to_be_visible()
    await page.wait_for_load_state()
    await page.keyboard.press("p")
    await expect(page.get_by_role("heading", name="Event #2")).to_be_visible()
    await page.goto(f"{seat.url}/runs/writer/events/999")
    seat.expected.append("404")
    await expect(page.get_by_text("has no event #999")).to_be_visible()


async def test_why_says_where_values_came_from(seat: Seat):
    page = await seat.open("/runs/case-17/steps/5")
    panel = page.get_by_role("region", name="Why", exact=True)
    await expect(panel).to_contain_text("the input of support")
    await expect(panel.get_by_role("row").filter(has_text="iban")).to_contain_text("carried")


async def test_the_tree_draws_children(seat: Seat):
    page = await seat.open("/runs/family?view=tree")
    tree = page.get_by_role("region", name="Forks and children")
    await tree.get_by_role("link", name="family.2 quick done child of @2").click()
    await expect(page.get_by_role("heading", name="family.2")).to_be_visible()


async def test_long_text_is_cut_until_it_is_asked_for(seat: Seat, store: Store):
    await store.run("evil", "x" * 9_000 + "the-end", name="wordy")
    page = await seat.open("/runs/wordy/steps/1")
    await expect(page.get_by_text("the-end")).to_have_count(0)
    await page.get_by_role("link", name="Show all").first.click()
    await expect(page.get_by_text("the-end").first).to_be_attached()


async def test_without_scripts_pages_read_and_forms_work(
    browser: Browser, server: Server, store: Store
):
    await store.run("colour", name="plain-form", waits=True)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{server.url}/inbox/plain-form")
    await page.get_by_label("Token").fill(server.token)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("green").check()
    await page.get_by_role("button", name="Answer").click()
    await expect(page.get_by_text("answered plain-form@1")).to_be_visible()
    await page.goto(f"{server.url}/runs/long?view=raw")
    await page.get_by_role("link", name="Later").click()
    await expect(page.get_by_role("row")).to_have_count(201)
    await expect(page.get_by_role("row").nth(1)).to_contain_text("tool look")
    await context.close()


async def test_a_theme_is_kept(seat: Seat):
    page = await seat.open("/runs")
    for theme in ("light", "dark"):
        await page.get_by_role("button", name="Theme").click()
        assert await page.evaluate("document.documentElement.dataset.theme") == theme
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.get_by_role("button", name="Theme").click()
    assert await page.evaluate("document.documentElement.dataset.theme") is None


async def test_keys_lead_through_lists(seat: Seat):
    page = await seat.open("/runs")
    await page.wait_for_load_state()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.wait_for_load_state()
    await page.keyboard.press("Escape")
    await page.wait_for_load_state()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Text")).to_be_focused()
    await page.wait_for_load_state()
    await page.keyboard.press("Escape")
    await page.wait_for_load_state()
    await page.keyboard.press("j")
    first = page.get_by_role("table", name="Runs").get_by_role("row").nth(1).get_by_role("link")
    await expect(first.first).to_be_focused()
    await page.wait_for_load_state()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("navigation", name="Views")).to_be_visible()
