"""Shares, and how sure they are."""

from __future__ import annotations

import math
from typing import Final

import msgspec

_Z: Final = 1.959964  # of the normal distribution, for 95 %


class Rate(msgspec.Struct, frozen=True):
    """``good`` of ``of``, as a share (None of nothing), with its 95 % Wilson interval."""

    good: int
    of: int
    share: float | None
    low: float
    high: float


def wilson(good: int, of: int) -> tuple[float, float]:
    """The interval that holds a share with 95 %, after ``good`` of ``of`` (Wilson, 1927): right for
    few and for all or none, too, never empty, within 0 and 1; (0, 1) of nothing."""
    if not of:
        return 0.0, 1.0
    share, square = good / of, _Z * _Z
    middle = share + square / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    low, high = (middle - spread) / (1 + square / of), (middle + spread) / (1 + square / of)
    return 0.0 if not good else max(0.0, low), 1.0 if good == of else min(1.0, high)


def rate(good: int, of: int) -> Rate:
    """A share with its interval."""
    low, high = wilson(good, of)
    return Rate(good, of, good / of, low, high) if of else Rate(0, 0, None, low, high)
