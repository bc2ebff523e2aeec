"""A run's page: what is on it, that nothing of a record becomes markup, and that it is bounded."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.explain.past import chain, moments
from holdfast.explain.picture import picture
from holdfast.journal.events import Failure, Plan, RunEnded, RunStarted, StepSettled, Verdict
from holdfast.journal.store import RunQuery
from holdfast.stores.memory import MemoryStore
from holdfast.values import limits
from holdfast.world import EMPTY, Stage, write_file
from tests.explain.family import recorded
from tests.stores.scenes import Scene, rich

EVIL = "</pre></details><script>alert(1)</script><img src=x onerror=alert(1)>'\"&\x1b]0;x\x07\u202e"


class Tags(HTMLParser):
    """Names and attributes of the tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


async def page_of(store: MemoryStore, run: str) -> str:
    kin = (await store.runs(RunQuery(limit=1000)))[::-1]
    found = list(moments(await chain(store, run)))
    return picture(await store.run(run), found, kin, store.get, 1_700_000_100_000)


async def hostile(word: str) -> MemoryStore:
    store = MemoryStore()
    scene = Scene(store)
    stage = Stage(store.get)
    before = write_file(stage, EMPTY, "a.txt", b"one\n")
    after = write_file(stage, before, "a.txt", f"two {word}\n".encode("utf-8", "replace"))
    blobs = dict(stage.new)
    await scene.add("r", RunStarted(word or "x", by=word, ref=word), args={"x": word},
                    world=before, blobs=blobs)  # fmt: skip
    verdict = Verdict("deny", (word,), word, word, risk=0.4, parts={word: 1.0}, approvers=(word,))
    await scene.add("r", StepSettled("1", Plan(word), verdict, "refused", Failure(word, word)),
                    args={word: word}, value=word, world=after)  # fmt: skip
    await scene.add("r", RunEnded("failed", Failure(word, word)), value=word)
    return store


ALLOWED = set(
    "html meta title style main header h1 h2 h3 code b dl div dt dd section svg path circle text "
    "tspan p table thead tr th td details summary time span i rect pre".split()
)


def check(page: str) -> Tags:
    found = Tags(page)
    assert {tag for tag, _ in found.tags} <= ALLOWED
    for _, attributes in found.tags:
        assert not any(name.startswith("on") or name in ("href", "src", "style")
                       for name in attributes)  # fmt: skip
    assert "\x1b" not in page
    assert "\u202e" not in page
    return found


@pytest.mark.hypothesis
@settings(deadline=None, max_examples=25)
@given(st.one_of(st.just(EVIL), st.text(max_size=60).map(lambda text: f"<zz{text}>&<zz>")))
async def test_x166_nothing_of_a_record_becomes_markup(word: str):
    store = await hostile(word.encode("utf-8", "replace").decode())
    check(await page_of(store, "r"))


async def test_x166_its_policy_names_its_sheet():
    page = await page_of(await hostile(EVIL), "r")
    sheet = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert sheet
    digest = base64.b64encode(hashlib.sha256(sheet[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page
    assert "two </pre>" in Tags(page).text  # the difference of its world is there, as text
    assert "unsafe" not in page


async def test_what_is_on_it():
    store = MemoryStore()
    await recorded(store)
    text = check(await page_of(store, "boss")).text
    for said in ("tool pay", "escalate money", "40.0%", "ann: approve (fine)", "0.0100",
                 "fork after #2", "spawned at 2", "the secret word is plum"):  # fmt: skip
        assert said in text, said


async def test_every_kind_of_journal_has_a_page():
    store = MemoryStore()
    await rich(store, scale=2)
    for row in await store.runs(RunQuery(limit=1000)):
        check(await page_of(store, row.run))


async def test_x167_a_page_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "PICTURE_EVENTS", 40)
    monkeypatch.setattr(limits, "PICTURE_VALUE_CHARS", 50)
    monkeypatch.setattr(limits, "PICTURE_MAX_CHARS", 600)
    store = MemoryStore()
    scene = Scene(store)
    await scene.add("r", RunStarted("a"), args={})
    for number in range(100):
        await scene.add("r", StepSettled(str(number), Plan("t")), value="v" * 200)
    page = await page_of(store, "r")
    assert page.count("<details>") == 40
    assert "61 rows left out here" in page
    assert "v" * 51 not in page
    assert page.count("v" * 20) <= 600 / 20
    assert "the page is full" in page


async def test_idle_time_is_folded():
    store = MemoryStore()
    scene = Scene(store)
    await scene.add("r", RunStarted("a"), args={})
    scene.at += 3 * 3_600_000
    await scene.add("r", StepSettled("1", Plan("t")), value=1)
    assert "3 h idle" in await page_of(store, "r")
