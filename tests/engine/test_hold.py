"""Holding what leaves the world, and publishing it: in forks, branches and children."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.engine import held as held_module
from holdfast.engine.fork import fork
from holdfast.engine.held import discard, held_by
from holdfast.engine.publish import publish_held, publishing
from holdfast.engine.publisher import publish_run
from holdfast.gate import DEFAULT_POLICY, Proposal, judge, parse_policy
from holdfast.journal.events import Draft, Event, SignalReceived, body_of
from holdfast.journal.store import Batch
from holdfast.journal.views import PUBLISH
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from holdfast.tools.attempts import Reach
from holdfast.tools.attempts import check as tried
from holdfast.values.errors import Conflict, Diverged, Misuse, Refused
from holdfast.world import Stage, read_file
from tests.engine.support import bodies, drive, events, run, until, waits


def cast(site: Site) -> Any:
    """say (once, nothing), pay (once, a result), book (idempotent, previewed)."""

    class Cast:
        @staticmethod
        @holdfast.tool(effect="once")
        async def say(text: str) -> None:
            site.outside.did("once", "say", text)

        @staticmethod
        @holdfast.tool(effect="once")
        async def pay(n: int) -> int:
            site.outside.did("once", "pay", n)
            if n < 0:
                raise ValueError("negative")
            return n * 2

        @staticmethod
        def likely(n: int) -> int:
            return n * 3 if n < 100 else n * 4

        @staticmethod
        @holdfast.tool(effect="once")
        def shout(text: str) -> None:
            site.outside.did("once", "shout", text)

    @holdfast.tool(effect="idempotent", preview=Cast.likely)
    async def book(n: int) -> int:
        site.outside.did("idempotent", "book", n)
        return n * 3

    Cast.book = book  # type: ignore[attr-defined]
    site.programs[publishing.name] = publishing
    return Cast


def standing(main: Any) -> Any:
    """An agent whose run ``a`` only waits, so that a fork of it finds nothing recorded."""

    @holdfast.agent(name="main")
    async def agent() -> Any:
        if holdfast.run_id() == "a":
            await holdfast.sleep(1e6)
        return await main()

    return agent


def held(site: Site, main: Any, work: Any, *, check: bool = True) -> Any:
    """``await work(life, b)`` with a fork ``b`` that carries out ``main`` and holds."""
    agent = standing(main)

    async def inner(life: Life) -> Any:
        await life.host.start(agent, name="a")
        await fork(life.store, "a", "0", name="b", now_ms=site.clock.now_ms())
        return await work(life, await life.host.resume("b"))

    return drive(site, inner, agent, check=check)


async def publish(life: Life, run: str = "b") -> Any:
    return await (await publish_run(life.host, run)).result()


def done(site: Site) -> list[Any]:
    return [(one.name, one.value) for one in site.outside.effects]


def test_a_fork_leaves_nothing_outside_until_it_is_published():
    """E11, E12, E13: previewed or held; then published in order, as the run that asked."""
    site = Site()
    use = cast(site)

    async def main() -> list[Any]:
        use.shout("now")
        return [await use.say("hello"), await use.book(1), await use.book(100), await use.say("x")]

    async def work(life: Life, b: Any) -> Any:
        assert await b.result() == [None, 3, 400, None]
        assert done(site) == []
        names = [(one.name, one.preview) for one in await held_by(life.store, "b")]
        assert names == [("shout", None), ("say", None), ("book", "3"), ("book", "400"),
                         ("say", None)]  # fmt: skip
        return await publish(life), await publish(life)

    first, again = held(site, main, work)
    assert done(site) == [("shout", "now"), ("say", "hello"), ("book", 1), ("book", 100),
                          ("say", "x")]  # fmt: skip
    assert first.complete
    assert again == holdfast.Published()
    assert [one.differs for one in first.done] == [False, False, False, True, False]
    assert (first.done[3].preview, first.done[3].result) == (400, 300)
    assert {one.run for one in site.outside.effects} == {"b"}


def test_what_the_source_recorded_is_served_and_used_once():
    """E12: the same step, else the same action; each recorded outcome stands for one call."""
    site = Site()
    use = cast(site)

    @holdfast.agent(name="main")
    async def main() -> list[Any]:
        if holdfast.run_id() == "a":
            return [await use.say("x"), await use.pay(1), await use.pay(1)]
        return [await use.pay(1), await use.pay(1), await use.say("x"), await use.say("x")]

    async def work(life: Life) -> Any:
        await (await life.host.start(main, name="a")).result()
        await fork(life.store, "a", "0", name="b", now_ms=site.clock.now_ms())
        assert await (await life.host.resume("b")).result() == [2, 2, None, None]
        assert len(await held_by(life.store, "b")) == 1

    drive(site, work, main, check=False)  # the oracle wants a value of its own for each call
    assert len(done(site)) == 3
    found = bodies(site, "step.settled", "b")
    assert [one.origin for one in found] == ["fork", "fork", "fork", ""]
    assert [one.of for one in found] == ["a@2", "a@3", "a@1", ""]


def test_a_result_that_is_needed_is_waited_for_and_comes_from_publishing():
    site = Site(linger=0)
    use = cast(site)

    async def main() -> list[Any]:
        await use.say("first")
        return [await use.pay(4), await use.say("behind")]

    async def work(life: Life, b: Any) -> Any:
        (wait,) = await waits(site, "b")
        assert wait.name == "$published:2"
        assert wait.text == "pay"
        await until(lambda: life.host.resident_count() <= 1)
        first = await publish(life)
        assert [one.name for one in first.done] == ["say", "pay"]
        assert await b.result() == [8, None]
        assert [one.name for one in (await publish(life)).done] == ["say"]

    held(site, main, work)
    assert done(site) == [("say", "first"), ("pay", 4), ("say", "behind")]


def test_publishing_stops_at_a_denial_and_goes_on_behind_it():
    """E4: a denial stays one, at holding (it is not held) and at publishing."""
    text = """
version: 1
name: p
rules:
  - {id: never-so, when: {tool: say}, if: 'args.text == "%s"', then: deny}
  - {id: all, when: {effect: [read, world, idempotent, once]}, then: allow}
"""
    site = Site(policy=parse_policy(text % "never", "p"))
    use = cast(site)

    async def main() -> int:
        with pytest.raises(Refused):
            await use.say("never")
        for word in ("one", "two", "three"):
            await use.say(word)
        return 1

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        site.policy = parse_policy(text % "two", "p")
        later = await site.live()
        first = await publish(later)
        assert [one.result for one in first.done] == [None]
        assert first.stopped.status == "refused"
        assert "never-so" in first.stopped.result
        assert [one.step for one in first.left] == ["b@4"]
        second = await publish(later)
        assert second.complete
        assert len(second.done) == 1
        await later.host.close()

    held(site, main, work)
    assert done(site) == [("say", "one"), ("say", "three")]


def test_discarding_refuses_who_waits_and_drops_the_rest():
    site = Site()
    use = cast(site)

    async def main() -> str:
        await use.say("x")
        try:
            await use.pay(1)
        except Refused as error:
            return str(error)
        return ""

    async def work(life: Life, b: Any) -> Any:
        await waits(site, "b")
        dropped = await discard(life.store, "b", by="ann", now_ms=0, token="t")
        life.host.ring()
        assert [one.name for one in dropped] == ["say", "pay"]
        assert "discarded by ann" in await b.result()
        assert await held_by(life.store, "b") == []

    held(site, main, work)
    assert done(site) == []


def test_two_cannot_publish_at_once():
    """E14."""
    site = Site()
    use = cast(site)

    async def main() -> None:
        await use.say("x")

    @holdfast.agent
    async def other() -> Any:
        return await publish_held("b")

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        one, two = await asyncio.gather(
            life.host.start(other, name="x"), life.host.start(other, name="y")
        )
        results = await asyncio.gather(one.result(), two.result(), return_exceptions=True)
        return [type(one).__name__ for one in results]

    site.programs[other.name] = other
    held(site, main, work)
    assert done(site) == [("say", "x")]


def test_a_publication_that_begins_while_it_is_discarded_wins(monkeypatch: pytest.MonkeyPatch):
    """INVARIANT E41."""
    site = Site()
    use = cast(site)

    async def main() -> None:
        await use.say("x")

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        real, began = held_module.held_by, []

        async def between(*args: Any) -> Any:
            found = await real(*args)
            if not began:
                began.append(True)
                claim = SignalReceived(PUBLISH, "a@1", "a")
                await life.store.append((Batch("b", (Draft(claim, 0),)),), {})
            return found

        monkeypatch.setattr(held_module, "held_by", between)
        with pytest.raises(Conflict, match="is being published by run a"):
            await discard(life.store, "b", by="ann", now_ms=0, token="t")
        assert [one.name for one in await real(life.store, "b")] == ["say"]

    held(site, main, work)


def test_children_of_what_holds_hold_and_are_published_with_it():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def child(text: str) -> str:
        await use.say(text)
        return text

    async def main() -> list[str]:
        one = await holdfast.spawn(child, "inner")
        await use.say("outer")
        return [await one.result()]

    site.programs[child.name] = child

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        assert done(site) == []
        return await publish(life)

    found = held(site, main, work)
    assert sorted(done(site)) == [("say", "inner"), ("say", "outer")]
    assert found.complete
    assert len(found.done) == 2


# ---- branches --------------------------------------------------------------------------------


def test_a_branch_has_a_world_of_its_own_until_it_is_merged():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> list[Any]:
        await world.write("base", "base\n")

        async def beside() -> list[str]:
            await world.write("beside", "1")
            return list(await world.list())

        started = asyncio.Event()

        async def watch() -> list[str]:
            await started.wait()
            return await beside()

        watching = asyncio.create_task(watch())
        async with holdfast.fork() as branch:
            await world.write("inside", "1")
            await use.say("from inside")
            started.set()
            seen = await watching
            inner = list(await world.list())
            merged = await branch.merge()
        return [seen, inner, merged.merged, list(await world.list()), len(merged.published.done)]

    seen, inner, merged, after, count = run(site, main)
    assert seen == ["base", "beside"]
    assert inner == ["base", "inside"]
    assert merged
    assert after == ["base", "beside", "inside"]
    assert count == 1
    assert done(site) == [("say", "from inside")]


def test_a_branch_that_is_left_leaves_nothing():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> list[str]:
        await world.write("a", "1")
        async with holdfast.fork():
            await world.write("b", "1")
            await use.say("never")
            async with holdfast.fork() as inner:
                await world.write("c", "1")
                assert (await inner.merge()).merged
            assert list(await world.list()) == ["a", "b", "c"]
        return list(await world.list())

    async def work(life: Life) -> Any:
        result = await (await life.start(main, name="a")).result()
        assert await held_by(life.store, "a") == []
        return result

    assert drive(site, work, main) == ["a"]
    assert done(site) == []
    assert len({event.world for event in events(site) if event.world}) == 1


def test_nested_branches_publish_through_what_is_around_them():
    """E13: held again one level up, published once, under the first key."""
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> list[Any]:
        async with holdfast.fork() as outer:
            async with holdfast.fork() as inner:
                await use.say("deep")
                await use.book(100)
                first = await inner.merge()
            second = await outer.merge()
        return [[one.status for one in first.published.done],
                [(one.status, one.differs) for one in second.published.done]]  # fmt: skip

    assert run(site, main) == [["held", "held"], [["value", False], ["value", True]]]
    assert done(site) == [("say", "deep"), ("book", 100)]


def test_a_conflict_or_a_failed_check_moves_and_publishes_nothing():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def main() -> list[Any]:
        await world.write("file", "base\n")
        found: list[Any] = []

        async def no() -> bool:
            found.append(await world.read("file"))
            await world.write("litter", "1")
            return False

        async with holdfast.fork() as branch:
            await world.write("file", "mine\n")
            await use.say("x")
            failed = await branch.merge(no)
            found.append([failed.merged, failed.passed, list(await world.list())])
        branch = holdfast.fork()
        go, went = asyncio.Event(), asyncio.Event()

        async def beside() -> None:
            await go.wait()
            await world.write("file", "theirs\n")
            went.set()

        task = asyncio.create_task(beside())
        async with branch:
            await world.write("file", "mine\n")
            go.set()
            await went.wait()
            merged = await branch.merge()
        await task
        return [*found, merged.merged, merged.conflicts, await world.read("file")]

    result = run(site, main)
    assert result == ["mine\n", [False, False, ["file"]], False, [["file", "content"]], "theirs\n"]
    assert done(site) == []


def test_a_check_is_repeated_if_the_world_moved_under_it():
    site = Site()

    @holdfast.agent
    async def main() -> list[Any]:
        go, went = asyncio.Event(), asyncio.Event()
        seen: list[list[str]] = []

        async def beside() -> None:
            await go.wait()
            await world.write("beside", "1")
            went.set()

        async def check() -> bool:
            seen.append(list(await world.list()))
            go.set()
            await went.wait()
            return True

        task = asyncio.create_task(beside())
        async with holdfast.fork() as branch:
            await world.write("mine", "1")
            merged = await branch.merge(check)
        await task
        return [seen, merged.merged, list(await world.list())]

    assert run(site, main) == [[["mine"], ["beside", "mine"]], True, ["beside", "mine"]]


def test_a_branch_that_was_left_takes_no_more_steps():
    @holdfast.agent
    async def main() -> str:
        async def late() -> None:
            await holdfast.sleep(1)
            await world.write("late", "1")

        async with holdfast.fork():
            task = asyncio.create_task(late())
        with pytest.raises(Misuse, match="was left"):
            await task
        return "kept out"

    assert run(Site(), main) == "kept out"


def test_a_child_that_held_is_published_when_it_is_merged():
    site = Site()
    use = cast(site)

    @holdfast.agent
    async def child() -> None:
        await world.write("file", "1")
        await use.say("from the child")

    @holdfast.agent
    async def main() -> list[Any]:
        async def check() -> bool:
            return list(await world.list()) == ["file"]

        async with holdfast.fork() as branch:
            one = await holdfast.spawn(child)
            await one.result()
            first = await holdfast.merge(one, check)
            second = await branch.merge()
        return [[each.status for each in first.published.done],
                [each.status for each in second.published.done],
                list(await world.list())]  # fmt: skip

    site.programs[child.name] = child
    assert run(site, main) == [["held"], ["value"], ["file"]]
    assert done(site) == [("say", "from the child")]


def test_what_only_a_branch_holds_is_kept_checked_and_exported(tmp_path: Path):
    """S6, W7: roots that only the bodies of branch steps name are content like any other."""
    store = SqliteStore(tmp_path / "store", synchronous="NORMAL")
    site = Site(store=store)

    @holdfast.agent
    async def main() -> None:
        async with holdfast.fork():
            await world.write("deep/only", "of the branch\n" * 100)

    async def work(life: Life) -> None:
        await (await life.start(main, name="a")).result()
        assert collect(store, grace_ms=0).blobs == 0
        (root,) = [body.root for body in bodies_of(await life.store.read("a")) if body.key == "2"]
        assert read_file(Stage(store.get), root, "deep/only").startswith(b"of the branch")
        await export_runs(store, None, tmp_path / "file")
        other = SqliteStore(tmp_path / "other", create=True)
        await import_archive(tmp_path / "file", other)
        assert read_file(Stage(other.get), root, "deep/only").startswith(b"of the branch")
        await other.close()

    drive(site, work, main)
    asyncio.run(store.close())
    assert check(tmp_path / "store").problems == []


def bodies_of(events: list[Event]) -> list[Any]:
    return [body_of(event) for event in events if event.kind == "step.settled"]


# ---- edges -----------------------------------------------------------------------------------


def test_nobody_is_asked_when_it_is_held_but_when_it_is_published():
    site = Site(policy=DEFAULT_POLICY)
    use = cast(site)

    async def main() -> None:
        await use.say("x")

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        publisher = await publish_run(life.host, "b")
        (wait,) = await waits(site, publisher.id, "person")
        assert wait.text.startswith("May main say(text='x')?")
        assert done(site) == []
        await life.answer_all(lambda row, wait: ("approve", None))
        return await publisher.result()

    assert held(site, main, work).complete
    assert done(site) == [("say", "x")]


def test_a_blocking_tool_waits_to_be_published_too():
    site = Site(linger=0)
    use = cast(site)

    @holdfast.tool(effect="once")
    def draw(n: int) -> int:
        site.outside.did("once", "draw", n)
        return n * 5

    @holdfast.tool(effect="once", preview=lambda n: n)
    def guess(n: int) -> int:
        site.outside.did("once", "guess", n)
        return n

    async def main() -> list[int]:
        await use.say("before")
        return [guess(1), draw(2), guess(3)]

    async def work(life: Life, b: Any) -> Any:
        await waits(site, "b")
        assert (await publish(life)).complete
        assert await b.result() == [1, 10, 3]
        assert (await publish(life)).complete

    held(site, main, work)
    assert done(site) == [("say", "before"), ("guess", 1), ("draw", 2), ("guess", 3)]


def test_what_earlier_segments_held_is_published_too():
    """E13: a step of another segment than the first is named by both."""
    site = Site(linger=0)
    use = cast(site)

    @holdfast.agent(name="main")
    async def main(n: int) -> int:
        if holdfast.run_id() == "a":
            await holdfast.sleep(1e6)
        await use.say(f"segment {n}")
        if n:
            holdfast.continue_as(n - 1)
        return await use.pay(7)

    async def work(life: Life) -> Any:
        await life.host.start(main, (2,), name="a")
        await fork(life.store, "a", "0", name="b", now_ms=site.clock.now_ms())
        b = await life.host.resume("b")
        (wait,) = await waits(site, "b", "signal")
        assert wait.name == "$published:3:2"
        found = await publish(life)
        assert [one.step for one in found.done] == ["b@1", "b@2:1", "b@3:1", "b@3:2"]
        return await b.result()

    assert drive(site, work, main) == 14
    assert [one[1] for one in done(site)] == ["segment 2", "segment 1", "segment 0", 7]
    assert len({one.key for one in site.outside.effects}) == 4


def test_who_waits_is_told_of_a_failure_and_a_preview_that_fails_is_not_published():
    site = Site()
    use = cast(site)

    def refuse(n: int) -> int:
        raise ValueError("no such seat")

    @holdfast.tool(effect="once", preview=refuse)
    async def seat(n: int) -> int:
        site.outside.did("once", "seat", n)
        return n

    async def main() -> list[str]:
        said: list[str] = []
        for call, n in ((seat, 1), (use.pay, -1)):
            try:
                await call(n)
            except ValueError as error:
                said.append(str(error))
        return said

    async def work(life: Life, b: Any) -> Any:
        await waits(site, "b")
        found = await publish(life)
        assert found.stopped.name == "pay"
        assert found.done == found.left == ()
        return await b.result()

    assert held(site, main, work) == ["no such seat", "negative"]
    assert done(site) == [("pay", -1)]


def test_what_the_program_gave_up_is_not_published():
    site = Site()
    use = cast(site)

    async def main() -> str:
        try:
            async with asyncio.timeout(5):
                await use.pay(1)
        except TimeoutError:
            return "gave up"
        return ""

    async def work(life: Life, b: Any) -> Any:
        result = await b.result()
        assert await held_by(life.store, "b") == []
        return result

    assert held(site, main, work) == "gave up"
    assert done(site) == []


def test_a_fork_of_what_holds_leaves_the_shared_past_to_it():
    site = Site()
    use = cast(site)

    async def main() -> None:
        await use.say("shared")
        await use.book(5)

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        await fork(life.store, "b", "2", name="c", now_ms=site.clock.now_ms())
        await (await life.host.resume("c")).result()
        mine = [(one.run, one.name) for one in await held_by(life.store, "c")]
        assert mine == [("c", "book")]
        await publish(life, "b")
        await publish(life, "c")

    held(site, main, work)
    assert [(one.run, one.name) for one in site.outside.effects] == [
        ("b", "say"), ("b", "book"), ("c", "book"),
    ]  # fmt: skip


def test_a_program_that_changed_cannot_publish_what_it_no_longer_asks_for():
    site = Site()
    use = cast(site)

    async def main() -> None:
        await use.say("x")

    async def other() -> None:
        await use.say("y")

    async def work(life: Life, b: Any) -> Any:
        await b.result()
        site.programs["main"] = standing(other)
        with pytest.raises(Diverged, match="does not ask for say"):
            await publish(life)
        site.programs["main"] = standing(main)
        later = await site.live()
        await later.resume_all()
        found = await publish(later)
        await later.host.close()
        return found

    assert held(site, main, work).complete
    assert done(site) == [("say", "x")]


def test_a_fork_in_the_middle_of_a_branch_that_was_merged():
    """What a branch publishes is not named by its run: forks find it in the past they share;
    and they can be made at a step on the branch. E42: a fork between the list of what is published
    and its effects leaves these to its source."""
    site = Site()
    use = cast(site)

    @holdfast.agent(name="main")
    async def main() -> list[Any]:
        async with holdfast.fork() as branch:
            await world.write("f", "1")
            await use.say("x")
            await branch.merge()
        return [await use.pay(1), await world.read("f")]

    async def work(life: Life) -> Any:
        await (await life.host.start(main, name="a")).result()
        settled = [one for one in await life.store.read("a") if one.kind == "step.settled"]
        keys = [body_of(one).key for one in settled]
        for key in dict.fromkeys(keys):
            name = f"b{key}"
            await fork(life.store, "a", key, name=name, now_ms=site.clock.now_ms())
            assert await (await life.host.resume(name)).result() == [2, "1"], key
            assert (await publish(life, name)).complete
        return len(keys)

    assert drive(site, work, main, check=False) > 5
    assert done(site) == [("say", "x"), ("pay", 1)]


def test_what_changes_the_world_and_leaves_it_is_never_held_e45():
    """Its effect is of its arguments; its changes are kept, and in a fork it is refused."""
    site = Site()

    def effect(bound: Any) -> str:
        return "once" if bound["network"] else "world"

    @holdfast.tool(effect="world", effect_of=effect)
    async def fetch(network: str) -> str:
        if network:
            site.outside.did("once", "fetch", network)
        await world.write.fn("got", network or "nothing")
        return "did"

    async def main() -> list[str]:
        found = [await fetch(""), await world.read("got")]
        try:
            return [*found, await fetch("example.org")]
        except Refused as error:
            return [*found, str(error)]

    async def work(life: Life, b: Any) -> Any:
        found = await b.result()
        assert found[:2] == ["did", "nothing"]
        assert found[2].startswith("fetch: leaves the world and changes it")
        assert done(site) == []
        assert await held_by(life.store, "b") == []

    held(site, main, work)

    @holdfast.agent(name="plain")
    async def plain() -> list[str]:
        return [await fetch("example.org"), await world.read("got")]

    site = Site()
    assert run(site, plain) == ["did", "example.org"]
    assert done(site) == [("fetch", "example.org")]
    planned = bodies(site, "step.planned")
    assert [one.plan.effect for one in planned] == ["once"]  # so a crash does not repeat it


@pytest.mark.parametrize(
    ("asked", "decision"),
    [
        ({}, "allow"),
        ({"network": ["example.org"]}, "escalate"),
        ({"readable": ["/srv"]}, "escalate"),
        ({"secrets": ["TOKEN"]}, "escalate"),
    ],
)
def test_a_command_that_reaches_out_of_its_world_is_asked_about(asked, decision):
    bound = world.run.bind((["true"],), asked)
    plan = world.run.plan_of(bound)
    proposal = Proposal("a", "", "tool", plan.name, plan.effect, bound)
    assert judge(proposal, DEFAULT_POLICY).decision == decision


def test_what_a_person_lets_a_try_reach_is_not_asked_about_again():
    reach = Reach(("/srv",), ("example.org",), ("TOKEN",))
    bound = tried.bind((["true"],), {"reach": reach})
    plan = tried.plan_of(bound)
    assert plan.effect == "idempotent"
    proposal = Proposal("try", "", "tool", plan.name, plan.effect, bound)
    assert judge(proposal, DEFAULT_POLICY).decision == "allow"
