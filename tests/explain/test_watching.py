"""Watching a store: findings are written once, the cache is never truth, judgements count."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.explain.alarm import Alarm
from holdfast.explain.anomaly import Budget, fold, no_state
from holdfast.gate import parse_policy
from holdfast.journal.events import FindingAdded, body_of
from holdfast.journal.store import Store
from holdfast.journal.views import ANOMALY, ANOMALY_JUDGED
from holdfast.runtime.settings import Settings
from holdfast.runtime.watching import (
    FILE,
    Watching,
    alarms_of,
    budget_of,
    catch_up,
    find_alarm,
    judge,
    known,
    load,
    save,
    tell,
)
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.clock import VirtualClock
from holdfast.testing.days import PLANTED, Days, pour
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt, Misuse, NotFound

DAYS = Days(7)
for _ in range(6):
    DAYS.live(10)
DAYS.live(10, PLANTED)
EXPECTED = fold(no_state(), DAYS.events)


class Then(VirtualClock):
    """The end of these days."""

    def now_ms(self) -> int:
        return DAYS.events[-1].at


def filled(place: Path) -> SqliteStore:
    return SqliteStore(place / "store", synchronous="NORMAL")


def running(place: Path, test: Callable[[SqliteStore], Any], *, fill: bool = True) -> Any:
    async def main() -> Any:
        store = filled(place)
        try:
            if fill:
                await pour(store, DAYS.events, store.name)
            return await test(store)
        finally:
            await store.close()

    return asyncio.run(main())


async def findings(store: Store, *types: str) -> list[tuple[str, FindingAdded, Any]]:
    found: list[tuple[str, FindingAdded, Any]] = []
    for event in await store.tail(0, 1_000_000):
        if event.kind == "finding.added" and body_of(event).type in types:
            assert event.value is not None
            found.append((event.run, body_of(event), unpack(event.value, store.get)))
    return found


async def until(true: Callable[[], Any]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.01)


def settings(place: Path) -> Settings:
    return Settings(store=str(place / "store"), synchronous="NORMAL")


def test_each_alarm_is_one_finding_however_many_follow(tmp_path: Path):
    # INVARIANT X64
    async def test(store: SqliteStore) -> None:
        last = await store.last_seq()
        async with (
            Watching(settings(tmp_path), clock=Then()) as one,
            Watching(settings(tmp_path), clock=Then()) as two,
        ):
            await until(lambda: one.seq >= last + len(EXPECTED) <= two.seq)
            assert one.alarms() == two.alarms()
        async with Watching(settings(tmp_path), clock=Then()) as again:
            await until(lambda: again.seq >= last + len(EXPECTED))
        (tmp_path / "store" / FILE).unlink()
        async with Watching(settings(tmp_path), clock=Then()) as anew:
            await until(lambda: anew.seq >= last + len(EXPECTED))
            assert len(anew.alarms()) == len(EXPECTED)
        found = await findings(store, ANOMALY)
        assert Counter((run, body.about) for run, body, _ in found) == Counter(
            (alarm.run, alarm.pos) for alarm in EXPECTED
        )
        alarm = EXPECTED[0]
        (value,) = [
            value for run, body, value in found if (run, body.about) == (alarm.run, alarm.pos)
        ]
        assert value["score"] == alarm.score
        assert [part["name"] for part in value["parts"]] == [part.name for part in alarm.parts]

    assert EXPECTED
    running(tmp_path, test)


def test_what_comes_while_it_follows(tmp_path: Path):
    async def test(store: SqliteStore) -> None:
        async with Watching(settings(tmp_path), clock=Then()) as watching:
            heard: list[Alarm] = []

            async def listen() -> None:
                async for alarm in watching.newest():
                    heard.append(alarm)  # noqa: PERF401 - it never ends

            task = asyncio.create_task(listen())
            for start in range(len(DAYS.events)):
                if start and DAYS.events[start].run == DAYS.events[start - 1].run:
                    continue
                run = DAYS.events[start].run
                await pour(store, (one for one in DAYS.events if one.run == run), store.name)
            await until(lambda: len(watching.alarms()) >= len(EXPECTED))
            await until(lambda: {one.place for one in EXPECTED} <= {one.place for one in heard})
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert sorted(watching.alarms(), key=lambda one: one.at) == EXPECTED

    running(tmp_path, test, fill=False)


def _spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def _forge(file: Path) -> None:
    file.write_bytes(b"\xc1" * 100)


@pytest.mark.parametrize("harm", [Path.unlink, _spoil, _forge, lambda file: file.chmod(0)])
def test_the_cache_is_never_truth(tmp_path: Path, harm: Callable[[Path], Any]):
    # INVARIANT X63
    async def test(store: SqliteStore) -> None:
        directory = tmp_path / "store"
        state = await known(store, directory, Budget())
        save(directory, state)
        assert (directory / FILE).stat().st_mode & 0o077 == 0
        assert load(directory, Budget()) == state
        assert load(directory, Budget(1, 1)).seq == 0  # another budget makes other alarms
        harm(directory / FILE)
        again = await known(store, directory, Budget())
        assert again == state
        assert [kept.alarm for kept in again.alarms.values()] == EXPECTED

    running(tmp_path, test)


def test_a_cache_of_another_past_is_not_gone_on_with(tmp_path: Path):
    async def test(store: SqliteStore) -> None:
        state = await catch_up(store, no_state())
        other = msgspec_copy(state)
        other.id = "f" * 64
        other.agents.clear()
        assert await catch_up(store, other) == state
        ahead = msgspec_copy(state)
        ahead.seq += 100
        assert await catch_up(store, ahead) == state

    running(tmp_path, test)


def msgspec_copy(state: Any) -> Any:
    import msgspec

    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))


def test_judging(tmp_path: Path):
    async def test(store: SqliteStore) -> None:
        state = await catch_up(store, no_state())
        first, second = alarms_of(state)[:2]
        assert first.score >= second.score
        assert find_alarm(state, first.place) == first
        assert find_alarm(state, f"{first.run}#{first.pos}") == first
        with pytest.raises(NotFound, match="no alarm"):
            find_alarm(state, "nothing@1")
        with pytest.raises(Misuse, match="say normal or bad"):
            await judge(store, first, "fine", by="ann", now_ms=5)
        with pytest.raises(Misuse, match="characters"):
            await judge(store, first, "bad", by="ann", now_ms=5, note="x" * 501)
        await judge(store, first, "normal", by="ann", now_ms=5, note="as agreed")
        await judge(store, second, "bad", by="bea", now_ms=6)
        state = await catch_up(store, state)
        said = {one.place: (one.judged, one.by, one.note) for one in alarms_of(state)}
        assert said[first.place] == ("normal", "ann", "as agreed")
        assert said[second.place] == ("bad", "bea", "")
        assert alarms_of(state)[-1].place == first.place
        assert len(await findings(store, ANOMALY)) == 2
        assert len(await findings(store, ANOMALY_JUDGED)) == 2
        assert not await tell(store, first, 7)
        assert state == await catch_up(store, no_state())

    running(tmp_path, test)


def test_a_run_that_cannot_be_read_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    harmed = EXPECTED[0].run
    read = SqliteStore.read

    async def damaged(self: SqliteStore, run: str, start: int = 0, stop: int | None = None) -> Any:
        if run == harmed:
            raise Corrupt(f"run {run}: is damaged")
        return await read(self, run, start, stop)

    async def test(store: SqliteStore) -> None:
        monkeypatch.setattr(SqliteStore, "read", damaged)
        last = await store.last_seq()
        others = [one for one in EXPECTED if one.run != harmed]
        async with Watching(settings(tmp_path), clock=Then()) as watching:
            await until(lambda: watching.seq >= last + len(others))
            assert harmed in watching.trouble
        assert {run for run, _, _ in await findings(store, ANOMALY)} == {one.run for one in others}

    assert len({one.run for one in EXPECTED}) > 1
    running(tmp_path, test)


def test_old_alarms_are_listed_but_not_written(tmp_path: Path):
    async def test(store: SqliteStore) -> None:
        last = await store.last_seq()
        async with Watching(settings(tmp_path)) as watching:  # by the clock on the wall
            await until(lambda: watching.seq >= last)
            assert len(watching.alarms()) == len(EXPECTED)
        assert await findings(store, ANOMALY) == []

    running(tmp_path, test)


def test_a_policy_says_how_many():
    head = "version: 1\nrules: []\n"
    policy = parse_policy(head + "anomalies: {alarms_a_day: 3}\n", "p.yaml")
    assert budget_of(policy) == Budget(3, Budget().of_agent)
    plain = parse_policy(head, "p.yaml")
    assert budget_of(plain) == Budget()
    assert policy.hash != plain.hash
    with pytest.raises(Misuse, match=r"p.yaml:3: unknown field 'alarms_aday'.*'alarms_a_day'"):
        parse_policy(head + "anomalies: {alarms_aday: 3}\n", "p.yaml")
    with pytest.raises(Misuse, match="of_agent must be from 0 to"):
        parse_policy(head + "anomalies: {of_agent: -1}\n", "p.yaml")
