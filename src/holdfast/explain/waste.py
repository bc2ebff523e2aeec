"""What was spent and did not reach an outcome."""

from __future__ import annotations

import msgspec


class Waste(msgspec.Struct, frozen=True):
    """What one cause lost; no step counts to two. ``cause``: "fork" (forks that failed, were
    cancelled, or were discarded), "branch" (branches inside a run that were never merged into it),
    "run" (runs that failed, were cancelled or judged bad), "after" (steps after the last that the
    outcome used), "refused" (model calls of which every proposal was refused), "error" (steps that
    ended with an error), "retry" (attempts before the one that ended a step). ``share``: of all
    money; ``steps``, ``runs``: how many; ``places``: the dearest, RUN or RUN@STEP."""

    cause: str
    money: float
    tokens: int
    steps: int
    runs: int
    share: float
    places: tuple[str, ...] = ()
