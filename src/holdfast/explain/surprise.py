"""How surprising a step is after the two before it: an interpolated n-gram model of an agent.

Order 3 with Witten-Bell interpolation (Witten and Bell, The zero-frequency problem, IEEE Trans.
Information Theory 37, 1991): p(s | h) = (c(h s) + t(h) p(s | h')) / (c(h) + t(h)), where c counts,
t(h) is how many different symbols followed h, and h' is h without its oldest symbol. Below the
order 1 stands a uniform floor over all symbols known and one more, so what was never seen has a
probability too. The surprise is -log2 p, in bits.
"""

from __future__ import annotations

import math

import msgspec

from holdfast.values import limits

Counts = dict[int, int]
"""How often each symbol followed; under 0, how often any did (symbols count from 1)."""


class Grams(msgspec.Struct, gc=False):
    """What followed what. Symbols are numbers, by name in ``names``; a context of two is one number
    made of both."""

    names: dict[str, int]
    one: Counts
    two: dict[int, Counts]
    three: dict[int, Counts]


def no_grams() -> Grams:
    """Nothing seen yet."""
    return Grams({}, {0: 0}, {}, {})


def known(grams: Grams, name: str) -> int:
    """The number of a symbol, given one if it is new; those beyond the limit share the last."""
    found = grams.names.get(name)
    if found is None:
        found = min(len(grams.names) + 1, limits.ANOMALY_SYMBOLS_ITEMS)
        if found < limits.ANOMALY_SYMBOLS_ITEMS:
            grams.names[name] = found
    return found


def bits(grams: Grams, before: int, last: int, symbol: int) -> float:
    """The surprise of ``symbol`` (0: a new one) after ``before`` and ``last`` (0: the start)."""
    p = 1.0 / (len(grams.names) + 1)
    one = grams.one
    p = _mixed(one, symbol, p)
    two = grams.two.get(last)
    if two is not None:
        p = _mixed(two, symbol, p)
        three = grams.three.get(before * limits.ANOMALY_SYMBOLS_ITEMS + last)
        if three is not None:
            p = _mixed(three, symbol, p)
    return -math.log2(p)


def _mixed(counts: Counts, symbol: int, below: float) -> float:
    """One order's probability, on that of the order below."""
    kinds = len(counts) - 1
    if not kinds:
        return below
    seen = counts.get(symbol, 0) if symbol else 0
    return (seen + kinds * below) / (counts[0] + kinds)


def learn(grams: Grams, before: int, last: int, symbol: int, times: int = 1) -> None:
    """Count ``symbol`` after ``before`` and ``last``, or (``times`` < 0) take it back."""
    context = before * limits.ANOMALY_SYMBOLS_ITEMS + last
    two, three = grams.two, grams.three
    if context not in three:
        three[context] = {0: 0}
    if last not in two:
        two[last] = {0: 0}
    for counts in (grams.one, two[last], three[context]):
        now = counts.get(symbol, 0) + times
        if now < 0:
            continue
        counts[0] += times
        counts[symbol] = now
        if not now:
            del counts[symbol]
    if len(three) > limits.ANOMALY_CONTEXTS_ITEMS:
        grams.two, grams.three = _faded(grams.two), _faded(grams.three)


def _faded(table: dict[int, Counts]) -> dict[int, Counts]:
    """Half of all counts, without what was seen once: bounded memory, the rare goes first."""
    found: dict[int, Counts] = {}
    for context, counts in table.items():
        half = {symbol: n // 2 for symbol, n in counts.items() if symbol and n > 1}
        if half:
            found[context] = {0: sum(half.values()), **half}
    return found
