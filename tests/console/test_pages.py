"""The pages, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.console.conftest import PATIENCE, Seat, Store

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)


async def test_runs_are_listed_and_filtered_by_the_address(seat: Seat):
    page = await seat.open("/runs")
    await expect(page.get_by_role("link", name="case-17")).to_be_visible()
    await page.get_by_label("Status").select_option("failed")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("link", name="broken")).to_be_visible()
    await expect(page.get_by_role("link", name="case-17")).to_have_count(0)
    assert "status=failed" in page.url
    await page.reload()
    await expect(page.get_by_text("the ledger does not balance")).to_be_visible()
