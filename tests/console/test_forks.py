"""Fork, compare, approve; policy, agents, merges: what admins do."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from holdfast.api.console.fork import Cutting, Message, Rest, edits_of
from holdfast.runtime.maintenance import open_store
from holdfast.values.errors import Misuse
from tests.console.conftest import PATIENCE, Seat, Store

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("console")]
expect.set_options(timeout=PATIENCE)


async def test_a_changed_result_is_forked_compared_and_approved(seat: Seat, store: Store):
    """INVARIANT X134: a fork made here holds what leaves the world."""
    page = await seat.open("/runs/case-17/steps/1")
    await page.get_by_role("link", name="Fork here").click()
    field = page.get_by_label("Result, as JSON")
    await field.fill((await field.input_value()).replace("12", "88"))
    await page.get_by_role("button", name="Fork and compare").click()
    await expect(page.get_by_role("heading", name="Where they first differ")).to_be_visible()
    waits = page.get_by_role("link", name="refund waits to be published")
    await expect(waits).to_be_visible()
    fork = await page.get_by_label("B", exact=True).input_value()
    await waits.click()
    await expect(page.get_by_text("held until this is published")).to_be_visible()
    opened = open_store(store.settings)
    assert (await opened.run(fork)).holds
    await opened.close()
    page.once("dialog", lambda asked: asked.accept())
    await page.get_by_role("button", name="Publish").click()
    await page.locator("#runhead").get_by_role("link", name="@2").click()
    review = page.get_by_role("article")
    await expect(review.get_by_role("row").filter(has_text="amount")).to_contain_text("91")
    await page.wait_for_load_state()
    await page.keyboard.press("a")
    await expect(page.get_by_text("approved ")).to_be_visible()
    await page.goto(f"{seat.url}/runs/{fork}")
    await expect(page.locator("#runhead").get_by_text("done", exact=True)).to_be_visible()
    await page.goto(f"{seat.url}/runs/case-17?view=tree")
    await expect(page.get_by_role("link", name=f"{fork} support")).to_be_visible()


async def test_what_cannot_be_forked_is_said_with_the_form(seat: Seat):
    page = await seat.open("/runs/case-17/fork?step=1")
    await page.get_by_label("Result, as JSON").fill("{not json")
    seat.expected.append("409")
    await page.get_by_role("button", name="Fork and compare").click()
    await expect(page.get_by_role("alert")).to_contain_text("this is no JSON")
    assert await page.get_by_label("Result, as JSON").input_value() == "{not json"


REST = Rest(0, "", 0)


async def test_only_what_was_changed_becomes_an_edit():
    cutting = Cutting(
        "4", "tool x", [], '{\n  "a": 1,\n  "b": 2\n}', '{"to": "bob"}', None, REST
    )  # fmt: skip
    same = {"result": '{\r\n  "a": 1,\r\n  "b": 2\r\n}', "args": '{"to": "bob"}'}
    assert edits_of(cutting, same) == {}
    assert edits_of(cutting, {**same, "result": '{"a": 1, "b": 3}'}) == {"result.b": 3}
    assert edits_of(cutting, {**same, "result": "7"}) == {"result": 7}
    assert edits_of(cutting, {"args": '{"to": "eve"}'}) == {"args.to": "eve"}
    with pytest.raises(Misuse, match="no JSON"):
        edits_of(cutting, {"result": "{"})


async def test_words_of_a_message_become_an_edit_of_that_message():
    message = {"role": "user", "content": "hello"}
    path = "args.request.messages.0"
    cutting = Cutting("1", "model m", [Message(path, "user", "hello", message)], None, None, None,
                      REST)  # fmt: skip
    assert edits_of(cutting, {"message0": "hello"}) == {}
    changed = edits_of(cutting, {"message0": "goodbye"})
    assert changed == {path: {"role": "user", "content": "goodbye"}}


async def test_an_agent_is_stopped_only_after_its_name_was_said_twice(seat: Seat, store: Store):
    page = await seat.open("/agents")
    await page.get_by_role("link", name="Stop broken").click()
    await page.get_by_label("Name once more, to be sure").fill("brokn")
    await page.get_by_label("Reason").fill("odd books")
    seat.expected.append("409")
    await page.get_by_role("button", name="Stop it").click()
    await expect(page.get_by_role("alert")).to_contain_text("once more")
    await page.get_by_label("Name", exact=True).fill("broken")
    await page.get_by_label("Name once more, to be sure").fill("broken")
    await page.get_by_label("Reason").fill("odd books")
    await page.get_by_role("button", name="Stop it").click()
    stopped = page.get_by_role("table", name="What is stopped")
    await expect(stopped).to_contain_text("odd books")
    await store.run("broken", name="not-now")
    await page.goto(f"{seat.url}/runs/not-now")
    await expect(page.get_by_text("odd books").first).to_be_visible()
    await page.goto(f"{seat.url}/agents")
    await page.get_by_role("button", name="Let broken go on").click()
    await expect(page.get_by_role("table", name="What is stopped")).to_have_count(0)


async def test_two_branches_are_merged_and_a_conflict_is_decided(seat: Seat, store: Store):
    await store.run("writers", name="book", waits=False)
    page = await seat.open("/merge")
    await expect(page.get_by_role("link", name="Look at book.2")).to_be_visible()
    await page.get_by_role("link", name="Look at book.2").click()
    await expect(page.get_by_role("group", name="What would change")).to_contain_text("+one")
    await page.get_by_role("button", name="Merge").click()
    await expect(page.get_by_role("heading", name="Event #")).to_be_visible()
    await page.goto(f"{seat.url}/merge?source=book.3&into=book")
    await expect(page.get_by_text("1 path is in conflict")).to_be_visible()
    await page.get_by_role("button", name="Merge").click()
    await page.get_by_role("button", name="Take theirs").click()
    await expect(page.get_by_text("theirs", exact=True).first).to_be_visible()
    await page.get_by_role("button", name="Merge").click()
    await expect(page.get_by_role("heading", name="Event #")).to_be_visible()
