"""The inbox: answered with the keyboard alone, bound to what was shown, by who signed in."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from holdfast.engine.answers import ending
from holdfast.journal.events import body_of
from holdfast.runtime.maintenance import open_store
from tests.console.conftest import PATIENCE, Seat, Store

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)


async def given(store: Store, run: str) -> list[Any]:
    """The answers that a run has been given."""
    opened = open_store(store.settings)
    try:
        events = await opened.read(run)
        return [body_of(one) for one in events if one.kind == "approval.given"]
    finally:
        await opened.close()


async def over(page: Page, seat: Seat, run: str, word: str) -> None:
    await page.goto(f"{seat.url}/runs/{run}")
    await expect(page.locator("#runhead").get_by_text(word, exact=True).first).to_be_visible()


async def test_a_question_is_reviewed_and_approved_by_keyboard_alone(seat: Seat, store: Store):
    await store.run("support", "B-1", name="by-keys", waits=True)
    page = await seat.open("/runs")
    await page.wait_for_load_state()
    await page.keyboard.press("g")
    await page.wait_for_load_state()
    await page.keyboard.press("i")
    await expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    links = page.get_by_role("navigation", name="Questions").get_by_role("link")
    mine = links.filter(has_text="B-1")
    await expect(mine).to_be_visible()
    for _ in range(await links.count()):
        await page.wait_for_load_state()
        await page.keyboard.press("j")
        if await mine.evaluate("link => link === document.activeElement"):
            break
    await page.wait_for_load_state()
    await page.keyboard.press("Enter")
    review = page.get_by_role("article")
    await expect(review.get_by_role("row").filter(has_text="order")).to_contain_text("B-1")
    await expect(review.get_by_role("table", name="Rules that matched")).to_contain_text("once")
    await page.wait_for_load_state()
    await page.keyboard.press("w")
    await page.keyboard.type("checked the order a d e")
    await page.wait_for_load_state()
    await page.keyboard.press("Escape")
    approve = page.get_by_role("button", name="Approve")
    await approve.focus()
    ring = await approve.evaluate("one => getComputedStyle(one).outlineStyle")
    assert ring == "solid"
    await page.wait_for_load_state()
    await page.keyboard.press("a")
    await expect(page.get_by_text("approved by-keys@5")).to_be_visible()
    await over(page, seat, "by-keys", "done")
    (answer,) = await given(store, "by-keys")
    assert (answer.decision, answer.by) == ("approve", "ann")
    assert answer.note == "checked the order a d e"


async def test_denying_goes_on_to_the_next_question(seat: Seat, store: Store):
    await store.run("support", "C-1", name="first-of-two", waits=True)
    await store.run("support", "C-2", name="second-of-two", waits=True)
    page = await seat.open("/inbox/first-of-two")
    await expect(page.get_by_role("article")).to_contain_text("C-1")
    await page.wait_for_load_state()
    await page.keyboard.press("d")
    await expect(page.get_by_text("denied first-of-two@5")).to_be_visible()
    await expect(page.get_by_role("article")).to_contain_text("C-2")
    await page.wait_for_load_state()
    await page.keyboard.press("d")
    await expect(page.get_by_text("denied second-of-two@5")).to_be_visible()
    await over(page, seat, "second-of-two", "failed")


async def test_arguments_are_changed_before_they_are_approved(seat: Seat, store: Store):
    await store.run("support", "D-1", name="changed", waits=True)
    page = await seat.open("/inbox/changed")
    await page.wait_for_load_state()
    await page.keyboard.press("e")
    field = page.get_by_label("Arguments, as JSON")
    await expect(field).to_be_focused()
    await field.fill('{"amount": 5, "iban": "DE89370400440532013000", "order": "D-1"}')
    await page.get_by_role("button", name="Approve with these").click()
    await expect(page.get_by_text("changed changed@5")).to_be_visible()
    await over(page, seat, "changed", "done")
    await page.goto(f"{seat.url}/runs/changed/steps/5")
    await expect(page.get_by_role("group", name="Changed arguments")).to_contain_text('"amount": 5')
    await expect(page.get_by_label("Result")).to_contain_text("refunded 5 to")


async def test_an_answer_to_another_action_counts_for_nothing(seat: Seat, store: Store):
    """INVARIANT X132: an answer is bound to the action its page showed, and to who signed in."""
    await store.run("support", "E-1", name="stale", waits=True)
    page = await seat.open("/inbox/stale")
    csrf = await page.locator("meta[name=csrf]").get_attribute("content")
    assert csrf
    form = {"csrf": csrf, "decision": "approve", "by": "mallory"}
    seat.expected += ["409", "403"]
    for digest in ("", "0" * 64):
        reply = await page.request.post(
            f"{seat.url}/inbox/stale/5", form={**form, "digest": digest}
        )
        assert reply.status == 409, await reply.text()
    right = await page.locator("input[name=digest]").get_attribute("value")
    assert right
    refused = await page.request.post(
        f"{seat.url}/inbox/stale/5", form={"decision": "approve", "digest": right}
    )
    assert refused.status == 403
    assert not await given(store, "stale")
    await page.request.post(f"{seat.url}/inbox/stale/5", form={**form, "digest": right})
    assert [one.by for one in await given(store, "stale")] == ["ann"]


async def test_a_new_question_appears_by_itself(seat: Seat, store: Store):
    page = await seat.open("/runs?agent=colour&status=waiting")
    await store.run("colour", name="news", waits=True)
    await page.get_by_role("link", name="answer 1").first.wait_for()
    row = page.get_by_role("row").filter(has_text="news")
    await row.get_by_role("link", name="answer 1").click()
    await page.get_by_label("red").check()
    await page.get_by_role("button", name="Answer").click()
    await over(page, seat, "news", "done")
    opened = open_store(store.settings)
    assert (await ending(opened, "news")).value == b'"red"'
    await opened.close()
