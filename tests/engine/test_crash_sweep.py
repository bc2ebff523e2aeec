"""Crash at every write: before it, after it, in the middle, delivered twice. It ends the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.faults import FAULTS, at
from tests.engine.scenarios import SCENARIOS, Found, Make, carry_out


def compare(clean: Found, found: Found, where: str) -> None:
    assert found.problems == [], where
    assert found.result == clean.result, where
    assert found.worlds == clean.worlds, where
    assert found.statuses == clean.statuses, where
    assert found.effects == clean.effects, where


@pytest.mark.parametrize("name", SCENARIOS)
def test_undisturbed(name: str, tmp_path: Path):
    clean = carry_out(SCENARIOS[name], [], None, tmp_path)
    assert clean.problems == []
    assert set(clean.statuses.values()) == {"done"}
    assert clean.lives == 1


def sweep(make: Make, fault: str, tmp_path: Path, *, every: int = 1, sqlite: bool = False) -> int:
    """Crash at each append in turn; how many crashes there were."""
    clean = carry_out(make, [], None, tmp_path / "clean")
    crashes = 0
    for number in range(1, clean.appends[0] + 1, every):
        store = SqliteStore(tmp_path / f"{number}", synchronous="NORMAL") if sqlite else None
        found = carry_out(make, [at(number, fault)], store, tmp_path / f"caches{number}")
        compare(clean, found, f"{fault} append {number} of {clean.appends[0]}")
        if fault == "repeated":
            assert found.accepted_twice == 0, f"append {number} was accepted twice"
        crashes += found.lives == 2
    return crashes


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_crash_at_every_write(name: str, fault: str, tmp_path: Path):
    """E6, E8, J3, J5: what was recorded stays, what was not is done again under the same key, what
    may have happened is looked up."""
    crashes = sweep(SCENARIOS[name], fault, tmp_path)
    assert (crashes > 0) == (fault != "repeated")


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize(
    "name", ["once_with_approval", "gathered", "spawned", "continued", "published"]
)
def test_crash_at_writes_on_sqlite(name: str, fault: str, tmp_path: Path):
    assert sweep(SCENARIOS[name], fault, tmp_path, every=2, sqlite=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["once_with_approval", "retries", "gathered", "signalled"])
def test_crash_twice(name: str, tmp_path: Path):
    """A crash while recovering from a crash."""
    make = SCENARIOS[name]
    clean = carry_out(make, [], None, tmp_path)
    for first in range(1, clean.appends[0] + 1, 3):
        for second in range(1, 6, 2):
            for fault in ("before", "after"):
                plans = [at(first, fault), at(second, fault)]
                found = carry_out(make, plans, None, tmp_path)
                compare(clean, found, f"{fault} append {first}, then {second}")
