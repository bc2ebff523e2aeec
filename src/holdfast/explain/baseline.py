"""What is usual for one agent (or for all of one role), and how unusual a step of it is."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from holdfast.explain import novelty, ranks, scale, surprise
from holdfast.explain.novelty import Known
from holdfast.explain.ranks import Ranks
from holdfast.explain.scale import Scale
from holdfast.explain.surprise import Grams
from holdfast.values import limits

UNIT: Final = {"cost": 1e-6, "tokens": 1.0, "latency": 1_000.0}
"""What is measured of a call, and the amount below which differences mean nothing: money,
tokens, microseconds."""

DRIFT: Final = {name: f"{name}.drift" for name in UNIT}
"""The part that looks at each of these over time."""


class Sight(msgspec.Struct, gc=False):
    """What was seen of one step. ``symbol``, after ``last`` and the one ``before``; ``tool``;
    ``amounts`` by name of `UNIT`; ``numbers`` and ``things`` met, by part; ``steps`` and ``money``
    of the run so far; ``times`` that the last ``cycle`` calls were repeated; ``failing``: share of
    the agent's steps that failed lately, in percent; ``rate``: its steps in the last minute."""

    symbol: str
    last: str
    before: str
    tool: str
    amounts: dict[str, float]
    numbers: dict[str, float]
    things: list[tuple[str, str]]
    steps: int
    money: float
    times: int
    cycle: int
    failing: float
    rate: float


class Hint(msgspec.Struct, frozen=True, gc=False):
    """How unusual one part of a step is: its ``rank``, of the value in bin ``at`` (-1: it is not
    counted in bins). ``value`` is what is shown, beside what is ``usual``."""

    name: str
    about: str
    value: float
    usual: float
    rank: float
    at: int


class Move(msgspec.Struct, frozen=True, gc=False):
    """A measure to take in: its key, the logarithm, and the moving average with it. ``often``: the
    agent has enough of it, so that others need not learn each from it."""

    key: str
    value: float
    level: float
    often: bool


class Baseline(msgspec.Struct, gc=False):
    """The past of an agent. ``ranks``: by part; ``scales``: by tool and measure; ``known``: things
    met, by part; ``steps`` and ``runs`` it was learned from."""

    grams: Grams
    ranks: dict[str, Ranks]
    scales: dict[str, Scale]
    known: dict[str, Known]
    steps: int = 0
    runs: int = 0

    @property
    def warm(self) -> bool:
        """Whether there is enough of it to compare anything with."""
        return self.steps >= limits.ANOMALY_COLD_STEPS and self.runs >= limits.ANOMALY_COLD_RUNS


def no_baseline() -> Baseline:
    """Nothing learned yet."""
    return Baseline(surprise.no_grams(), {}, {}, {})


class Looked:
    """What `look` made of a step. ``hints``: parts that are not quite usual; ``parts``: how many
    there were; ``marks`` and ``moves``: what is to be learned."""

    __slots__ = ("every", "hints", "marks", "moves", "parts")

    def __init__(self, *, every: bool) -> None:
        self.every = every
        self.hints: list[Hint] = []
        self.parts = 0
        self.marks: list[tuple[Ranks, int]] = []
        self.moves: list[Move] = []


def look(base: Baseline, sight: Sight, tools: dict[str, Scale], *, every: bool) -> Looked:
    """How unusual a step is, part by part, and what to learn of it. ``tools``: measures over all
    agents, which stand in while this one has few of a tool. ``every``: usual parts are hints too.
    """
    found = Looked(every=every)
    grams = base.grams
    names = grams.names
    before, last = names.get(sight.before, 0), names.get(sight.last, 0)
    bits = surprise.bits(grams, before, last, names.get(sight.symbol, 0))
    _part(found, base, "order", sight.symbol, bits)
    _measured(found, base, sight, tools)
    _part(found, base, "errors", "", sight.failing)
    _part(found, base, "rate", "", sight.rate)
    _part(found, base, "loop", sight.tool, sight.times)
    for part, number in sight.numbers.items():
        _part(found, base, part, sight.tool, number)
    if base.runs >= limits.ANOMALY_COLD_RUNS:
        for part, value, unit in (("length", sight.steps, 1.0), ("spent", sight.money, 1e6)):
            whole = base.ranks.get(part)
            if whole is not None:
                found.parts += 1
                at = ranks.bin_of(value * unit)
                if every or at >= whole.high:
                    rank = ranks.rank(whole, at)
                    found.hints.append(Hint(part, "", float(value), -1.0, rank, -1))
    for part, thing in sight.things:
        known = base.known.get(part)
        if known is not None:
            found.parts += 1
            rank = novelty.newness(known, thing)
            if rank < 1.0:
                found.hints.append(Hint(part, thing, 1.0, 0.0, rank, -1))
    return found


def _part(
    found: Looked, base: Baseline, name: str, about: str, value: float, *,
    usual: float = -1.0, shown: float = -1.0,
) -> None:  # fmt: skip
    """Look at one number; ``shown`` is what stands for it in an alarm, if not the number itself."""
    past = base.ranks.get(name)
    if past is None:
        past = base.ranks[name] = ranks.no_ranks()
    at = ranks.bin_of(value)
    found.parts += 1
    found.marks.append((past, at))
    if at >= past.high or found.every:
        shown = float(value) if shown < 0 else shown
        found.hints.append(Hint(name, about, shown, usual, ranks.rank(past, at), at))


def _measured(found: Looked, base: Baseline, sight: Sight, tools: dict[str, Scale]) -> None:
    for name, amount in sight.amounts.items():
        key = f"{sight.tool} {name}"
        value = math.log1p(amount / UNIT[name])
        own = base.scales.get(key)
        if own is not None and own.n < limits.ANOMALY_SCALE_STEP_ITEMS:
            own = None
        used = own or tools.get(key)
        if used is None or used.n < limits.ANOMALY_SCALE_STEP_ITEMS:
            found.moves.append(Move(key, value, 0.0, False))
            continue
        distance = scale.far(used, value)
        level = scale.moved(own, distance) if own is not None else 0.0
        often = own is not None and own.n % 8 != 0
        found.moves.append(Move(key, value, level, often))
        usual = math.expm1(used.middle) * UNIT[name]
        _part(found, base, name, sight.tool, distance, usual=usual, shown=amount)
        if own is not None:
            up = scale.drift(level)
            _part(found, base, DRIFT[name], sight.tool, up, usual=usual, shown=amount)


def learn(base: Baseline, sight: Sight, found: Looked) -> None:
    """Take in a step that `look` looked at."""
    grams = base.grams
    before, last = surprise.known(grams, sight.before), surprise.known(grams, sight.last)
    surprise.learn(grams, before, last, surprise.known(grams, sight.symbol))
    for past, at in found.marks:
        ranks.learn(past, at)
    for move in found.moves:
        measure(base.scales, move)
    for part, thing in sight.things:
        known = base.known.get(part)
        if known is None:
            known = base.known[part] = novelty.no_things()
        novelty.learn(known, thing)
    base.steps += 1


def measure(scales: dict[str, Scale], move: Move) -> None:
    """Take in one measure; the one used longest ago is forgotten if there are too many."""
    found = scales.get(move.key)
    if found is None:
        found = scales[move.key] = scale.no_scale()
        if len(scales) > limits.ANOMALY_SCALES_ITEMS:
            scales.pop(next(iter(scales)))
    scale.learn(found, move.value, move.level)


def end(base: Baseline, steps: int, money: float) -> None:
    """Take in a run that ended."""
    base.runs += 1
    for part, value in (("length", float(steps)), ("spent", money * 1e6)):
        found = base.ranks.get(part)
        if found is None:
            found = base.ranks[part] = ranks.no_ranks()
        ranks.learn(found, ranks.bin_of(value))


def usual(base: Baseline, hint: Hint) -> float:
    """What is usual of a hint's part."""
    if hint.usual >= 0:
        return hint.usual
    found = base.ranks.get(hint.name)
    middle = ranks.usual(found) if found is not None else 0.0
    return middle / 1e6 if hint.name == "spent" else middle


def judge(base: Baseline, sight: Sight, hints: list[Hint], *, normal: bool) -> None:
    """A person judged a step by its hints: what is normal counts many times from now on, what is
    bad is taken back."""
    times = limits.ANOMALY_NORMAL_ITEMS if normal else -1
    for hint in hints:
        if hint.name == "order":
            grams = base.grams
            last, before = (surprise.known(grams, one) for one in (sight.last, sight.before))
            surprise.learn(grams, before, last, surprise.known(grams, sight.symbol), times)
            continue
        found = base.ranks.get(hint.name)
        if hint.at >= 0 and found is not None:
            ranks.adjust(found, hint.at, times)
        known = base.known.get(hint.name)
        if known is not None:
            novelty.judge(known, hint.about, 1 if normal else novelty.NEVER)


def doubt(base: Baseline, hints: list[Hint]) -> None:
    """What a step met first raised an alarm: it stays new until it was met some more times, or
    a person says that it is normal."""
    for hint in hints:
        known = base.known.get(hint.name)
        if known is not None and hint.rank < 1.0 and known.things.get(hint.about, 0) == 1:
            novelty.judge(known, hint.about, 1 - limits.ANOMALY_DOUBTED_STEPS)
