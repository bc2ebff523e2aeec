"""On runs whose true source is known, it is ranked first; also of families not worked with."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from holdfast.explain.because import Edge
from holdfast.explain.why import read_why
from tests.explain.labelled import FAMILIES, HELD_OUT, Labelled, Make

SEEDS = 12


def ranked(case: Labelled) -> tuple[Edge, ...]:
    found = read_why(case.tape.events, case.tape.fetch, case.key)
    if not case.arg:
        return found.led
    return next(one.edges for one in found.arguments if one.path == case.arg)


def right(case: Labelled, first: int) -> bool:
    steps = [edge.source.step for edge in ranked(case)[: max(first, len(case.true))]]
    if first == 1:
        return set(case.true) <= set(steps)
    return not set(case.true).isdisjoint(steps)


@pytest.mark.parametrize(
    ("families", "first", "among"), [(FAMILIES, 0.95, 0.99), (HELD_OUT, 0.9, 0.95)],
    ids=["worked with", "held out"],
)  # fmt: skip
def test_the_true_source_comes_first(families: Mapping[str, Make], first: float, among: float):
    cases = [
        make(random.Random(f"{name}-{seed}"))
        for name, make in families.items()
        for seed in range(SEEDS)
    ]
    best = sum(right(case, 1) for case in cases) / len(cases)
    three = sum(right(case, 3) for case in cases) / len(cases)
    missed = [f"{case.kind} {case.arg}" for case in cases if not right(case, 1)]
    assert best >= first, missed
    assert three >= among, missed


@pytest.mark.parametrize("name", [*FAMILIES, *HELD_OUT])
def test_every_kind_is_mostly_right(name: str):
    make = {**FAMILIES, **HELD_OUT}[name]
    cases = [make(random.Random(f"kind-{name}-{seed}")) for seed in range(10)]
    assert sum(right(case, 3) for case in cases) >= 8
