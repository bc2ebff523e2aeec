"""Where the time of runs went: work, and waiting by cause."""

from __future__ import annotations

from typing import Final

import msgspec

CAUSES: Final = ("model", "tool", "person", "timer", "signal", "queue")
"""What runs wait for."""


class Times(msgspec.Struct, frozen=True):
    """The time of one run (ms) from its start to its end. ``work``: the program's own, with steps
    that change only its world; ``waits``: by cause; all of them together are ``wall`` exactly."""

    run: str
    wall: int
    work: int
    waits: dict[str, int]


class Wait(msgspec.Struct, frozen=True):
    """Waiting for one cause. ``ms``: in all runs; ``runs``: how many waited for it; ``share``: of
    their wall time."""

    cause: str
    ms: int
    runs: int
    share: float


class Handling(msgspec.Struct, frozen=True):
    """Handling time of runs that ended (ms). ``wall`` = ``work`` + all ``waits``; ``median`` and
    ``p95``: of a run's wall time."""

    runs: int
    wall: int
    work: int
    waits: tuple[Wait, ...]
    median: int
    p95: int


class Rate(msgspec.Struct, frozen=True):
    """``good`` of ``of``, as a share (None of nothing), with its 95 % Wilson interval."""

    good: int
    of: int
    share: float | None
    low: float
    high: float
