"""What was spent, by whom and on what."""

from __future__ import annotations

from typing import Final

import msgspec

SCOPES: Final = ("organisation", "team", "agent", "run", "branch", "step", "model", "day")
"""What spending can be summed by."""


class Line(msgspec.Struct, frozen=True):
    """What one name of a scope used. ``scope``: one of `SCOPES`, or "total" (its name is "");
    ``name``: "" for what nobody counts there, such as agents without a team. ``money``: in the
    currency of the prices; ``tokens``: all of them; ``input``, ``output``, ``cache_read``,
    ``cache_write``: as models told them (what they did not tell apart is in ``tokens`` only);
    ``reasoning``: part of output. ``calls``: attempts of tools and models; ``runs``: in how many
    runs; ``share``: of all money, from 0 to 1 (of all tokens where no money was spent);
    ``unverified``: steps of which nobody told what they used, so that what was reserved counts,
    and ``guessed``: their money. ``joules``: energy, None where nothing is configured or told."""

    scope: str
    name: str
    money: float = 0.0
    tokens: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    calls: int = 0
    runs: int = 0
    share: float = 0.0
    unverified: int = 0
    guessed: float = 0.0
    joules: float | None = None
