"""Erasing: the bytes are gone from every file, every proof still holds, and who did it is known."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Draft,
    Failure,
    Plan,
    RunEnded,
    RunStarted,
    StepSettled,
    body_of,
)
from holdfast.journal.store import Batch, RunQuery
from holdfast.stores import erase as erasing
from holdfast.stores.erase import erase
from holdfast.stores.fsck import check
from holdfast.stores.keys import make_key
from holdfast.stores.notary import sign
from holdfast.stores.proving import prove_roots
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import unpack
from holdfast.values.errors import Conflict, Misuse, NotFound
from holdfast.values.ports import SystemClock, SystemDice
from tests.stores.scenes import Scene, rich

SMALL = "small-" + "s3cr3t-" * 5
LARGE = secrets.token_hex(40_000)  # does not compress: it goes to a pack
MIDDLE = "middle-" + "hidden-" * 60


async def scene(store: SqliteStore) -> None:
    one = Scene(store)
    await one.add("a", RunStarted("agent", ref="m:a"), args={"who": SMALL})
    await one.add("a", StepSettled("1", Plan("t"), took=1), args={"n": MIDDLE}, value=LARGE)
    await one.add("a", StepSettled("2", Plan("t"), took=1), args={"n": 2}, value="kept")
    await one.talk("a", 4, first=3)
    await one.add("a", RunEnded("done", steps=2), value=SMALL)
    await one.add("b", RunStarted("agent", ref="m:a"), args={"who": "somebody else"})
    await one.add("b", RunEnded("done"), value="theirs")


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir() if path.is_file())


async def signed(store: SqliteStore, key):
    return await sign(store, key, policy="", clock=SystemClock(), dice=SystemDice())


async def test_j61_a_run_is_erased_and_all_proofs_hold(tmp_path: Path):
    """INVARIANT J61"""
    key = make_key(tmp_path / "key")
    store = SqliteStore(tmp_path / "s")
    await scene(store)
    await signed(store, key)
    ids = [event.id for event in await store.read("a")]
    before = everything(tmp_path / "s")
    assert SMALL.encode() in before
    await store.release("a", 1, (await store.head("a")).pos)
    found = erase(store, "a", by="ann", why="asked to")
    assert found.payloads >= 10
    events = await store.read("a")
    assert [event.id for event in events][: len(ids)] == ids
    said = events[-1]
    assert (said.kind, body_of(said).type, body_of(said).by) == ("finding.added", "erased", "ann")
    assert unpack(said.value or b"", store.get)["why"] == "asked to"
    with pytest.raises(NotFound, match="erased"):
        unpack(events[0].args or b"", store.get)
    await store.close()
    after = everything(tmp_path / "s")
    for text in (SMALL, LARGE[:64], LARGE[-64:], MIDDLE[:40]):
        assert text.encode() not in after, text[:20]
    assert b"somebody else" in after
    report = check(tmp_path / "s")
    prove_roots(tmp_path / "s", [key.public], report)
    assert report.problems == []


@pytest.mark.parametrize("run", ["a", "b", "c", "w"])
async def test_any_run_of_a_rich_journal(tmp_path: Path, run: str):
    """Forks, segments, continuations of conversations: whatever is erased, the rest is whole."""
    store = SqliteStore(tmp_path / "s")
    await rich(store)
    rows = {row.run: row for row in await store.runs(RunQuery())}
    if not rows[run].ended:
        with pytest.raises(Conflict, match="cancel it"):
            erase(store, run, by="ann")
    for row in rows.values():
        if not row.ended and row.status != "branch":
            ended = Draft(RunEnded("cancelled"), 1_800_000_000_000)
            await store.append((Batch(row.run, (ended,), epoch=row.epoch),), {})
    found = erase(store, run, by="ann")
    assert found.payloads > 0
    assert erase(store, run, by="ann").payloads == 0
    await store.close()
    assert check(tmp_path / "s").problems == []


async def test_one_step(tmp_path: Path):
    store = SqliteStore(tmp_path / "s")
    await scene(store)
    with pytest.raises(NotFound, match="no step '9'"):
        erase(store, "a", "9", by="ann")
    found = erase(store, "a", "1", by="ann", dry=True)
    assert (found.events, found.payloads) == (1, 2)
    assert unpack((await store.read("a", 1, 2))[0].value or b"", store.get) == LARGE
    erase(store, "a", "1", by="ann")
    one, two = await store.read("a", 1, 3)
    with pytest.raises(NotFound):
        unpack(one.value or b"", store.get)
    assert unpack(two.value or b"", store.get) == "kept"
    await store.close()
    assert check(tmp_path / "s").problems == []


async def test_a_step_that_others_continue(tmp_path: Path):
    store = SqliteStore(tmp_path / "s")
    await scene(store)
    assert erase(store, "a", "m3", by="ann").payloads == 2
    await store.close()
    assert check(tmp_path / "s").problems == []


async def test_what_is_not_erased(tmp_path: Path):
    key = make_key(tmp_path / "key")
    store = SqliteStore(tmp_path / "s")
    await scene(store)
    await signed(store, key)
    with pytest.raises(Misuse, match="own record"):
        erase(store, "holdfast.audit", by="ann")
    with pytest.raises(NotFound):
        erase(store, "nobody", by="ann")
    await store.close()


async def forked(store: SqliteStore) -> Scene:
    """Run a with steps at 1 to 4, its fork f after 2, and g after what f did first."""
    one = Scene(store)
    await one.add("a", RunStarted("agent"), args=1)
    for number in range(1, 5):
        body = StepSettled(str(number), Plan("t"), took=1)
        await one.add("a", body, args=number, value=SMALL)
    await one.add("a", RunEnded("done", steps=4), value=1)
    await one.add("f", RunStarted("agent", fork_of="a", fork_pos=2))
    await one.add("f", StepSettled("3", Plan("t"), took=1), args=3, value=SMALL)
    await one.add("g", RunStarted("agent", fork_of="f", fork_pos=4))
    return one


async def test_j67_a_fork_that_goes_on_keeps_its_past(tmp_path: Path):
    """INVARIANT J67"""
    store = SqliteStore(tmp_path / "s")
    one = await forked(store)
    for key in ("1", "2", ""):
        for dry in (True, False):
            with pytest.raises(Conflict, match=r"its forks f, g have not ended.*cancel them"):
                erase(store, "a", key, by="ann", dry=dry)
    assert erase(store, "a", "3", by="ann").payloads == 2  # after the cut: nobody needs it
    await one.add("f", RunEnded("cancelled"))
    with pytest.raises(Conflict, match="its forks g have"):
        erase(store, "a", by="ann")
    with pytest.raises(Conflict, match="its forks g have"):
        erase(store, "f", "3", by="ann")
    await one.add("g", RunEnded("done"))
    assert erase(store, "a", by="ann").payloads == 8
    assert erase(store, "f", by="ann").payloads == 2
    await store.close()
    assert check(tmp_path / "s").problems == []


@pytest.mark.parametrize("more", [{"reuse": True}, {"holds": True}])
async def test_j67_a_fork_that_compares_with_all_of_its_source(tmp_path: Path, more: dict):
    """INVARIANT J67"""
    store = SqliteStore(tmp_path / "s")
    one = await forked(store)
    for run in ("f", "g"):
        await one.add(run, RunEnded("cancelled"))
    await one.add("h", RunStarted("agent", fork_of="a", fork_pos=2, **more))
    with pytest.raises(Conflict, match="its forks h have"):
        erase(store, "a", "4", by="ann")
    await one.add("h", RunEnded("done"))
    assert erase(store, "a", "4", by="ann").payloads == 2
    await store.close()


@pytest.mark.parametrize("what", ["fork", "erase"])
async def test_g88_what_begins_meanwhile_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    """INVARIANT G88: another process forks the run, or erases too, between the look and the act."""
    store = SqliteStore(tmp_path / "s")
    other = SqliteStore(tmp_path / "s")
    one = await forked(store)
    for run in ("g", "f"):
        await one.add(run, RunEnded("cancelled"))
    looked: list[int] = []
    look = erasing._needing

    def slow(conn: Any, run: str, first: int) -> Any:
        found = look(conn, run, first)
        looked.append(1)
        if len(looked) == 1 and what == "fork":
            body = RunStarted("agent", fork_of="a", fork_pos=2)
            other.append_now((Batch("late", (Draft(body, 1),)),), {})
        elif len(looked) == 1:
            assert erase(other, "a", "1", by="bea").payloads == 2
        return found

    monkeypatch.setattr(erasing, "_needing", slow)
    if what == "fork":
        with pytest.raises(Conflict, match="its forks late have"):
            erase(store, "a", by="ann")
        events = await other.read("a")
        assert all(one.kind != "finding.added" for one in events)
        assert unpack(events[1].value or b"", other.get) == SMALL
    else:
        assert erase(store, "a", by="ann").payloads == 8
        said = [one for one in await store.read("a") if one.kind == "finding.added"]
        counts = [unpack(one.value or b"", store.get)["payloads"] for one in said]
        assert counts == [2, 8]
    await store.close()
    await other.close()
    assert check(tmp_path / "s").problems == []


async def test_words_that_stay_are_counted(tmp_path: Path):
    store = SqliteStore(tmp_path / "s")
    one = Scene(store)
    digest = "ab" * 32
    await one.add("a", RunStarted("agent"), args=1)
    await one.add("a", ApprovalAsked("1", "action", f"to={SMALL!r}", digest), args={"to": SMALL})
    await one.add("a", ApprovalGiven("1", digest, "approve", "ann", note=SMALL))
    await one.add("a", StepSettled("1", Plan("t")), value=SMALL)
    failed = StepSettled("2", Plan("t"), status="error", error=Failure("Oops", SMALL))
    await one.add("a", failed, args=1)
    await one.add("a", RunEnded("failed", Failure("Oops", SMALL)))
    assert erase(store, "a", by="ann", dry=True).texts == 4
    assert erase(store, "a", "2", by="ann").texts == 1
    assert erase(store, "a", by="ann").texts == 4
    bodies = [event.body for event in await store.read("a")]
    assert sum(SMALL.encode() in body for body in bodies) == 4
    await store.close()
