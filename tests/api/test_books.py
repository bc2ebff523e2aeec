"""Readings of costs on a server: the fold that is kept says what a fold of the journal says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from holdfast.api.books import Books, asked_of
from holdfast.explain.economics import Asked, Economics, economics
from holdfast.values import limits
from tests.api.sites import TOKENS, call, reader, seed, site_on


async def _whole(site, asked):
    return economics(await site.store.tail(0, 100_000), asked)


@pytest.mark.parametrize("agent", ["", "reader"])
async def test_a_kept_fold_says_what_a_fold_of_the_whole_journal_says(tmp_path: Path, agent: str):
    """X200."""
    async with site_on(tmp_path) as site:
        asked = asked_of(site.runtime, agent=agent)
        assert await site.books.economics(site.store, asked) == await _whole(site, asked)
        await seed(site.runtime)
        for n in range(3):
            await (await site.runtime.launch(reader, (n,), {}, name=f"more-{n}")).result()
            found = await site.books.economics(site.store, asked)
            assert found == await _whole(site, asked)
            assert found.runs == (2 if agent else 6) + n


async def test_a_fold_of_another_past_is_made_again(tmp_path: Path):
    """X200."""
    books = Books()
    async with site_on(tmp_path / "a") as site:
        await seed(site.runtime)
        await books.economics(site.store, Asked())
    async with site_on(tmp_path / "b") as site:
        await (await site.runtime.launch(reader, (9,), {}, name="alone")).result()
        found = await books.economics(site.store, Asked())
        assert found == await _whole(site, Asked())
        assert found.runs == 1


async def test_a_fold_is_bounded_and_says_what_it_left_out(tmp_path: Path, monkeypatch):
    """X200."""
    monkeypatch.setattr(limits, "ECONOMICS_STEPS_ITEMS", 5)
    async with site_on(tmp_path) as site:
        for n in range(4):
            await (await site.runtime.launch(reader, (2,), {}, name=f"r{n}")).result()
            await site.books.economics(site.store, Asked())
        found = await site.books.economics(site.store, Asked())
        assert [line.name for line in found.by("run")] == ["r3"]
        assert any("3 runs that began first are left out" in note for note in found.notes)


async def test_the_page_shows_what_the_reading_says_by_the_scope_of_the_address(tmp_path: Path):
    async with site_on(tmp_path) as site:
        await seed(site.runtime)

        async def page(path: str, status: int = 200) -> str:
            reply = await call(site, "GET", path, token=TOKENS["viewer"])
            assert reply.status == status
            return reply.body.decode()

        text = await page("/spend")
        for told in ("Budgets", "Cost per meaningful response", "Waste", "Cache", "Handling time",
                     "Reliability of steps", "Straight through"):  # fmt: skip
            assert told in text, told
        assert 'href="/runs?agent=reader"' in text
        assert 'href="/runs/read"' in await page("/spend?by=run")
        only = await page("/spend?by=step&agent=shop")
        assert ">look<" in only
        assert "total.txt" not in only
        assert "say one of" in await page("/spend?by=%3Cscript%3E", 409)


async def test_the_interface_tells_the_same_reading_by_the_scope_that_is_asked(tmp_path: Path):
    async with site_on(tmp_path) as site:
        await seed(site.runtime)

        async def ask(query: str, status: int = 200):
            reply = await call(site, "GET", f"/api/v1/economics?{query}", token=TOKENS["viewer"])
            assert reply.status == status, reply.body
            return reply.json

        asked = asked_of(site.runtime, scopes=("run",), agent="reader", within=60_000)
        told = await ask("by=run&agent=reader&within=60000")
        assert msgspec.convert(told, Economics) == await _whole(site, asked)
        await ask("by=moon", 400)
        await ask("by=run&moon=1", 400)
        lines = (await ask("by=run"))["spend"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "API_ROWS", 1)
            page = await ask("by=run")
        assert page["spend"] == lines[:1]
        assert any("more lines of spending" in note for note in page["notes"])
