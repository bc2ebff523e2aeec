"""Attempts: forks of a world side by side, ranked; checks leave nothing behind."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.runtime import Runtime
from holdfast.tools.attempts import Attempt, Tally, attempts, check, last_number, rank
from holdfast.world import Stage, list_dir

PY = sys.executable


def attempted(place: Path, *args: Any, **kwargs: Any) -> tuple[list[Attempt], dict[str, list[str]]]:
    """The results of a try, and the names in each fork's world."""

    async def main():
        async with Runtime(store="memory") as runtime:
            handle = await runtime.launch(attempts, args, kwargs, world=place)
            found = await handle.result()
            names = {
                one.run: [name for name, _ in list_dir(Stage(runtime.store.get), head.world)]
                for one in found
                if (head := await runtime.store.head(one.run))
            }
            return found, names

    return asyncio.run(main())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("one\n")
    return tmp_path


def test_forks_do_not_see_each_other_and_are_ranked_by_the_check(place: Path):
    code = (
        "import os; n = os.environ['HOLDFAST_ATTEMPT']\n"
        "open(n, 'w').write(n); open('n', 'w').write(n)"
    )
    test = "import sys; open('junk', 'w'); sys.exit(open('n').read() not in '23')"
    found, names = attempted(place, [PY, "-c", code], 4, [PY, "-c", test])
    assert [(one.number, one.check) for one in found] == [(2, 0), (3, 0), (1, 1), (4, 1)]
    for one in found:  # what the check made is not kept
        assert names[one.run] == sorted([str(one.number), "a.txt", "n"])
        assert one.changed == Tally(2, 2, 0)
    assert sorted(path.name for path in place.iterdir()) == ["a.txt"]


def test_a_score_decides_among_those_that_pass(place: Path):
    code = "import os; open('n', 'w').write(os.environ['HOLDFAST_ATTEMPT'])"
    test = "n = int(open('n').read()); print('of 10:', 5 - abs(n - 2))"
    found, _ = attempted(place, [PY, "-c", code], 3, [PY, "-c", test], score=True)
    assert [(one.number, one.score) for one in found] == [(2, 5.0), (1, 4.0), (3, 4.0)]


def test_what_cannot_be_run_is_an_attempt_too(place: Path):
    found, _ = attempted(place, ["/no/such/program"], 2)
    assert [one.number for one in found] == [1, 2]
    assert [one.exit for one in found] == [127, 127]


def test_a_time_limit_ends_an_attempt(place: Path):
    wait = "import os, time; os.environ['HOLDFAST_ATTEMPT'] == '1' and time.sleep(1000)"
    found, _ = attempted(place, [PY, "-c", wait], 2, seconds=2)
    assert [(one.number, one.timed_out) for one in found] == [(2, False), (1, True)]


def test_a_check_needs_a_run():
    with pytest.raises(holdfast.Misuse):
        asyncio.run(check(["true"]))


RESULTS = st.builds(
    Attempt, st.integers(1, 9), st.just("r"), st.one_of(st.none(), st.integers(0, 2)),
    st.one_of(st.none(), st.integers(0, 2)), st.one_of(st.none(), st.floats(-5, 5)),
    st.builds(Tally, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    error=st.sampled_from(["", "broke"]),
)  # fmt: skip


@given(st.lists(RESULTS, min_size=2))
def test_ranking_is_total_and_says_what_it_says(found: list[Attempt]):
    ordered = sorted(found, key=rank)
    for one, two in itertools.pairwise(ordered):
        assert bool(one.error) <= bool(two.error)
        if one.error == two.error:
            assert bool(one.check) <= bool(two.check)
            if bool(one.check) == bool(two.check):
                assert (one.score or 0) >= (two.score or 0)


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_the_last_number_is_found(text: str, number: float):
    assert last_number(f"{text} score: {number!r}\nok\n") == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("", None), ("none", None), ("3 of 7", 7.0), ("-1.5e3!", -1500.0), ("a .5", 0.5)],
)
def test_what_counts_as_a_number(text: str, number: float | None):
    assert last_number(text) == number
