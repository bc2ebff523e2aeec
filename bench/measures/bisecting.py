"""Finding the deciding step of simulated runs of 30 steps: how often, with how many forks.

A fork at or before it ends well with probability 0.9, one behind it with 0.3; each tells 0.297
bits at most, and 30 steps are 4.91. No search whatever that always takes 20 such forks is right
more often than `ceiling` says (a converse for channels with feedback).
"""

from __future__ import annotations

import functools
import math
import random

from bench.ground import Ground
from bench.report import Figure
from holdfast.explain.bisect import Fork, Rate, Search, ask, begin, belief, reach, tell

STEPS, HIT, MISS, BUDGET, SURE = 30, 0.9, 0.3, 20, 0.9
FORKS = [Fork("from", place) for place in range(STEPS)]


async def measure(ground: Ground) -> list[Figure]:
    count = ground.size(2_000, 200)
    chance = random.Random(6)
    rates = (Rate(HIT, MISS),)
    stopped, capped, early = [], [], []
    for _ in range(count):
        cause = chance.randrange(STEPS)
        stop, cap, both = _search(begin(STEPS, rates=rates, none=1e-6), cause, chance)
        stopped.append(stop)
        capped.append(cap)
        early.append(both)
    sliced = []
    for _ in range(count // 4):  # a slice of ten steps that has the deciding one
        cause = chance.randrange(STEPS)
        others = chance.sample([one for one in range(STEPS) if one != cause], 9)
        weights = [float(place == cause or place in others) for place in range(STEPS)]
        sliced.append(_search(begin(STEPS, weights, rates=rates, none=1e-6), cause, chance)[1])
    right = sum(one for one, _ in stopped) / count
    mean = sum(spent for _, spent in stopped) / count
    most = max(spent for _, spent in stopped)
    fixed, both = sum(capped) / count, sum(early) / count
    bound = ceiling(BUDGET, STEPS)
    what = f"bisect, {count:,} simulated runs of 30 steps (0.3/0.9)"
    return [
        Figure(f"{what}, until 0.9 is believed: found", right * 100, "%", ">= 90 %", right >= 0.9),
        Figure(f"{what}, until 0.9 is believed: forks on average", mean, "forks", "<= 20",
               mean <= BUDGET, note=f"at most {most}"),
        Figure(f"{what}, exactly 20 forks: found", fixed * 100, "%", ">= 90 %", fixed >= 0.9,
               note=f"no search can be above {bound * 100:.1f} %; stopping at 0.9 before: "
                    f"{both * 100:.1f} %"),
        Figure(f"{what}, exactly 20 forks, a slice of 10 steps as prior: found",
               sum(sliced) / len(sliced) * 100, "%", ">= 90 %", sum(sliced) / len(sliced) >= 0.9),
    ]  # fmt: skip


def _search(
    search: Search, cause: int, chance: random.Random
) -> tuple[tuple[bool, int], bool, bool]:
    """How it ended if it stops when it is sure, if it takes 20 forks, and if it does both."""
    stop: tuple[bool, int] | None = None
    cap: bool | None = None
    while True:
        found = belief(search)
        if stop is None and found.sure >= SURE:
            stop = found.best == cause, search.spent
        if cap is None and search.spent == BUDGET:
            cap = found.best == cause
        if stop is not None and cap is not None:
            return stop, cap, stop[0] if stop[1] <= BUDGET else cap
        asked = ask(search, FORKS)
        assert asked is not None
        rate = HIT if cause in reach(asked[0], STEPS) else MISS
        search = tell(search, asked[0], good=chance.random() < rate)


def ceiling(forks: int, steps: int) -> float:
    """An upper bound on how often any search, with any sets of steps to change, is right after so
    many forks: the best threshold test between the true step's likelihood and that of a coin with
    the capacity's output, over all ways to choose the next fork from the past (Polyanskiy)."""

    def entropy(p: float) -> float:
        return -(p * math.log(p) + (1 - p) * math.log(1 - p))

    def told(share: float) -> float:
        out = share * HIT + (1 - share) * MISS
        return entropy(out) - share * entropy(HIT) - (1 - share) * entropy(MISS)

    share = max((number / 1000 for number in range(1, 1000)), key=told)
    out = share * HIT + (1 - share) * MISS
    logs = (math.log(HIT / out), math.log((1 - HIT) / (1 - out)),
            math.log(MISS / out), math.log((1 - MISS) / (1 - out)))  # fmt: skip
    return min(
        1.0, *(_won(forks, logs, level / 4) + math.exp(level / 4) / steps for level in range(24))
    )


def _won(forks: int, logs: tuple[float, float, float, float], level: float) -> float:
    """The expected gain of the best choice of forks against a price of ``exp(level)``."""

    @functools.cache
    def value(left: int, a: int, b: int, c: int) -> float:
        if not left:
            d = forks - a - b - c
            known = a * logs[0] + b * logs[1] + c * logs[2] + d * logs[3]
            return max(0.0, 1 - math.exp(level - known))
        reached = HIT * value(left - 1, a + 1, b, c) + (1 - HIT) * value(left - 1, a, b + 1, c)
        missed = MISS * value(left - 1, a, b, c + 1) + (1 - MISS) * value(left - 1, a, b, c)
        return max(reached, missed)

    return value(forks, 0, 0, 0)
