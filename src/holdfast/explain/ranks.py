"""How unusual a number is among those before it, and how such ranks are put together.

The rank of a value is the share of an agent's past that was at least as high, (k + 1) / (n + 1),
so nothing need be assumed of how values are spread. Beyond the highest ever seen it goes on as a
Pareto tail of index 2 would: twice as high is four times as rare.

Ranks of several parts of one step depend on each other (a long answer costs more and takes longer),
so they are fused by their harmonic mean, m / sum(1 / rank), which holds under dependence (Wilson,
The harmonic mean p-value for combining dependent tests, PNAS 116, 2019). One part out of m alone
counts m times its rank, as Bonferroni would have it; several together count for more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from holdfast.values import limits

OCTAVE = 8
"""Bins for each doubling of 1 + value: values in one bin differ by less than a tenth."""
BINS = 160
"""Enough for values up to a million."""


class Ranks(msgspec.Struct, gc=False):
    """Values seen so far, counted in bins of their logarithm. ``n``: how many; ``top``: the highest
    bin that was ever hit (-1: none). Below bin ``high``, worked out again after ``due`` more
    values, nothing is unusual."""

    bins: list[int]
    n: int = 0
    top: int = -1
    high: int = 0
    due: int = 0


def no_ranks() -> Ranks:
    """Nothing seen yet."""
    return Ranks([0] * BINS)


def bin_of(value: float) -> int:
    """The bin of a value; all below 0 share the first."""
    if value <= 0:
        return 0
    at = int(OCTAVE * math.log2(1.0 + value))
    return at if at < BINS else BINS - 1


def rank(past: Ranks, at: int) -> float:
    """The rank of a value in bin ``at``: near 0 is unheard of. What is not among the highest
    sixteenth counts as 1: nobody asks how usual it is."""
    if at < past.high:
        return 1.0
    over = at - past.top
    if over > 0:
        return 4.0 ** (-over / OCTAVE) / (past.n + 1)
    return (sum(past.bins[at:]) + 1) / (past.n + 1)


def usual(past: Ranks) -> float:
    """The middle of the values seen."""
    left = past.n / 2
    for at, count in enumerate(past.bins):
        left -= count
        if left < 0:
            return float(2 ** (at / OCTAVE) - 1)
    return 0.0


def learn(past: Ranks, at: int) -> None:
    """Count a value in bin ``at``. Old values fade."""
    past.bins[at] += 1
    past.n += 1
    past.top = max(past.top, at)
    past.due -= 1
    if past.due < 0:
        _work_out(past)


def adjust(past: Ranks, at: int, times: int) -> None:
    """Count a value in bin ``at`` so many times at once, or (below 0) take it back."""
    count = max(0, past.bins[at] + times)
    past.n += count - past.bins[at]
    past.bins[at] = count
    past.top = next((one for one in range(BINS - 1, -1, -1) if past.bins[one]), -1)
    _work_out(past)


def _work_out(past: Ranks) -> None:
    if past.n > limits.ANOMALY_HISTORY_ITEMS:
        past.bins = [(one + 1) // 2 for one in past.bins]
        past.n = sum(past.bins)
    past.due = min(past.n, 64)
    past.high = _high(past)


def _high(past: Ranks) -> int:
    left = past.n // 16
    for at in range(past.top, -1, -1):
        left -= past.bins[at]
        if left < 0:
            return at
    return 0


def fused(ranks: Sequence[float]) -> float:
    """One rank for the ranks of several parts of the same step; 1 for none."""
    return min(1.0, len(ranks) / sum(1.0 / one for one in ranks)) if ranks else 1.0
