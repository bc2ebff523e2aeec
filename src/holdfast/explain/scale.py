"""How far a number is from what is usual, by robust statistics on its logarithm.

The middle is the median of the newest values, the spread their MAD (median absolute deviation,
times 1.4826, that of a normal distribution), so that up to half of them may be outliers. Cost,
tokens and time are multiplicative, so their logarithms are looked at. A drift, small each time, is
seen in an exponentially weighted moving average of these distances (the EWMA chart of Roberts,
Technometrics 1, 1959) in units of its own deviation.
"""

from __future__ import annotations

import math

import msgspec

from holdfast.values import limits

WEIGHT = 0.2
"""Of the newest value in the moving average: it remembers about ten."""
_DEVIATION = math.sqrt(WEIGHT / (2 - WEIGHT))
_CLIP = 4.0
"""Deviations that one value counts in the average at most: one outlier is no drift."""
_LEAST = 0.1
"""Spread of a logarithm at least, a tenth: who is always alike is not alarmed by a little more."""


class Scale(msgspec.Struct, gc=False):
    """The newest values (logarithms, in a ring) of one measure. ``middle`` and ``spread`` are those
    of a moment ago: ``stale`` counts values since. ``level``: the moving average."""

    recent: list[float]
    n: int = 0
    middle: float = 0.0
    spread: float = 1.0
    level: float = 0.0
    stale: int = 0


def no_scale() -> Scale:
    """Nothing seen yet."""
    return Scale([])


def far(scale: Scale, value: float) -> float:
    """How many deviations ``value`` (a logarithm) is above the middle."""
    often = 1 if scale.n <= 2 * limits.ANOMALY_SCALE_STEP_ITEMS else limits.ANOMALY_SCALE_STEP_ITEMS
    if scale.stale >= often:
        _settle(scale)
    return (value - scale.middle) / scale.spread


def moved(scale: Scale, distance: float) -> float:
    """The moving average with one more value at this ``distance``."""
    level = scale.level
    if distance > _CLIP:
        distance = _CLIP
    elif distance < -_CLIP:
        distance = -_CLIP
    return level + WEIGHT * (distance - level)


def drift(level: float) -> float:
    """How many of its deviations a moving average is up."""
    return level / _DEVIATION if level > 0 else 0.0


def learn(scale: Scale, value: float, level: float) -> None:
    """Take in a value; ``level``: the moving average from now on."""
    scale.level = level
    recent = scale.recent
    if len(recent) < limits.ANOMALY_SCALE_ITEMS:
        recent.append(value)
    else:
        recent[scale.n % limits.ANOMALY_SCALE_ITEMS] = value
    scale.n += 1
    scale.stale += 1


def _settle(scale: Scale) -> None:
    values = sorted(scale.recent)
    half = len(values) // 2
    middle = values[half]
    deviations = sorted([abs(value - middle) for value in values])
    scale.middle = middle
    scale.spread = max(_LEAST, 1.4826 * deviations[half])
    scale.stale = 0
