"""The parts of anomalies, each against its definition."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from holdfast.explain import loops, novelty, quota, ranks, scale, surprise
from holdfast.values import limits

WORDS = st.lists(st.sampled_from("abcde"), max_size=40)


@given(values=st.lists(st.floats(0, 1e5), min_size=1, max_size=200), value=st.floats(0, 1e6))
def test_a_rank_is_the_share_at_least_as_high(values: list[float], value: float):
    past = ranks.no_ranks()
    for one in values:
        ranks.learn(past, ranks.bin_of(one))
    at = ranks.bin_of(value)
    higher = sum(ranks.bin_of(one) >= at for one in values)
    found = ranks.rank(past, at)
    if higher:
        assert found in (1.0, (higher + 1) / (len(values) + 1))
        if higher < len(values) // 16:
            assert found < 1.0 or past.due > 0
    else:
        assert 0 < found <= 1 / (len(values) + 1)
        assert ranks.rank(past, min(ranks.BINS - 1, at + 8)) <= found


@given(values=st.lists(st.floats(0, 1e3), min_size=3, max_size=60), times=st.integers(1, 20))
def test_what_is_taken_back_was_never_there(values: list[float], times: int):
    past, other = ranks.no_ranks(), ranks.no_ranks()
    for one in values:
        ranks.learn(past, ranks.bin_of(one))
        ranks.learn(other, ranks.bin_of(one))
    at = ranks.bin_of(1e5)
    ranks.adjust(past, at, times)
    assert past.n == len(values) + times
    ranks.adjust(past, at, -times)
    assert (past.bins, past.n, past.top) == (other.bins, other.n, other.top)


@given(some=st.lists(st.floats(1e-9, 1), min_size=1, max_size=12))
def test_fused_ranks_lie_between_the_least_and_bonferroni(some: list[float]):
    found = ranks.fused(some)
    assert min(some) * 0.999 <= found <= min(1.0, len(some) * min(some) * 1.001)
    assert ranks.fused([*some[1:], some[0] / 2]) <= found * 1.001


def plainly(words: list[str], before: str, last: str, symbol: str) -> float:
    """Witten-Bell from its definition, counting anew."""
    padded = ["", "start", *words]
    names = set(padded)
    p = 1.0 / (len(names) + 1)
    for context in ((), (last,), (before, last)):
        after = Counter(
            padded[i] for i in range(2, len(padded))
            if tuple(padded[i - len(context) : i]) == context
        )  # fmt: skip
        if after:
            p = (after[symbol] + len(after) * p) / (after.total() + len(after))
    return p


@given(words=WORDS.filter(bool), symbol=st.sampled_from("abcdez"))
def test_surprise_is_witten_bell(words: list[str], symbol: str):
    grams = surprise.no_grams()
    before, last = surprise.known(grams, ""), surprise.known(grams, "start")
    for word in words:
        number = surprise.known(grams, word)
        surprise.learn(grams, before, last, number)
        before, last = last, number
    padded = ["", "start", *words]
    found = surprise.bits(grams, before, last, grams.names.get(symbol, 0))
    assert math.isclose(found, -math.log2(plainly(words, padded[-2], padded[-1], symbol)))
    every = [*grams.names.values(), 0]
    total = sum(2 ** -surprise.bits(grams, before, last, one) for one in every)
    assert math.isclose(total, 1.0)


@given(values=st.lists(st.floats(5, 6), min_size=20, max_size=64), odd=st.integers(1, 9))
def test_the_middle_and_spread_withstand_outliers(values: list[float], odd: int):
    one = scale.no_scale()
    for value in [*values, *([50.0] * odd)]:
        scale.learn(one, value, scale.moved(one, scale.far(one, value)))
    assert abs(scale.far(one, 50.0)) > 20
    assert one.level <= 4.0
    assert scale.drift(scale.moved(one, 1e9)) <= scale.drift(4.0)


@given(calls=st.lists(st.integers(0, 3), max_size=60))
def test_loops_are_what_they_are_by_looking_back(calls: list[int]):
    loop = loops.no_loop()
    for place, call in enumerate(calls):
        times, length = loops.repeats(loop, call)
        seen = calls[: place + 1]
        best = 1
        for size in range(1, limits.ANOMALY_CYCLE_STEPS + 1):
            same = 0
            while len(seen) - 1 - same - size >= 0 and (
                seen[len(seen) - 1 - same] == seen[len(seen) - 1 - same - size]
            ):
                same += 1
            best = max(best, same // size + 1)
        assert times == best
        assert seen[-times * length :] == seen[-length:] * times


@given(things=st.lists(st.sampled_from("abcdefgh"), max_size=80))
def test_novelty_is_the_share_of_what_was_seen_once(things: list[str]):
    known = novelty.no_things()
    for thing in things:
        novelty.learn(known, thing)
    counts = Counter(things)
    assert known.once == sum(n == 1 for n in counts.values())
    assert known.n == len(things)
    for thing in counts:
        assert novelty.newness(known, thing) == 1.0
    assert 0 < novelty.newness(known, "z") <= 1


@given(
    given_ranks=st.lists(st.floats(1e-9, 0.009), min_size=1, max_size=200),
    a_day=st.integers(0, 10),
)
def test_a_quota_holds_on_every_day(given_ranks: list[float], a_day: int):
    book = quota.no_quota()
    told: Counter[int] = Counter()
    for number, rank in enumerate(given_ranks):
        at = 20_000 * 86_400_000 + number * 4_000_000
        if quota.admits(book, a_day, rank, at, plain=number % 7 == 0):
            told[quota.day_of(at)] += 1
    assert max(told.values(), default=0) <= a_day
    assert told.total() + book.untold == len(given_ranks)


def test_in_the_long_run_the_most_unusual_are_told():
    book = quota.no_quota()
    told: list[float] = []
    for day in range(60):
        for number in range(100):
            rank = 0.009 / (1 + number % 50)
            at = (20_000 + day) * 86_400_000 + number * 800_000
            if quota.admits(book, 10, rank, at, plain=False) and day > 20:
                told.append(rank)
    assert told
    assert max(told) <= 0.009 / 16
