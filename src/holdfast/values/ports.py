"""Time and chance come in through these two doors; no other core room may import them.

``SystemClock`` and ``SystemDice`` are the real ones; tests and simulations bring their own.
"""

from __future__ import annotations

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...

    def ticks_ns(self) -> int:
        """Nanoseconds of a monotonic counter, for measuring how long something took."""
        ...


class Dice(Protocol):
    """Chance."""

    def take(self, count: int) -> bytes:
        """``count`` unpredictable bytes."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def ticks_ns(self) -> int:
        return time.perf_counter_ns()


class SystemDice:
    """The machine's entropy."""

    def take(self, count: int) -> bytes:
        return os.urandom(count)
