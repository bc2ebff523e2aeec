"""What runs used and how they went, from their events: one pass, which every reading of costs and
times is made of.

Money is counted as meters count it, in whole millionths, so that sums over agents, runs or steps
are the same number, and the one that a budget's meter shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from holdfast.gate.counting import SCALE, units
from holdfast.journal.events import Event, RunStarted, StepSettled, body_decoder, body_of
from holdfast.journal.record import OWN
from holdfast.journal.views import PUBLISH, SCORE, place_of

PREFIX: Final = "model.prefix"
"""Type of the finding that a conversation stopped being a continuation of itself."""
MICRO: Final = SCALE["money"]
"""Millionths in one of money."""
KINDS: Final = ("tool", "model")
"""Kinds of steps that use money and tokens, and are counted as calls."""


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Tokens as a model's answer told them; ``reasoning`` is part of ``output``."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """All tokens that were read and written."""
        return self.input + self.output + self.cache_read + self.cache_write


NO_TOKENS: Final = Tokens()


class Used(msgspec.Struct, gc=False):
    """What one settled step used. ``place``: its key, after the number of a later segment;
    ``money``: millionths; ``tokens``: all of them, of every attempt; ``told``: how the last answer
    of a model says that they divide; ``last_money``: millionths that this last answer cost;
    ``input_rate``, ``cache_rate``: money for a million tokens that its price says, 0 if none."""

    run: str
    place: str
    pos: int
    at: int
    kind: str
    name: str
    effect: str
    status: str
    origin: str
    branch: str
    calls: int
    attempt: int
    money: int
    tokens: int
    told: Tokens
    last_money: int
    unverified: bool
    joules: float | None
    took: int
    input_rate: float = 0.0
    cache_rate: float = 0.0


class Life(msgspec.Struct):
    """One run as the journal tells it. Times are ms since 1970; ``ended`` 0: it has not. ``good``:
    what a person, else a check, says of its outcome (None: nobody said), as ``score``; ``taken``:
    something took its outcome in (a merge, or what it held was published); ``asked``: how often
    persons were asked; ``breaks``: bytes that a broken prefix made a provider read anew, with the
    position; ``opened`` and ``merged``: its branches, by key."""

    run: str
    agent: str
    parent: str = ""
    fork_of: str = ""
    holds: bool = False
    started: int = 0
    first_seq: int = 0
    ended: int = 0
    status: str = ""
    good: bool | None = None
    scored: str = ""
    taken: bool = False
    asked: int = 0
    segment: int = 1
    steps: list[Used] = msgspec.field(default_factory=list)
    breaks: list[tuple[int, int]] = msgspec.field(default_factory=list)
    opened: set[str] = msgspec.field(default_factory=set)
    merged: set[str] = msgspec.field(default_factory=set)
    events: list[tuple[Event, Any]] = msgspec.field(default_factory=list)
