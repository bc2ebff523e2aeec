"""What one meaningful response costs, factor by factor.

cost = E_t x A x C_t + P_t x C_p
"""

from __future__ import annotations

from typing import Final

import msgspec

FORMULA: Final = "E_t x A x C_t + P_t x C_p"


class Factor(msgspec.Struct, frozen=True):
    """One symbol of the formula. ``name``: what it stands for; ``value``: None where there is
    nothing to divide by; ``source``: what was counted, with the numbers."""

    symbol: str
    name: str
    value: float | None
    source: str


class Response(msgspec.Struct, frozen=True):
    """Cost per meaningful response. ``cost``: of the formula, None without one. ``attempts``: runs
    that ended (forks too; the runs that they spawned belong to them); ``meaningful``: those that
    are good by finding ``score`` (``by_score``) or, without one, ended done (``by_status``).
    ``others``: money of steps that are no models, for each meaningful response: the formula knows
    tokens only. ``processing``: how it was told which calls prepare or check a response."""

    formula: str
    factors: tuple[Factor, ...]
    cost: float | None
    attempts: int
    meaningful: int
    by_score: int
    by_status: int
    others: float | None
    processing: str
