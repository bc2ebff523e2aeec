"""Conflicts decided by words, functions, agents and people, the same again on replay."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast
from holdfast.engine.answers import answer
from holdfast.journal.events import body_of
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from tests.engine.support import again, drive, events, fails, run, waits

shop = holdfast.sql("shop.db")


@holdfast.agent(name="child")
async def child(files: dict[str, str], statement: str = "") -> None:
    for path, text in files.items():
        await world.write(path, text)
    if statement:
        await shop.execute(statement)


async def parted(mine: dict[str, str], theirs: dict[str, str]) -> holdfast.Child:
    """A child whose world conflicts with this one."""
    born = await holdfast.spawn(child, theirs)
    await born.result()
    for path, text in mine.items():
        await world.write(path, text)
    return born


@pytest.mark.parametrize(
    ("resolve", "text"), [("ours", "mine\n"), ("theirs", "yours\n"), ("base", "base\n")]
)
@pytest.mark.parametrize("checked", [False, True])
def test_a_word_decides_all(resolve: str, text: str, checked: bool):

    async def good() -> bool:
        return await world.read("a") == text

    @holdfast.agent
    async def simple() -> Any:
        for path in "ab":
            await world.write(path, "base\n")
        born = await parted(dict.fromkeys("ab", "mine\n"), dict.fromkeys("ab", "yours\n"))
        found = await holdfast.merge(born, good if checked else None, resolve)
        return [found.merged, found.conflicts, await world.read("a"), await world.read("b")]

    assert run(Site(child), simple) == [True, [], text, text]


@pytest.mark.parametrize("checked", [False, True])
def test_a_branch_is_theirs_whichever_way_it_is_merged(checked: bool):
    """The world around moves while the branch does; who decides sees one direction only."""
    seen: list[Any] = []

    def decide(conflict: holdfast.MergeConflict) -> str:
        seen.append((conflict.base, conflict.ours, conflict.theirs, conflict.marked))
        return "theirs"

    async def good() -> bool:
        return await world.read("a") == "branch\n"

    @holdfast.agent
    async def main() -> Any:
        await world.write("a", "base\n")
        ready, go = asyncio.Event(), asyncio.Event()

        async def beside() -> None:
            await ready.wait()
            await world.write("a", "around\n")
            go.set()

        task = asyncio.create_task(beside())
        async with holdfast.fork() as branch:
            await world.write("a", "branch\n")
            ready.set()
            await go.wait()
            found = await branch.merge(good if checked else None, decide)
        await task
        return [found.merged, await world.read("a")]

    assert run(Site(), main) == [True, "branch\n"]
    base, ours, theirs, marked = seen[0]
    assert (base, ours, theirs) == (b"base\n", b"around\n", b"branch\n")
    assert marked.index("around") < marked.index("branch")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(["ours", "theirs", "base", "text", "bytes", "open"]), min_size=1,
             max_size=4)
)  # fmt: skip
def test_each_conflict_is_decided_by_itself_and_replay_decides_the_same(said: list[str]):
    """INVARIANT E81: with one left open nothing changes; what a function gave is recorded."""
    given_ = {"text": "new\n", "bytes": b"ours", "open": None}
    stands = {"ours": "mine\n", "theirs": "yours\n", "base": "base\n", "text": "new\n",
              "bytes": "ours"}  # fmt: skip
    paths = [f"{n}.txt" for n in range(len(said))]

    @holdfast.agent
    async def main() -> Any:
        for path in paths:
            await world.write(path, "base\n")
        born = await parted(dict.fromkeys(paths, "mine\n"), dict.fromkeys(paths, "yours\n"))

        async def decide(conflict: holdfast.MergeConflict) -> Any:
            holdfast.random()  # a step
            word = said[paths.index(conflict.path)]
            return given_.get(word, word)

        found = await holdfast.merge(born, resolve=decide)
        return [found.merged, len(found.conflicts), [await world.read(path) for path in paths]]

    found = run(Site(child), main)
    if "open" in said:
        assert found == [False, len(said), ["mine\n"] * len(said)]
    else:
        assert found == [True, 0, [stands[word] for word in said]]


def test_rows_are_decided_one_by_one():
    @holdfast.agent
    async def main() -> Any:
        await shop.script("create table stock(name text primary key, count int)")
        await shop.executemany(
            "insert into stock values(?, ?)", [["tea", 1], ["salt", 1], ["x", 1]]
        )
        born = await holdfast.spawn(child, {}, "update stock set count = 5")
        await born.result()
        await shop.execute("update stock set count = 3 where name in ('tea', 'salt')")

        def decide(conflict: holdfast.MergeConflict) -> Any:
            assert (conflict.path, conflict.kind, conflict.table) == ("shop.db", "row", "stock")
            assert conflict.marked is None
            if conflict.key["name"] == "tea":
                return {"name": "tea", "count": conflict.ours["count"] + conflict.theirs["count"]}
            return "theirs"

        found = await holdfast.merge(born, resolve=decide)
        assert found.merged, found.conflicts
        return [list(row) for row in (await shop.query("select * from stock order by name")).rows]

    assert run(Site(child), main) == [["salt", 5], ["tea", 8], ["x", 5]]


def test_a_table_without_a_key_is_decided_with_its_file():
    seen: list[tuple[str, str]] = []

    def decide(conflict: holdfast.MergeConflict) -> str:
        seen.append((conflict.kind, conflict.table))
        return "theirs"

    @holdfast.agent
    async def main() -> Any:
        await shop.script("create table log(text); insert into log values('base')")
        born = await holdfast.spawn(child, {}, "insert into log values('theirs')")
        await born.result()
        await shop.execute("insert into log values('ours')")
        found = await holdfast.merge(born, resolve=decide)
        return [found.merged, [row[0] for row in (await shop.query("select * from log")).rows]]

    assert run(Site(child), main) == [True, ["base", "theirs"]]
    assert set(seen) == {("content", "")}


def test_a_person_decides_and_the_decision_is_in_the_step():
    @holdfast.agent(name="main")
    async def main() -> Any:
        await world.write("a", "base\n")
        born = await parted({"a": "mine\n"}, {"a": "yours\n"})

        async def person(conflict: holdfast.MergeConflict) -> str:
            return await holdfast.ask(conflict.marked or "", choices=["ours", "theirs"])

        merged = await holdfast.merge(born, resolve=person)
        return [merged.merged, await world.read("a")]

    site = Site(child, linger=0)

    async def drives(life: Life) -> Any:
        handle = await life.start(main, name="a")
        (wait,) = await waits(site, kind="person")
        assert "<<<<<<<" in wait.text
        await answer(life.store, "a", wait.key, "answer", by="ann", now_ms=1, value="theirs",
                     note="")  # fmt: skip
        return await handle.result()

    assert drive(site, drives, main) == [True, "yours\n"]
    assert not again(site, main).in_flight
    told = [body_of(one) for one in events(site, "a", "step.settled")]
    assert [one.plan.kind for one in told if one.plan and one.plan.kind == "merge"] == ["merge"] * 2


def test_what_was_decided_does_not_count_for_what_came_since():
    """E80: the world moves between the decision and the merge, so it is asked for again."""
    asked: list[bytes] = []

    @holdfast.agent
    async def main() -> Any:
        await world.write("a", "base\n")
        born = await parted({"a": "mine\n"}, {"a": "yours\n"})

        async def decide(conflict: holdfast.MergeConflict) -> str:
            if conflict.ours == b"mine\n":
                await world.write("a", "later\n")
            asked.append(conflict.ours)
            return f"{conflict.ours.decode()}{conflict.theirs.decode()}"

        found = await holdfast.merge(born, resolve=decide)
        return [found.merged, await world.read("a")]

    assert run(Site(child), main) == [True, "later\nyours\n"]
    assert asked[:2] == [b"mine\n", b"later\n"]


@pytest.mark.parametrize(
    ("resolve", "text"),
    [("mine", "say ours, theirs, base"), (lambda _: 3, "gave int"), (lambda _: {}, "gave dict")],
)
def test_other_answers_are_refused(resolve: Any, text: str):
    @holdfast.agent
    async def main() -> Any:
        await world.write("a", "base\n")
        born = await parted({"a": "mine\n"}, {"a": "yours\n"})
        await holdfast.merge(born, resolve=resolve)

    assert text in str(fails(Site(child), main))


def test_every_merge_takes_it():
    for one in (holdfast.merge, holdfast.Branch.merge, holdfast.Candidate.merge):
        assert "resolve" in inspect.signature(one).parameters
