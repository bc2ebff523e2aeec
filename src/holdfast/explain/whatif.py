"""What forks with one thing changed came to: outcomes, how often, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.explain.comparison import Comparison
from holdfast.explain.outcome import Outcome
from holdfast.explain.rates import wilson
from holdfast.values.canon import encode


class Tried(msgspec.Struct, frozen=True):
    """One fork: its id, what came of it, whether that is another outcome than the run's (None: it
    cannot be told), and what its own steps used, by unit."""

    run: str
    outcome: Outcome
    differs: bool | None
    used: dict[str, float] = {}


class Frequency(msgspec.Struct, frozen=True):
    """How often forks came to one outcome; its share is between ``low`` and ``high`` with 95 %."""

    text: str
    count: int
    low: float
    high: float


class WhatIf(msgspec.Struct, frozen=True):
    """What one change came to. ``pos``: position of the event of the step that was changed;
    ``original``: what came of the run; ``flips`` of ``of`` forks that could be told ended
    otherwise, a share between ``low`` and ``high`` with 95 % (both 0 if none could be told);
    ``stopped``: why fewer forks were made than were asked for; ``comparison``: of the run with the
    first fork that ended otherwise, else with the first."""

    run: str
    step: str
    pos: int
    intervention: str
    original: Outcome
    tried: tuple[Tried, ...]
    flips: int
    of: int
    low: float
    high: float
    outcomes: tuple[Frequency, ...]
    stopped: str = ""
    comparison: Comparison | None = None


def frequencies(tried: Sequence[Tried]) -> tuple[Frequency, ...]:
    """Outcomes by how often they came, the most frequent first."""
    texts: dict[bytes, str] = {}
    counts: dict[bytes, int] = {}
    for one in tried:
        unknown = one.outcome.good is None and one.outcome.value is None
        told = one.outcome.text if unknown else [one.outcome.good, one.outcome.value]
        key = encode(told)
        texts.setdefault(key, one.outcome.text)
        counts[key] = counts.get(key, 0) + 1
    found = [
        Frequency(texts[key], count, *wilson(count, len(tried))) for key, count in counts.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.count, one.text)))
