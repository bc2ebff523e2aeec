"""What every store must do, as a pytest suite.

    class TestMyStore(StoreConformance):
        async def open_store(self): return MyStore()

Needs pytest only. Each test opens a fresh store, plays a scenario on an event loop of its own, and
closes the store. A store that keeps things overrides `reopen` too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
    body_of,
    is_erased,
)
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.journal.views import CANCEL
from holdfast.testing.drafts import PLAN, begin, draft, settled, signal, sound, started
from holdfast.testing.meters import Meters
from holdfast.testing.suite import Suite, scenario
from holdfast.values.canon import Blobs, digest, pack, unpack
from holdfast.values.errors import Conflict, Corrupt, LeaseLost, Misuse, NotFound, TooLarge


class _Appends(Suite):
    """Appending: conditions, atomicity, order."""

    @scenario
    async def test_a_run_begins_and_grows(self, store: Store) -> None:
        events = await begin(store, "r", settled("1"), settled("2"))
        assert [event.pos for event in events] == [0, 1, 2]
        assert [event.seq for event in events] == [1, 2, 3]
        head = await store.head("r")
        assert (head.pos, head.id) == (2, events[2].id)
        assert [event.id for event in await sound(store, "r")] == [event.id for event in events]

    @scenario
    async def test_expectation(self, store: Store) -> None:
        """INVARIANT J3, the head: a wrong expectation writes nothing."""
        await begin(store, "r")
        for expect in (-1, 1, 7):
            with pytest.raises(Conflict):
                await store.append((Batch("r", (signal(),), expect),), {})
        assert (await store.head("r")).pos == 0
        await store.append((Batch("r", (signal(),), 0),), {})
        await store.append((Batch("r", (signal(),)),), {})
        assert (await store.head("r")).pos == 2
        with pytest.raises(Conflict):
            await store.append((Batch("new", (started(),), 3),), {})

    @scenario
    async def test_append_now_means_the_same(self, store: Store) -> None:
        store.append_now((Batch("r", (started(), settled("1")), -1),), {})
        with pytest.raises(Conflict):
            store.append_now((Batch("r", (signal(),), 0),), {})
        store.append_now((Batch("r", (signal(),), 1),), {})
        assert len(await sound(store, "r")) == 3

    @scenario
    async def test_many_runs_in_one_append_or_none(self, store: Store) -> None:
        await begin(store, "a")
        await begin(store, "b")
        both = (
            Batch("a", (signal(),), 0),
            Batch("c", (started(),), -1),
            Batch("b", (signal(),), 5),
        )
        with pytest.raises(Conflict):
            await store.append(both, {})
        assert (await store.head("a")).pos == (await store.head("b")).pos == 0
        with pytest.raises(NotFound):
            await store.head("c")
        assert await store.last_seq() == 2
        good = (*both[:2], Batch("b", (signal(),), 0), Batch("a", (signal("again"),), 1))
        events = await store.append(good, {})
        assert [(event.run, event.pos) for event in events] == [
            ("a", 1), ("c", 0), ("b", 1), ("a", 2),
        ]  # fmt: skip
        for run in "abc":
            await sound(store, run)

    @scenario
    async def test_unknown_runs_and_empty_appends(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.append((Batch("none", (signal(),)),), {})
        with pytest.raises(NotFound):
            await store.append((Batch("none", (started(),), epoch=3),), {})
        with pytest.raises(Misuse):
            await store.append((Batch("none", ()),), {})
        for question in (store.head, store.read, store.run):
            with pytest.raises(NotFound):
                await question("none")
        assert await store.last_seq() == 0

    @scenario
    async def test_what_cannot_be_hashed_soundly_is_refused(self, store: Store) -> None:
        for run in ('a"b', "", "ü", "x" * 81, "a b"):
            with pytest.raises(Misuse):
                await store.append((Batch(run, (started(),)),), {})
        with pytest.raises(Misuse):
            await store.append((Batch("r", (draft(RunStarted("a"), world='"'),)),), {})
        for at in (-1, 1 << 60):
            with pytest.raises(Misuse):
                await begin(store, "r", draft(RunEnded("done"), at=at))
        with pytest.raises(TooLarge):
            await begin(store, "r", draft(RunEnded("x" * 70_000)))
        assert await store.last_seq() == 0

    @scenario
    async def test_one_bad_append_harms_no_other(self, store: Store) -> None:
        await begin(store, "r")
        futures: list[Awaitable[Any]] = []
        for number in range(30):
            bad = number % 3 == 1
            at = 1 << 80 if number % 6 == 2 else 1
            body = draft(SignalReceived(f"s{number}"), at=at)
            futures.append(store.append((Batch("r", (body,), 99 if bad else None),), {}))
        answers = await asyncio.gather(*futures, return_exceptions=True)
        chain = await sound(store, "r")
        came = [body_of(event).name for event in chain[1:]]
        good = [f"s{n}" for n, answer in enumerate(answers) if not isinstance(answer, Exception)]
        assert came == good
        assert all(isinstance(answers[n], Conflict) for n in range(1, 30, 3))
        assert {f"s{n}" for n in range(0, 30, 3)} <= set(came)

    @scenario
    async def test_concurrent_appends_keep_the_order_of_the_calls(self, store: Store) -> None:
        await begin(store, "r")
        calls = [store.append((Batch("r", (signal(f"s{n}"),)),), {}) for n in range(300)]
        answers = await asyncio.gather(*calls)
        assert [events[0].pos for events in answers] == list(range(1, 301))
        chain = await sound(store, "r")
        assert [body_of(event).name for event in chain[1:]] == [f"s{n}" for n in range(300)]

    @scenario
    async def test_world_roots_are_carried_forward(self, store: Store) -> None:
        root, other = "a" * 64, "b" * 64
        await begin(store, "r", settled("1", world=root), settled("2"), settled("3", world=other))
        assert [event.world for event in await sound(store, "r")] == ["", root, root, other]
        assert (await store.head("r")).world == other

    @scenario
    async def test_payloads_come_back_as_they_were(self, store: Store) -> None:
        blobs: Blobs = {}
        value = {
            "text": "ü\u2028\0" * 9,
            "long": "x" * 9000,
            "raw": b"\0\xff" * 400,
            "$blob": [1.5],
        }
        skeleton = pack(value, blobs)
        step = draft(StepSettled("1", PLAN), args=skeleton, value=b"null")
        await store.append((Batch("r", (started(), step)),), blobs)
        event = (await sound(store, "r"))[1]
        assert (event.args, event.value) == (skeleton, b"null")
        assert unpack(event.args or b"", store.get) == value

    @scenario
    async def test_what_findings_said_can_be_forgotten(self, store: Store) -> None:
        """INVARIANT D50: forgetting changes no id, so the chain still proves itself."""
        blobs: Blobs = {}
        long = pack(["x" * 500], blobs)
        said = [draft(FindingAdded(0, "note"), value=value) for value in (long, b"2", None)]
        await begin(store, "r")
        await store.append((Batch("r", (*said, signal())),), blobs)
        before = await sound(store, "r")
        for _ in range(2):  # it may be said again
            store.forget("r", [1, 3])
            after = await sound(store, "r")
            assert [event.id for event in after] == [event.id for event in before]
            assert [is_erased(event.value) for event in after] == [False, True, *[False] * 3]
            assert (after[2].value, after[3].value) == (b"2", None)
        for bad in (0, 4, 5):
            with pytest.raises(Misuse):
                store.forget("r", [bad])
        with pytest.raises(NotFound):
            store.forget("none", [])
        await store.append((Batch("r", (draft(FindingAdded(0, "note")),), 4),), {})


class _Leases(Suite):
    """Leases: who may append what, claiming, releasing, waking."""

    @scenario
    async def test_only_the_owner_appends_steps(self, store: Store) -> None:
        """INVARIANT J3, the lease: outsiders only add news."""
        await begin(store, "r", owner=self.owner(store))
        assert (await store.run("r")).epoch == 1
        for epoch in (0, 2, 9):
            with pytest.raises(LeaseLost):
                await store.append((Batch("r", (settled("1"),), 0, epoch),), {})
        news = (signal(), draft(ApprovalGiven("1", "d", "approve", by="x")),
                draft(FindingAdded(0, "score")))  # fmt: skip
        await store.append((Batch("r", news),), {})
        for body in (RunEnded("done"), StepPlanned("1", PLAN), ApprovalAsked("1", "a", "t", "d"),
                     RunStarted("again")):  # fmt: skip
            with pytest.raises(LeaseLost):
                await store.append((Batch("r", (draft(body),)),), {})
        with pytest.raises(LeaseLost):  # news do not smuggle a step in
            await store.append((Batch("r", (signal(), settled("1"))),), {})
        await store.append((Batch("r", (settled("1"),), 3, 1),), {})
        assert len(await sound(store, "r")) == 5

    @scenario
    async def test_a_new_claim_fences_the_old_epoch(self, store: Store) -> None:
        me = self.owner(store)
        await begin(store, "r", owner=me)
        epoch = await store.claim("r", me)
        assert epoch == 2
        with pytest.raises(LeaseLost):
            await store.append((Batch("r", (settled("1"),), epoch=1),), {})
        await store.append((Batch("r", (settled("1"),), epoch=2),), {})
        with pytest.raises(NotFound):
            await store.claim("none", me)

    @scenario
    async def test_nobody_takes_from_the_living(self, store: Store) -> None:
        await begin(store, "r", owner=self.owner(store))
        with pytest.raises(LeaseLost):
            await store.claim("r", "somebody-else")
        assert (await store.run("r")).epoch == 1

    @scenario
    async def test_release_unless_something_arrived(self, store: Store) -> None:
        me = self.owner(store)
        await begin(store, "r", owner=me)
        await store.append((Batch("r", (signal(),)),), {})
        assert not await store.release("r", 1, 0)
        assert (await store.run("r")).owner == me
        assert not await store.release("r", 7, 1)
        assert await store.release("r", 1, 1)
        assert (await store.run("r")).owner == ""
        with pytest.raises(LeaseLost):
            await store.append((Batch("r", (settled("1"),), epoch=1),), {})
        assert await store.claim("r", me) == 2

    @scenario
    async def test_the_dead_hold_nothing(self, store: Store) -> None:
        await begin(store, "r", owner="ghost")
        self.bury(store, "ghost")
        ready, _ = await store.wakeable(0, 10)
        assert ready == ["r"]
        assert await store.claim("r", self.owner(store)) == 2
        assert await store.wakeable(0, 10) == ([], 0)

    @scenario
    async def test_wakeable_by_signal_answer_and_time(self, store: Store) -> None:
        plans = {
            "sig": StepPlanned("1", Plan("go", "signal")),
            "timer": StepPlanned("1", Plan("sleep", "wait"), due=5000),
            "later": StepPlanned("1", Plan("sleep", "wait"), due=9000),
            "person": ApprovalAsked("1", "action", "may I?", "d1"),
        }
        for run, body in plans.items():
            await begin(store, run, draft(body))
            assert (await store.run(run)).status == "waiting"
        assert await store.wakeable(4999, 10) == ([], 5000)
        assert await store.wakeable(5000, 10) == (["timer"], 9000)
        await store.append((Batch("sig", (signal("other"),)),), {})
        given = ApprovalGiven("1", "d2", "approve", by="x")
        await store.append((Batch("person", (draft(given),)),), {})
        assert await store.wakeable(0, 10) == ([], 5000)
        await store.append((Batch("sig", (signal("go"),)),), {})
        given = ApprovalGiven("1", "d1", "approve", by="x")
        await store.append((Batch("person", (draft(given),)),), {})
        ready, timer = await store.wakeable(6000, 10)
        assert (sorted(ready), timer) == (["person", "sig", "timer"], 9000)
        assert len((await store.wakeable(6000, 2))[0]) == 2
        epoch = await store.claim("sig", self.owner(store))
        assert sorted((await store.wakeable(6000, 10))[0]) == ["person", "timer"]
        await store.append((Batch("sig", (settled("1"),), epoch=epoch),), {})
        assert (await store.run("sig")).status == "running"

    @scenario
    async def test_cancelling_wakes_and_an_ended_run_sleeps(self, store: Store) -> None:
        wait = draft(StepPlanned("1", Plan("go", "signal")))
        await begin(store, "r", wait)
        for _ in range(2):
            await store.append((Batch("r", (signal(CANCEL),)),), {})
        assert (await store.wakeable(0, 10))[0] == ["r"]
        assert len((await store.run("r")).waits) == 2
        epoch = await store.claim("r", self.owner(store))
        await store.append((Batch("r", (draft(RunEnded("cancelled")),), epoch=epoch),), {})
        await store.append((Batch("r", (signal(CANCEL), signal("go"))),), {})
        assert await store.release("r", epoch, 6)
        row = await store.run("r")
        assert (row.status, row.waits) == ("cancelled", ())
        assert await store.wakeable(1 << 50, 10) == ([], 0)


class _Reads(Suite):
    """Reading: chains through forks, the tail, listings."""

    @scenario
    async def test_ranges(self, store: Store) -> None:
        await begin(store, "r", *(settled(str(n)) for n in range(9)))
        whole = await sound(store, "r")
        for start in range(11):
            for stop in (*range(12), None, 99):
                assert await store.read("r", start, stop) == whole[start:stop]

    @scenario
    async def test_forks_of_forks_share_the_past(self, store: Store) -> None:
        """INVARIANT J4: a fork's chain is its source's up to the cut, then its own."""
        await begin(store, "a", *(settled(str(n), world="a" * 64) for n in range(6)))
        await store.append((Batch("b", (started(fork_of="a", fork_pos=3), settled("b1"))),), {})
        await store.append((Batch("c", (started(fork_of="b", fork_pos=5), settled("c1"))),), {})
        await store.append((Batch("d", (started(fork_of="c", fork_pos=2),)),), {})
        await store.append((Batch("e", (started(fork_of="b", fork_pos=4), settled("e1"))),), {})
        names = {
            "b": "aaaabb", "c": "aaaabbcc", "d": "aaad", "e": "aaaabee", "a": "aaaaaaa",
        }  # fmt: skip
        for run, letters in names.items():
            chain = await sound(store, run)
            assert "".join(event.run for event in chain) == letters
            assert all(event.world == "a" * 64 for event in chain[1:])
            for start in range(len(chain) + 1):
                for stop in range(start, len(chain) + 1):
                    assert await store.read(run, start, stop) == chain[start:stop]
        assert (await store.run("d")).fork_of == "c"
        for bad in (("a", 7), ("a", -1), ("none", 0)):
            fork = started(fork_of=bad[0], fork_pos=bad[1])
            with pytest.raises(NotFound):
                await store.append((Batch("x", (fork,)),), {})

    @scenario
    async def test_fork_of_what_is_being_written(self, store: Store) -> None:
        fork = Batch("b", (started(fork_of="a", fork_pos=2), settled("b1")))
        further = Batch("c", (started(fork_of="b", fork_pos=1),))
        whole = Batch("a", (started(), settled("1"), settled("2")))
        await store.append((whole, fork, further), {})  # one append
        calls: list[Awaitable[Any]] = [
            store.append((Batch("x", (started(), settled("1"))),), {}),  # one transaction
            store.append((Batch("y", (started(fork_of="x", fork_pos=1),)),), {}),
            store.append((Batch("z", (started(fork_of="y", fork_pos=2),)),), {}),
            store.append((Batch("w", (started(fork_of="z", fork_pos=0),)),), {}),
        ]
        await asyncio.gather(*calls)
        for run, count in {"a": 3, "b": 5, "c": 3, "x": 2, "y": 3, "z": 4, "w": 2}.items():
            assert len(await sound(store, run)) == count

    @scenario
    async def test_segments(self, store: Store) -> None:
        await begin(store, "r", settled("1"), owner=self.owner(store))
        again = (draft(RunStarted("tester", segment=2)), settled("1"))
        await store.append((Batch("r", again, epoch=1),), {})
        assert (await store.run("r")).segments == (0, 2)
        await sound(store, "r")
        for cut, segments in ((1, (0,)), (2, (0, 2)), (3, (0, 2))):
            name = f"f{cut}"
            await store.append((Batch(name, (started(fork_of="r", fork_pos=cut),)),), {})
            assert (await store.run(name)).segments == segments

    @scenario
    async def test_the_tail_has_no_gaps(self, store: Store) -> None:
        seen: list[tuple[int, str, int]] = []

        async def follow() -> None:
            while len(seen) < 200:
                after = seen[-1][0] if seen else 0
                page = await store.tail(after, 7)
                seen.extend((event.seq, event.run, event.pos) for event in page)
                await asyncio.sleep(0)

        async def write(run: str) -> None:
            await begin(store, run)
            for _ in range(49):
                await store.append((Batch(run, (signal(),)),), {})

        await asyncio.gather(follow(), *(write(run) for run in "abcd"))
        assert [seq for seq, _, _ in seen] == list(range(1, 201))
        for run in "abcd":
            assert [pos for _, name, pos in seen if name == run] == list(range(50))
        assert await store.last_seq() == 200
        assert await store.tail(200) == []

    @scenario
    async def test_listing(self, store: Store) -> None:
        for number in range(12):
            agent = "even" if number % 2 == 0 else "odd"
            parent = "r0" if number in (5, 7) else ""
            first = started(agent, parent=parent)
            end = (draft(RunEnded("done")),) if number % 3 == 0 else ()
            await store.append((Batch(f"r{number}", (first, *end)),), {})

        async def names(query: RunQuery) -> list[str]:
            return [row.run for row in await store.runs(query)]

        newest_first = [f"r{number}" for number in reversed(range(12))]
        assert await names(RunQuery()) == newest_first
        assert await names(RunQuery(agent="odd", status="done")) == ["r9", "r3"]
        assert await names(RunQuery(parent="r0")) == ["r7", "r5"]
        assert await names(RunQuery(status="running", limit=2)) == ["r11", "r10"]
        paged: list[str] = []
        before = 0
        while page := await store.runs(RunQuery(limit=5, before=before)):
            paged += [row.run for row in page]
            before = page[-1].number
        assert paged == newest_first


class _Contents(Suite):
    """Blobs, and what survives."""

    @scenario
    async def test_blobs(self, store: Store) -> None:
        contents = [b"", b"x", b"\0" * 5_000_000, bytes(range(256)) * 50, b"short"]
        blobs = {digest(content): content for content in contents}
        for _ in range(2):
            await store.put(blobs)
            store.put_now(blobs)
        for name, content in blobs.items():
            assert store.get(name) == content
        with pytest.raises(Corrupt):
            store.get("0" * 64)
        with pytest.raises(Corrupt):
            store.get("no hash")
        await store.put({})

    @scenario
    async def test_a_blob_that_is_not_what_it_says_is_not_given_out(self, store: Store) -> None:
        await store.put({"0" * 64: b"forged"})
        with pytest.raises(Corrupt):
            store.get("0" * 64)

    @scenario
    async def test_big_payloads(self, store: Store) -> None:
        blobs: Blobs = {}
        value = ["y" * 12_000_000, {"deep": list(range(100_000))}]
        await begin(store, "r", settled("0", pack("first", blobs)))
        skeleton = pack(value, blobs)
        other = Batch("big", (started(), settled("1", skeleton)))
        event = (await store.append((other,), blobs))[1]
        assert unpack(event.value or b"", store.get) == value

    @scenario
    async def test_reopening_keeps_everything(self, store: Store) -> None:
        blobs: Blobs = {}
        skeleton = pack({"text": "z" * 4000}, blobs)
        batch = Batch("a", (started(), settled("1", skeleton)), -1, lease=self.owner(store))
        await store.append((batch,), blobs)
        await store.append((Batch("b", (started(fork_of="a", fork_pos=1), settled("2"))),), {})
        before = [await store.read("a"), await store.read("b")]
        rows = await store.runs(RunQuery())
        again = await self.reopen(store)
        if again is None:
            return
        try:
            assert [await sound(again, "a"), await sound(again, "b")] == before
            assert unpack(before[0][1].value or b"", again.get) == {"text": "z" * 4000}
            assert [row.run for row in await again.runs(RunQuery())] == [row.run for row in rows]
            assert await again.last_seq() == 4
            assert (await again.wakeable(0, 9))[0] == ["a", "b"]  # a closed store holds no lease
            assert await again.claim("a", self.owner(again)) == 2
            with pytest.raises(LeaseLost):
                await again.append((Batch("a", (settled("2"),), epoch=1),), {})
            await again.append((Batch("a", (settled("2"),), 1, 2),), {})
            await sound(again, "a")
        finally:
            await again.close()

    @scenario
    async def test_closing(self, store: Store) -> None:
        await begin(store, "r")
        waiting = [store.append((Batch("r", (signal(),)),), {}) for _ in range(20)]
        await store.close()
        await store.close()
        assert [len(events) for events in await asyncio.gather(*waiting)] == [1] * 20


class StoreConformance(_Appends, _Leases, _Reads, _Contents, Meters):
    """Everything that every store must do. Subclass it and override `open_store`."""
