"""What providers' caches saved, and what broke them."""

from __future__ import annotations

import msgspec


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
