"""What providers' caches saved, and what broke them."""

from __future__ import annotations

import msgspec

from holdfast.explain.ledger import Ledger
from holdfast.values import limits


class Cache(msgspec.Struct, frozen=True):
    """How much of what models read came from providers' caches. ``read``: tokens from there;
    ``fresh``: tokens that were read anew (written to the cache or not); ``share``: read of both, 0
    to 1, None if nothing was read. ``breaks``: conversations that stopped being a continuation of
    themselves, ``lost``: tokens that were read anew for it (no more than the call did), and
    ``cost``: their price above that of the cache; ``unpriced``: breaks of whose call nobody knows
    the rates."""

    read: int = 0
    fresh: int = 0
    share: float | None = None
    breaks: int = 0
    lost: int = 0
    cost: float = 0.0
    unpriced: int = 0


def caching(ledger: Ledger) -> Cache:
    """How providers' caches were used. A break is told before the call that it makes dearer."""
    read = fresh = breaks = lost = unpriced = 0
    cost = 0.0
    for life in ledger.lives.values():
        left = list(life.breaks)
        breaks += len(left)
        for used in life.steps:
            told = used.told
            read += told.cache_read
            anew = told.input + told.cache_write
            fresh += anew
            while used.kind == "model" and told.total and left and left[0][0] < used.pos:
                tokens = min(left.pop(0)[1] // limits.TOKEN_MIN_BYTES, anew)
                anew -= tokens
                lost += tokens
                if used.input_rate:
                    cost += tokens * max(0.0, used.input_rate - used.cache_rate) / 1_000_000
                else:
                    unpriced += 1
        unpriced += len(left)
    share = read / (read + fresh) if read + fresh else None
    return Cache(read, fresh, share, breaks, lost, cost, unpriced)
