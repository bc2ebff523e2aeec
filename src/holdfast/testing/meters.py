"""What every store must do with meters: the part of the conformance suite that charges them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from holdfast.journal.events import RunEnded, StepPlanned, StepSettled
from holdfast.journal.meters import fold_meters
from holdfast.journal.store import Batch, Store
from holdfast.testing.drafts import PLAN, begin, draft, signal, sound, started
from holdfast.testing.suite import Suite, scenario
from holdfast.values import limits
from holdfast.values.errors import Conflict, Exceeded, Misuse


def planned(key: str, **charges: int) -> Any:
    """A plan that charges meters."""
    return draft(StepPlanned(key, PLAN, charges=charges))


def closed(key: str, **charges: int) -> Any:
    """An outcome that charges meters."""
    return draft(StepSettled(key, PLAN, charges=charges))


def own(run: str, *drafts: Any, **more: Any) -> Batch:
    """What the owner of a run appends under its first lease."""
    return Batch(run, drafts, epoch=1, **more)


class Meters(Suite):
    """Meters: added with the append, capped in commit order, a view of events."""

    @scenario
    async def test_charges_add_up_over_runs(self, store: Store) -> None:
        """INVARIANT J40: each charge is added once, in the append that commits its event."""
        assert store.meters(["a", "*"]) == {}
        await begin(store, "r", planned("1", a=5, b=1), closed("1", a=-2), owner=self.owner(store))
        await begin(store, "s", planned("1", a=10, ab=7), owner=self.owner(store))
        assert store.meters(["a"]) == {"a": 13}
        assert store.meters(["a*"]) == {"a": 13, "ab": 7}
        assert store.meters(["b", "ab", "none"]) == {"b": 1, "ab": 7}
        await store.append((own("s", closed("1", a=-13, b=-1), expect=1),), {})
        assert store.meters(["*"]) == {"ab": 7}
        events = [*await sound(store, "r"), *await sound(store, "s")]
        assert fold_meters(events) == {"ab": 7}

    @scenario
    async def test_a_cap_refuses_the_whole_append(self, store: Store) -> None:
        """INVARIANT J41, alone: the cap itself may be reached, one more is refused."""
        await begin(store, "r", planned("1", a=5), owner=self.owner(store))
        good = own("r", planned("2", a=5), expect=1, caps={"a": 10})
        await store.append((good,), {})
        for batch in (
            own("r", planned("3", a=1), caps={"a": 10}),
            Batch("r", (signal(),), caps={"a": 9}),
            own("r", planned("3", b=1), caps={"b": 0}),
        ):
            with pytest.raises(Exceeded) as caught:
                await store.append((batch, Batch("new", (started(),))), {})
            assert caught.value.meter in str(caught.value)
        assert (caught.value.meter, caught.value.cap, caught.value.value) == ("b", 0, 1)
        assert (await store.head("r")).pos == 2
        assert store.meters(["*"]) == {"a": 10}
        back = own("r", closed("1", a=-5), planned("3", a=5), caps={"a": 10})
        assert len(store.append_now((back,), {})) == 2

    @scenario
    async def test_caps_count_in_commit_order(self, store: Store) -> None:
        """INVARIANT J41, in a crowd: of many at once just as many pass as fit, and none of those
        that are refused harms a neighbour."""
        for run in range(8):
            await begin(store, f"r{run}", owner=self.owner(store))
        calls: list[Awaitable[Any]] = []
        for number in range(80):
            plan = planned(str(number), a=3)
            calls.append(store.append((own(f"r{number % 8}", plan, caps={"a": 100}),), {}))
            calls.append(store.append((Batch(f"r{number % 8}", (signal(),)),), {}))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, BaseException)]
        assert all(isinstance(one, Exceeded) for one in refused)
        assert len(refused) == 80 - 33
        assert [one for one in answers[0:66:2] if isinstance(one, BaseException)] == []
        assert store.meters(["a"]) == {"a": 99}
        for run in range(8):
            await sound(store, f"r{run}")

    @scenario
    async def test_a_refused_append_leaves_the_next_in_order(self, store: Store) -> None:
        """INVARIANT J42: its serial is used up, so what was delivered after it is accepted, and it
        is itself not accepted late."""
        await begin(store, "r", owner=self.owner(store))
        calls = [
            store.append((own("r", closed("1"), serial=1),), {}),
            store.append((own("r", planned("2", a=2), serial=2, caps={"a": 1}),), {}),
            store.append((own("r", closed("3"), serial=3),), {}),
        ]
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(second, Exceeded)
        assert not isinstance(first, BaseException)
        assert not isinstance(third, BaseException)
        with pytest.raises(Conflict):
            await store.append((own("r", planned("2", a=1), serial=2),), {})

    @scenario
    async def test_what_no_meter_can_hold_is_refused(self, store: Store) -> None:
        await begin(store, "r", owner=self.owner(store))
        wrong: list[dict[Any, Any]] = [
            {"": 1}, {"a*": 1}, {"a\n": 1}, {"\ud800": 1}, {"x" * (limits.METER_NAME_BYTES + 1): 1},
            {"\u00e4" * limits.METER_NAME_BYTES: 1}, {"a": True}, {"a": 1.5},
            {"a": limits.CHARGE_MAX_UNITS + 1}, {"a": -limits.CHARGE_MAX_UNITS - 1},
            {f"m{n}": 1 for n in range(limits.CHARGES_MAX_ITEMS + 1)},
        ]  # fmt: skip
        for charges in wrong:
            with pytest.raises(Misuse):
                await store.append((own("r", draft(StepPlanned("1", PLAN, charges=charges))),), {})
        with pytest.raises(Misuse):
            await store.append((Batch("r", (signal(),), caps={"*": 1}),), {})
        longest = {"\u00e4" * (limits.METER_NAME_BYTES // 2): -limits.CHARGE_MAX_UNITS}
        await store.append((own("r", draft(StepPlanned("1", PLAN, charges=longest))),), {})
        assert store.meters(["*"]) == longest

    @scenario
    async def test_a_fork_shares_its_past_and_pays_for_its_own(self, store: Store) -> None:
        await begin(store, "a", planned("1", used=5), closed("1"), owner=self.owner(store))
        fork = Batch("b", (started(fork_of="a", fork_pos=2), planned("2", used=1)))
        await store.append((fork,), {})
        assert store.meters(["*"]) == {"used": 6}

    @scenario
    async def test_meters_survive_reopening(self, store: Store) -> None:
        await begin(store, "r", planned("1", a=5, b=2), closed("1", b=-2), draft(RunEnded("done")))
        again = await self.reopen(store)
        if again is None:
            return
        try:
            assert again.meters(["*"]) == {"a": 5}
            await begin(again, "s", planned("1", a=1), owner=self.owner(again))
            batch = own("s", planned("2", a=1), caps={"a": 6})
            with pytest.raises(Exceeded):
                await again.append((batch,), {})
        finally:
            await again.close()
