"""A few hundred seeds of the simulation, and that it is what it says: repeatable, and not blind."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.engine import perform
from holdfast.journal.store import Batch
from holdfast.stores.memory import MemoryStore
from holdfast.testing import sim
from holdfast.testing.clock import VirtualClock, run_virtual
from holdfast.testing.drafts import begin, signal
from holdfast.testing.faults import FaultyStore

SEEDS = {"calm": 40, "mix": 200, "replay": 40, "sqlite": 15}


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("scenario", sim.SCENARIOS)
def test_seeds(scenario: str, part: int):
    """E1 to E8, J3, J5 and S2 under faults; `make sim` plays as many as time allows."""
    for seed in range(part, SEEDS[scenario], 4):
        try:
            sim.play(seed, scenario)
        except Exception as error:
            again = f"python -m holdfast.testing.sim --seed {seed} --scenario {scenario}"
            raise AssertionError(f"seed {seed} failed; again: {again}") from error


@pytest.mark.parametrize("scenario", ["mix", "calm"])
def test_a_seed_repeats_exactly(scenario: str):
    first = [sim.play(seed, scenario) for seed in range(100, 112)]
    second = [sim.play(seed, scenario) for seed in range(100, 112)]
    assert first == second
    assert len({one.digest for one in first}) == len(first)


def test_every_fault_is_met():
    """The swarm leaves none out."""
    met = {fault for seed in range(60) for fault in sim.play(seed, "mix").faults}
    assert met == set(sim.KINDS)


def test_a_broken_engine_is_found(monkeypatch: pytest.MonkeyPatch):
    """The oracles bite: an engine whose lookups lie repeats `once` effects."""
    plain = perform.perform

    async def lying(run, pending, command, clock):
        done = await plain(run, pending, command, clock)
        if command.reconcile:
            done.not_done, done.value, done.error = True, None, None
        return done

    monkeypatch.setattr("holdfast.engine.resident.perform", lying)
    found = []
    for seed in range(150):
        try:
            sim.play(seed, "mix")
        except sim.Failed as error:
            found.append(str(error))
    assert any("once pay" in text for text in found)


def test_the_command_line(capsys: pytest.CaptureFixture[str]):
    assert sim.main(["--seed", "3"]) == 0
    assert "1 seeds" in capsys.readouterr().out


def test_late_answers_keep_their_order_when_one_is_given_up():
    """As a store's do: who stops waiting lets no later answer pass an earlier one."""

    async def main() -> list[int]:
        delays = iter([0.0, 1.0, 0.0, 0.0])
        store, answered = FaultyStore(MemoryStore(), slow=lambda: next(delays)), []
        await begin(store, "r")

        async def one(number: int) -> None:
            await store.append((Batch("r", (signal(),)),), {})
            answered.append(number)

        waiting = [asyncio.ensure_future(one(number)) for number in range(3)]
        await asyncio.sleep(0.5)
        waiting[1].cancel()
        await asyncio.wait(waiting)
        return answered

    assert run_virtual(main, VirtualClock()) == [0, 2]
