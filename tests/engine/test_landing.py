"""Many land on one branch at once: nothing is lost, nobody starves, overlaps are conflicts."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast
from holdfast.engine import landing, perform
from holdfast.engine.choices import label
from holdfast.engine.landing import Change, Landed, begin_branch, decide, land, open_merge
from holdfast.journal.events import body_of
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.lives import Site
from holdfast.tools import world
from holdfast.values.errors import LeaseLost, Misuse, NotFound, Refused
from holdfast.world import EMPTY, Conflict, RowConflict, Stage, apply, put_file, read_file, walk
from tests.engine.support import run

WRITERS, EDITS, PROCESSES = 40, 5, 4


def edit(stage: Stage, root: str, **files: str) -> str:
    return apply(
        stage, root,
        {path: put_file(stage, text.encode()) for path, text in files.items()},
    )  # fmt: skip


async def begun(store, **files: str) -> str:
    stage = Stage(store.get)
    root = edit(stage, EMPTY, **files)
    await store.put(stage.take())
    await begin_branch(store, "main", root, now_ms=1, note={})
    return root


async def landed(store, base: str, owner: str = "me", check=None, **files: str) -> Landed:
    stage = Stage(store.get)
    theirs = edit(stage, base, **files)
    await store.put(stage.take())
    return await land(
        store, "main", Change(base, theirs), owner=owner, now_ms=lambda: 1, check=check
    )


async def content(store) -> dict[str, str]:
    root, stage = (await store.head("main")).world, Stage(store.get)
    return {path: read_file(stage, root, path).decode() for path, _ in walk(stage, root)}


def writer(directory: str, number: int, results) -> None:
    """One writer: its own store on its own event loop. Each edit starts from a world that is old
    by then; one file is everybody's."""

    async def main() -> list[tuple[int, bool]]:
        store = SqliteStore(directory, create=False)
        found: list[tuple[int, bool]] = []
        try:
            for count in range(EDITS):
                base = (await store.read("main", 0, 1))[0].world
                mine = {f"own-{number}-{count}.txt": f"{number} {count}\n"}
                if count == 0:
                    mine = {"shared.txt": f"{number}\n"}
                done = await landed(store, base, store.name, **mine)
                found.append((done.races, bool(done.merged.conflicts)))
        finally:
            await store.close()
        return found

    results.put((number, asyncio.run(main())))


def crowd(directory: str, numbers: range, results) -> None:
    """Several writers in one process, each in a thread."""
    threads = [threading.Thread(target=writer, args=(directory, n, results)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_forty_writers_land_everything_that_does_not_overlap(tmp_path: Path):
    """INVARIANT E40, with real processes and threads."""

    async def begin() -> None:
        store = SqliteStore(tmp_path / "store")
        await begun(store, **{"shared.txt": "base\n"})
        await store.close()

    asyncio.run(begin())
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    share = WRITERS // PROCESSES
    crowds = [
        context.Process(
            target=crowd,
            args=(str(tmp_path / "store"), range(n * share, (n + 1) * share), results),
        )
        for n in range(PROCESSES)
    ]
    for one in crowds:
        one.start()
    began = time.monotonic()
    found = dict(results.get(timeout=120) for _ in range(WRITERS))
    print(f"{WRITERS * EDITS / (time.monotonic() - began):.0f} landings a second")
    for one in crowds:
        one.join(60)
        assert one.exitcode == 0

    async def look():
        store = SqliteStore(tmp_path / "store", create=False)
        events = await store.read("main")
        files = await content(store)
        await store.close()
        return events, files

    events, files = asyncio.run(look())
    won = [number for number, edits in found.items() if not edits[0][1]]
    assert len(won) == 1  # of those who wrote the same file, each against the same base
    assert files.pop("shared.txt") == f"{won[0]}\n"
    assert files == {
        f"own-{number}-{count}.txt": f"{number} {count}\n"
        for number in range(WRITERS)
        for count in range(1, EDITS)
    }
    refused = [one for one in events if one.kind == "branch.merged" and body_of(one).conflicts]
    assert len(refused) == WRITERS - 1
    assert all(not conflict for edits in found.values() for _, conflict in edits[1:])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=8))
def test_landing_at_once_is_landing_one_after_another(edits: list[tuple[str, str]]):
    """In one process, all at once, whatever overlaps: each lands, or is a conflict that names it;
    the same file written alike is no conflict."""
    site = Site()

    async def main() -> None:
        store = site.inner
        base = await begun(store, a="0\n", b="0\n", c="0\n", d="0\n")
        done = await asyncio.gather(*(landed(store, base, **{path: text}) for path, text in edits))
        files = await content(store)
        for (path, text), one in zip(edits, done, strict=True):
            if one.merged.conflicts:
                assert [each.path for each in one.merged.conflicts] == [path]
                assert files[path] != text
            else:
                assert files[path] == text
        assert {path for path, _ in edits} == {one for one in files if files[one] != "0\n"}

    site.run(main)


def test_whoever_loses_often_is_alone_in_the_end():
    """A slow check against a branch that moves all the time: it lands after a few races."""
    site = Site()

    async def main() -> None:
        store = site.inner
        base = await begun(store, a="0\n")
        moves = 0

        async def slow(root: str) -> None:
            nonlocal moves
            moves += 1
            try:
                async with asyncio.timeout(5):
                    await landed(store, base, "other", **{f"file{moves}": "x\n"})
            except TimeoutError:
                waited.append(moves)

        waited: list[int] = []
        done = await landed(store, base, "me", slow, mine="x\n")
        assert done.races == 3
        assert waited == [4]  # the fourth time the branch stood still

    site.run(main)


def test_a_check_that_refuses_leaves_the_branch():
    site = Site()

    async def main() -> None:
        store = site.inner
        base = await begun(store, a="0\n")
        before = await store.head("main")

        async def no(root: str) -> None:
            assert read_file(Stage(store.get), root, "a") == b"1\n"  # it is stored already
            raise Refused("no")

        with pytest.raises(Refused):
            await landed(store, base, check=no, a="1\n")
        assert await store.head("main") == before
        assert not (await store.run("main")).owner

    site.run(main)


def test_a_running_run_is_left_alone():
    site = Site()

    async def main() -> None:
        store = site.inner
        await begun(store, a="0\n")
        epoch = await store.claim("main", "me")
        with pytest.raises(TimeoutError):  # a branch: its holder will be done soon
            async with asyncio.timeout(60):
                await landed(store, EMPTY, b="1\n")
        await store.release("main", epoch, 0)
        assert not (await landed(store, EMPTY, b="1\n")).merged.conflicts

    site.run(main)


def test_conflicts_are_decided_one_by_one_and_then_land():
    site = Site()

    async def main() -> None:
        store = site.inner
        base = await begun(store, a="0\n", b="0\n", c="0\n")
        await landed(store, base, a="1\n", b="1\n", c="1\n")
        with pytest.raises(NotFound):
            await open_merge(store, "main")
        assert len((await landed(store, base, a="2\n", b="2\n", c="2\n")).merged.conflicts) == 3
        found = await open_merge(store, "main")
        with pytest.raises(Misuse):
            await decide(store, "main", found, "d", "ours", by="ann", now_ms=2)
        for path, take in (("a", "theirs"), ("b", "ours")):
            await decide(store, "main", found, path, take, by="ann", now_ms=2)
        found = await open_merge(store, "main")
        assert [one.path for one in found.left] == ["c"]
        await decide(store, "main", found, "c", "file", by="ann", now_ms=2, content=b"3\n")
        found = await open_merge(store, "main")
        assert not found.left
        # the branch moves at a path that was decided: that decision was about something else
        await landed(store, await _world(store), b="9\n")
        found = await open_merge(store, "main")
        assert [one.path for one in found.left] == ["b"]
        found = await decide(store, "main", found, "b", "theirs", by="ann", now_ms=2)
        done = await land(store, "main", found.change, owner="me", now_ms=lambda: 3)
        assert not done.merged.conflicts
        assert await content(store) == {"a": "2\n", "b": "2\n", "c": "3\n"}
        with pytest.raises(NotFound):
            await open_merge(store, "main")

    site.run(main)


async def _world(store) -> str:
    return (await store.head("main")).world


def test_lease_lost_is_said_for_a_run_that_runs():
    """Not a branch but a program that somebody runs: it is not waited for."""
    from holdfast.journal.events import Draft, RunStarted
    from holdfast.journal.store import Batch

    site = Site()

    async def main() -> None:
        store = site.inner
        batch = Batch("main", (Draft(RunStarted("a", ref="x:a"), 1),), expect=-1, lease="other")
        await store.append((batch,), {})
        with pytest.raises(LeaseLost):
            await landed(store, EMPTY, b="1\n")

    site.run(main)


def test_merging_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch):
    """INVARIANT E46, for branches and within a run."""
    threads: list[int] = []

    def watched(real):
        def call(*args):
            threads.append(threading.get_ident())
            return real(*args)

        return call

    for module in (landing, perform):
        monkeypatch.setattr(module, "merge", watched(module.merge))

    async def main() -> None:
        store = MemoryStore()
        base = await begun(store, a="a\n")
        await landed(store, base, b="b\n")

    asyncio.run(main())

    @holdfast.agent(name="merging")
    async def merging() -> list[str]:
        async with holdfast.fork() as branch:
            await world.write("made", "x")
            await branch.merge()
        return list(await world.list())

    assert run(Site(), merging) == ["made"]
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_rows_with_keys_that_look_alike_have_labels_of_their_own():
    keys = [("x,y", "z"), ("x", "y,z"), (1,), ("1",), (b"1",), (None,), ("None",), (1.0,)]
    labels = {label(Conflict("a.db", "row", None, None, None, row_conflict(key))) for key in keys}
    assert len(labels) == len(keys)
    lines = label(Conflict("a.db", "row", None, None, None, row_conflict(("a\nb",))))
    assert "\n" not in lines


def row_conflict(key: tuple[object, ...]) -> RowConflict:
    return RowConflict("t", {f"k{n}": part for n, part in enumerate(key)}, (), None, None, None, "")
