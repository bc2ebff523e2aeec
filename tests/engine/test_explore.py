"""Trying several ways, and looking into a world's past."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.engine.fork import fork, root_at
from holdfast.engine.held import held_by
from holdfast.journal.store import RunQuery
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from holdfast.tools.attempts import attempt, attempts, checked, mounted
from holdfast.values.errors import Outside, RunFailed, ToolError
from tests.engine.support import drive, run


def cast(site: Site) -> Any:
    @holdfast.tool(effect="once")
    async def tell(n: int) -> None:
        site.outside.did("once", "tell", n)

    @holdfast.agent
    async def solve(n: int) -> int:
        if n == 0:
            raise ValueError("zero")
        await world.write("answer", str(n))
        await tell(n)
        if n == 9:
            await holdfast.sleep(1e9)
        return n

    @holdfast.agent
    async def judge(n: int) -> float:
        await tell(1000 + n)
        await world.write("litter", "x")
        return float(await world.read("answer")) / 10

    for one in (solve, judge, checked):
        site.programs[one.name] = one
    return solve, judge


def done(site: Site) -> list[Any]:
    return [one.value for one in site.outside.effects]


@pytest.mark.parametrize("how", ["agent", "function"])
def test_the_best_are_kept_and_only_they_leave_anything(how: str):
    site = Site()
    solve, judge = cast(site)

    async def score(n: int) -> float:
        await world.write("litter", "x")
        return float(await world.read("answer")) / 10

    @holdfast.agent
    async def main() -> Any:
        await world.write("base", "1")
        check = judge if how == "agent" else score
        calls = [solve.with_(n) for n in (3, 0, 5, 4)]
        best, second = await holdfast.explore(calls, check=check, keep=2, limit=2)
        merged = await best.merge()
        await second.discard()
        found = [best.result, best.score, second.result, merged.merged]
        return [*found, await world.read("answer"), list(await world.list())]

    async def work(life: Life) -> Any:
        result = await (await life.start(main, name="a")).result()
        assert await held_by(life.store, "a") == []
        return result

    assert drive(site, work, main) == [5, 0.5, 4, True, "5", ["answer", "base"]]
    assert done(site) == [5]


def test_the_rest_is_stopped_once_enough_have_passed():
    site = Site()
    solve, _ = cast(site)

    @holdfast.agent
    async def main() -> Any:
        found = await holdfast.explore([solve.with_(9), solve.with_(2)], first=True)
        return [one.result for one in found]

    async def work(life: Life) -> Any:
        result = await (await life.start(main, name="a")).result()
        slow = next(row for row in await life.store.runs(RunQuery(limit=100)) if row.run != "a"
                    and row.status != "done")  # fmt: skip
        with pytest.raises(RunFailed, match="cancelled"):
            await life.host.result(slow.run)
        return result

    assert drive(site, work, main) == [2]
    assert done(site) == []


def test_a_command_judges_in_a_fork_that_is_thrown_away(tmp_path: Path):
    site = Site(virtual=False, caches=str(tmp_path))
    solve, _ = cast(site)
    code = (
        "import sys; open('litter', 'w'); n = open('answer').read(); print(n); sys.exit(n != '2')"
    )

    @holdfast.agent
    async def main() -> Any:
        calls = [solve.with_(n) for n in (1, 2)]
        (only,) = await holdfast.explore(calls, check=[sys.executable, "-c", code], keep=2)
        await only.merge()
        return [only.result, only.why, list(await world.list())]

    assert run(site, main) == [2, "exit 0\n2", ["answer"]]
    assert done(site) == [2]


def test_the_past_of_a_world_can_be_read():
    @holdfast.agent
    async def main() -> Any:
        await world.write("a/file", "one\n")  # step 1
        await world.write("a/file", "two\n")
        await world.remove("a/file")
        old = world.at("1")
        found = [await old.read("a/file"), list(await old.list("a")), list(await old.glob("**"))]
        found.append([one.text for one in (await world.at("2").grep("w")).matches])
        with pytest.raises(ToolError, match="no outcome yet"):
            await world.at("99").list()
        return [*found, list(await world.at("start").list())]

    async def work(life: Life) -> Any:
        first = await (await life.start(main, name="a")).result()
        await fork(life.store, "a", "2", name="b", now_ms=0, edits={"args.text": "three\n"})
        second = await (await life.host.resume("b")).result()
        assert await root_at(life.store, "b", "2") != await root_at(life.store, "a", "2")
        return first, second

    first, second = drive(Site(), work, main)
    assert first == ["one\n", ["file"], ["a/file"], ["two"], []]
    assert second == ["one\n", ["file"], ["a/file"], [], []]  # not reused: its past is another


def test_a_bug_in_a_check_is_raised_and_why_others_failed_is_told():
    site = Site()
    solve, _ = cast(site)

    async def broken(result: Any) -> float:
        raise NameError("no such name")

    async def unsure(result: Any) -> float:
        if result == 2:
            raise Outside("no answer", retryable=False)
        return float(result == 3)

    @holdfast.agent
    async def main() -> Any:
        calls = [solve.with_(n) for n in (1, 2, 3)]
        said = ""
        try:
            await holdfast.explore(calls, check=broken)
        except NameError as error:
            said = str(error)
        kept = await holdfast.explore(calls, check=unsure)
        return [said, [one.result for one in kept], [one.why for one in kept.rejected]]

    assert run(site, main) == ["no such name", [3], ["", "Outside: no answer"]]


def test_built_in_agents_have_names_that_no_program_has():
    names = [one.name for one in (attempts, attempt, checked, mounted)]
    assert names == ["holdfast.try", "holdfast.attempt", "holdfast.check", "holdfast.mount"]
