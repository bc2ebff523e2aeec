"""Every page for everybody: no serious finding of axe in light or dark, and narrow screens."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import PATIENCE, Seat

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)

AXE = (Path(__file__).parent / "axe.min.js").read_text()
PAGES = {
    "/signin": "Sign in",
    "/runs": "Runs",
    "/runs?text=nothing-is-called-so": "Runs",
    "/runs/case-17": "case-17",
    "/runs/family?view=tree": "family",
    "/runs/evil?view=raw": "evil",
    "/runs/writer/events/3": "Event",
    "/runs/case-17/steps/5": "Step",
    "/runs/case-17/why/5": "Why",
    "/runs/case-17/fork?step=1": "Fork",
    "/compare?a=family.1&b=family.2": "Compare",
    "/inbox/case-17": "Inbox",
    "/merge": "Merge",
    "/policy": "Policy",
    "/spend": "Spend",
    "/anomalies": "Anomalies",
    "/agents": "Agents",
}


async def findings(page: Page, rules: str = "") -> list[str]:
    """What axe calls serious or critical, with the places."""
    options = f"{{runOnly: ['{rules}']}}" if rules else "{}"
    found = await page.evaluate(f"axe.run(document, {options})")
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_for_everybody(seat: Seat, path: str):
    page = await seat.open(path)
    await expect(page.get_by_role("heading", name=PAGES[path]).first).to_be_visible()
    await page.wait_for_load_state()
    await page.evaluate(AXE)
    await page.emulate_media(color_scheme="light")
    assert not await findings(page)
    await page.emulate_media(color_scheme="dark")
    assert not await findings(page, "color-contrast")
    await page.set_viewport_size({"width": 380, "height": 800})
    wide = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0
