"""How many alarms there may be: the threshold that keeps them within a number for each day.

What comes near enough to an alarm is counted by how unusual it was, with old days fading by a tenth
each day. Something raises an alarm if what is more unusual came, on an average day, no more often
than there may be alarms. On the day itself no more than the number are raised either way; the
last quarter is kept for what needs no comparison (`holdfast.explain.anomaly`).
"""

from __future__ import annotations

import math

import msgspec

FLOOR = 0.01
"""A fused rank above this never raises an alarm, however few there are."""
_FADE = 0.9
_OCTAVE = 8
_BINS = 60 * _OCTAVE


class Quota(msgspec.Struct, gc=False):
    """``counts``: candidates by the logarithm of their rank, fading; ``days``: how many days these
    stand for; ``today``: alarms on ``day`` (days since 1970); ``untold``: candidates that were too
    many."""

    counts: list[float]
    day: int = 0
    days: float = 1.0
    today: int = 0
    untold: int = 0


def no_quota() -> Quota:
    """No alarm yet."""
    return Quota([0.0] * _BINS)


def day_of(at: int) -> int:
    """The day (since 1970, UTC) of a moment in ms."""
    return at // 86_400_000


def admits(quota: Quota, a_day: int, rank: float, at: int, *, plain: bool) -> bool:
    """Whether a candidate may raise an alarm; it is counted either way. ``plain``: it needs no
    comparison with the past."""
    day = day_of(at)
    if day > quota.day:
        if quota.day:
            fade = _FADE ** min(day - quota.day, 1_000)
            quota.counts = [one * fade for one in quota.counts]
            quota.days = quota.days * fade + (1.0 - fade) / (1.0 - _FADE)
        quota.day, quota.today = day, 0
    place = min(_BINS - 1, int(-_OCTAVE * math.log2(max(rank, 1e-18))))
    quota.counts[place] += 1.0
    room = a_day if plain else a_day - a_day // 4
    often = sum(quota.counts[place + 1 :]) / quota.days
    # INVARIANT X60: no day has more alarms than its number
    if quota.today < room and (plain or often <= a_day):
        quota.today += 1
        return True
    quota.untold += 1
    return False
