"""Which decision of a run, taken otherwise, flips how it ended: a search that asks and is told.

Pure: it says which fork would teach the most (`ask`), is told how that fork ended (`tell`), and
says what is believed then (`belief`). Whoever makes the forks stands elsewhere.

There is one unknown: the place of the deciding step among ``0 .. n - 1``, or none of them. A fork
changes something, and ends well at a higher rate (``hit``) if what it changes has the deciding step
in it, at a lower one (``miss``) if not. What it changes is its *kind*:

- ``from``: the step and everything behind it is run again, so the decisions from there on are
  taken anew. It can repair the run if the deciding step is there or later.
- ``only``: the step alone is replaced, the rest keeps its outcomes where they are unaffected. It
  can repair the run if the deciding step is exactly there.

Both rates are unknown in real life; they are believed in a grid of points and summed out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Literal

import msgspec

from holdfast.explain.rates import wilson
from holdfast.values.errors import Misuse

Kind = Literal["from", "only"]
KINDS: Final[tuple[Kind, ...]] = ("from", "only")

UNIFORM: Final = 0.25
"""Share of the prior that is spread evenly over all steps, whatever the caller's weights say."""
NONE: Final = 0.05
"""Prior that no step of those decides."""
NARROWEST: Final = 0.1
"""A deciding step makes at least this much difference; less is no cause that forks could show."""


class Rate(msgspec.Struct, frozen=True, gc=False):
    """A point of what is believed of the two rates: a fork that can repair the run ends well with
    probability ``hit``, another with ``miss``; ``weight``: how likely that is beforehand."""

    hit: float
    miss: float
    weight: float = 1.0


def open_rates() -> tuple[Rate, ...]:
    """Nothing is known but that forks that can repair mostly do and others mostly do not:
    Beta(2.5, 1) and Beta(1.5, 4) on a grid, those with hardly a difference left out."""
    points = [*(number / 10 for number in range(1, 10)), 0.95]

    def beta(at: float, good: float, bad: float) -> float:
        return at ** (good - 1) * (1 - at) ** (bad - 1)

    found = [
        Rate(hit, miss, beta(hit, 2.5, 1) * beta(miss, 1.5, 4))
        for hit in points
        for miss in points
        if hit - miss >= NARROWEST - 1e-9
    ]
    total = sum(one.weight for one in found)
    return tuple(Rate(one.hit, one.miss, one.weight / total) for one in found)


class Fork(msgspec.Struct, frozen=True, gc=False):
    """What could be forked: a ``kind`` of change at a ``place`` (from 0)."""

    kind: Kind
    place: int


def reach(fork: Fork, steps: int) -> range:
    """The places, of ``steps``, whose decisions a fork takes anew: it can repair the run if the
    deciding step is one of them. A new kind of change is one more line here."""
    return range(fork.place, steps if fork.kind == "from" else fork.place + 1)


class Search(msgspec.Struct, frozen=True):
    """A search as it stands. ``prior``: of each step, then of none; ``rates``: what is believed of
    them beforehand; ``told``: by fork, how many ended well and badly."""

    prior: tuple[float, ...]
    rates: tuple[Rate, ...]
    told: dict[Fork, tuple[int, int]] = {}

    @property
    def steps(self) -> int:
        """How many steps it could be."""
        return len(self.prior) - 1

    @property
    def spent(self) -> int:
        """How many forks it was told of."""
        return sum(good + bad for good, bad in self.told.values())


class Share(msgspec.Struct, frozen=True, gc=False):
    """How many of some forks ended well: ``good`` of ``of``, between ``low`` and ``high`` (95 %,
    Wilson)."""

    good: int
    of: int
    low: float
    high: float


class Belief(msgspec.Struct, frozen=True):
    """What is believed now. ``steps``: by place, that it decides; ``none``: that none of them does;
    ``best``: the likeliest place, -1 if none is likelier than each; ``credible``: the fewest places
    (-1: none of them) that have 95 % together, likeliest first; ``changed``: of the forks that
    changed the decision at ``best``, how many ended well, ``kept``: of those that kept it;
    ``bits``: what is still unknown."""

    steps: tuple[float, ...]
    none: float
    best: int
    credible: tuple[int, ...]
    changed: Share
    kept: Share
    bits: float

    @property
    def sure(self) -> float:
        """The probability of ``best``."""
        return self.steps[self.best] if self.best >= 0 else self.none


def begin(
    steps: int,
    weights: Sequence[float] | None = None,
    *,
    rates: Iterable[Rate] | None = None,
    none: float = NONE,
) -> Search:
    """A search over ``steps`` steps. ``weights``: how likely each is beforehand, in any unit
    (default: all alike); ``rates``: what the two rates can be (default: open); ``none``: the
    probability that it is none of them. `Misuse` for weights that are none."""
    given = list(weights) if weights is not None else [1.0] * steps
    if steps < 1 or len(given) != steps or any(not 0 <= one < math.inf for one in given):
        raise Misuse(f"a search needs a step, and one weight from 0 on for each: {steps} steps")
    total = sum(given)
    # INVARIANT X40: no step is excluded beforehand, whatever its weight: all have an even share of
    # UNIFORM, so enough forks find any of them
    even = 1 / steps
    mixed = [UNIFORM * even + (1 - UNIFORM) * (one / total if total else even) for one in given]
    return Search((*((1 - none) * one for one in mixed), none), tuple(rates or open_rates()))


def tell(search: Search, fork: Fork, *, good: bool) -> Search:
    """The search after a fork ended well or not; `Misuse` for a place that it does not have."""
    if not 0 <= fork.place < search.steps:
        raise Misuse(f"there is no place {fork.place} among {search.steps} steps")
    well, badly = search.told.get(fork, (0, 0))
    return msgspec.structs.replace(
        search, told={**search.told, fork: (well + good, badly + (not good))}
    )


# What is believed ---------------------------------------------------------------------------------


def belief(search: Search) -> Belief:
    """What is believed after what was told; the order in which it was told does not matter."""
    # INVARIANT X41: a function of the counts alone, so forks can be told again in any order
    joint = _joint(search)
    each = [sum(row) for row in joint]
    order = sorted(range(len(each)), key=lambda place: (-each[place], place))
    sums = accumulate(each[place] for place in order)
    enough = next((n for n, total in enumerate(sums, 1) if total >= 0.95), len(order))
    none = search.steps
    named = [-1 if place == none else place for place in order]
    changed, kept = shares(search, named[0])
    bits = -sum(one * math.log2(one) for one in each if one > 0)
    return Belief(tuple(each[:none]), each[none], named[0], tuple(named[:enough]), changed, kept,
                  bits)  # fmt: skip


def shares(search: Search, place: int) -> tuple[Share, Share]:
    """How forks that changed the decision at ``place`` ended, and those that kept it."""
    counts = {True: [0, 0], False: [0, 0]}
    for fork, (good, bad) in search.told.items():
        mine = counts[place in reach(fork, search.steps)]
        mine[0] += good
        mine[1] += good + bad
    return _share(*counts[True]), _share(*counts[False])


def _share(good: int, of: int) -> Share:
    return Share(good, of, *wilson(good, of))


def _joint(search: Search) -> list[list[float]]:
    """The probability of each step (then of none) with each point of the rates."""
    logs = [
        (math.log(rate.hit), math.log1p(-rate.hit), math.log(rate.miss), math.log1p(-rate.miss),
         math.log(rate.weight))
        for rate in search.rates
    ]  # fmt: skip
    # how the forks ended that reach a place, summed from where reaches begin and end
    edges = [(0, 0)] * (search.steps + 1)
    for fork, (good, bad) in search.told.items():
        inside = reach(fork, search.steps)
        for place, sign in ((inside.start, 1), (inside.stop, -1)):
            edges[place] = (edges[place][0] + sign * good, edges[place][1] + sign * bad)
    well = sum(good for good, _ in search.told.values())
    badly = search.spent - well
    rows: list[list[float]] = []
    a = b = 0
    for (good, bad), prior in zip(edges, search.prior, strict=True):  # the last: none, all misses
        a, b = a + good, b + bad
        start = math.log(prior) if prior > 0 else -math.inf
        rows.append(
            [start + a * h + b * nh + (well - a) * m + (badly - b) * nm + weight
             for h, nh, m, nm, weight in logs]
        )  # fmt: skip
    top = max(max(row) for row in rows)
    rows = [[math.exp(one - top) for one in row] for row in rows]
    total = sum(map(sum, rows))
    return [[one / total for one in row] for row in rows]


# What to fork next --------------------------------------------------------------------------------


def ask(search: Search, forks: Iterable[Fork]) -> tuple[Fork, float] | None:
    """Of ``forks``, the one whose end is expected to tell the most about which step decides, and
    how many bits; of equals the one that runs the fewest steps again. None without any."""
    joint = _joint(search)
    each = [sum(row) for row in joint]
    hit = [sum(w * rate.hit for w, rate in zip(row, search.rates, strict=True)) for row in joint]
    miss = [sum(w * rate.miss for w, rate in zip(row, search.rates, strict=True)) for row in joint]
    # what a step adds to the chance of a good end, and to what stays unsure, if it is reached
    good = [0.0, *accumulate(one - other for one, other in zip(hit, miss, strict=True))]
    unsure = [0.0, *accumulate(
        share * (_bits(one / share) - _bits(other / share)) if share > 0 else 0.0
        for share, one, other in zip(each, hit, miss, strict=True)
    )]  # fmt: skip
    least = sum(share * _bits(one / share) for share, one in zip(each, miss, strict=True) if share)
    best: tuple[Fork, float] | None = None
    for fork in sorted(forks, key=lambda one: -one.place):
        inside = reach(fork, search.steps)
        well = sum(miss) + good[inside.stop] - good[inside.start]
        gain = _bits(well) - least - unsure[inside.stop] + unsure[inside.start]
        if best is None or gain > best[1] + 1e-12:
            best = (fork, max(0.0, gain))
    return best


def _bits(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


def needed(search: Search, forks: Iterable[Fork], confidence: float) -> int:
    """About how many more forks it takes until a step is believed with ``confidence``: what must
    still be learned, over what the next fork is expected to teach; 0 if it is known, -1 if no fork
    teaches anything."""
    now = belief(search)
    if now.sure >= confidence:
        return 0
    left = _bits(confidence) + (1 - confidence) * math.log2(max(2, search.steps))
    found = ask(search, forks)
    if found is None or found[1] < 1e-3:
        return -1
    return max(1, math.ceil((now.bits - min(left, now.bits * 0.8)) / found[1]))
