"""Changing a policy from its page: looked at first, saved whole, the old text kept."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from holdfast import Settings
from holdfast.api.console.policy import save
from tests.console.conftest import PATIENCE, Store, serve, stop

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)

POLICY = """\
version: 1
name: ours
rules:
  - id: reading
    when: {effect: [read, world]}
    then: allow
otherwise: escalate
"""


async def rule_is_proposed(page: Page, url: str) -> None:
    """INVARIANT X210: what would always be allowed is shown as a change, and saved by nobody."""
    await page.goto(f"{url}/inbox/asks")
    await page.get_by_text("The rule that would ask no more").click()
    change = page.get_by_role("group", name="Change of rules.yaml")
    await expect(change).to_contain_text('args.order == \\"A-1\\"')
    await expect(change).to_contain_text("ann proposed this in asks@5")
    await page.get_by_role("button", name="Try it on the past").click()
    milder = page.get_by_role("table", name="Milder")
    await expect(milder.get_by_role("row").filter(has_text="refund")).to_have_count(1)
    await expect(page.get_by_role("link", name="Inbox 1")).to_be_visible()


async def test_a_change_is_tried_on_the_past_and_put_in_force(browser: Browser, tmp_path: Path):
    """INVARIANT X135: only what was checked is saved, and only over what it was made from."""
    folder = tmp_path / "policy"
    folder.mkdir()
    file = folder / "rules.yaml"
    file.write_text(POLICY)
    store = Store(tmp_path)
    store.settings = Settings(
        store=str(tmp_path / ".holdfast"), synchronous="NORMAL", user="ann", policy=str(folder)
    )
    await store.run("quick", name="before")
    await store.run("support", "A-1", name="asks", waits=True)
    server = await serve(store, "--policy", "policy")
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(server.signin)
        await rule_is_proposed(page, server.url)
        assert file.read_text() == POLICY
        await page.goto(f"{server.url}/policy")
        text = page.get_by_label("Text of rules.yaml")
        await text.fill(POLICY.replace("effect", "efect"))
        await page.get_by_role("button", name="Check and try on the past").click()
        await expect(page.get_by_role("alert")).to_contain_text("efect")
        await expect(page.get_by_role("button", name="Put in force")).to_have_count(0)
        rule = "  - {id: no-looking, when: {tool: look}, then: deny, reason: eyes shut}\n"
        stricter = POLICY.replace("otherwise:", f"{rule}otherwise:")
        await page.get_by_label("Text of rules.yaml").fill(stricter)
        await page.get_by_role("button", name="Check and try on the past").click()
        await expect(page.get_by_role("table", name="Newly denied")).to_contain_text("eyes shut")
        file.write_text(POLICY + "# somebody else was here\n")
        page.on("dialog", lambda asked: asked.accept())
        await page.get_by_role("button", name="Put in force").click()
        await expect(page.get_by_role("alert").first).to_contain_text("has changed since")
        assert "eyes shut" not in file.read_text()
        await page.goto(f"{server.url}/policy")
        await page.get_by_label("Text of rules.yaml").fill(stricter)
        await page.get_by_role("button", name="Check and try on the past").click()
        await page.get_by_role("button", name="Put in force").click()
        await expect(page.get_by_text("Saved; the old text stands beside it")).to_be_visible()
        assert file.read_text() == stricter
        (kept,) = folder.glob("*.bak")
        assert "somebody else" in kept.read_text()
        ours = page.get_by_role("table", name="Rules").filter(has_text="no-looking")
        async with asyncio.timeout(60):
            while not await ours.count():  # servers follow the files, at the next look
                await page.reload()
    finally:
        await context.close()
        await stop(server)


async def test_a_file_is_replaced_whole(tmp_path: Path):
    file = tmp_path / "p.yaml"
    file.write_text("old")
    file.chmod(0o640)
    kept = save(file, "new\n", 5)
    assert (file.read_text(), kept.read_text()) == ("new\n", "old")
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["p.yaml", "p.yaml.5.bak"]  # noqa: PTH208 - a look
