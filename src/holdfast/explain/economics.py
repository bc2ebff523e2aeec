"""What agents cost, where their time goes, and how much of both came to something."""

from __future__ import annotations

import msgspec

from holdfast.explain.caching import Cache
from holdfast.explain.chains import Chain
from holdfast.explain.response import Response
from holdfast.explain.spending import Line
from holdfast.explain.timing import Handling, Rate
from holdfast.explain.waste import Waste


class Economics(msgspec.Struct, frozen=True):
    """The reading of a journal, or of a part of it. ``first``, ``last``: times of the oldest and
    newest event (ms). ``total`` and ``spend``: all lines, by scope, dearest first. ``currency``: of
    all money. ``per_dollar``: tokens for one of money, None where none was spent.
    ``joules_per_token``: None where no meter is configured or told. ``straight``: runs that asked
    nobody; ``sla``: runs that ended within ``within`` ms (None: no time was given). ``notes``: what
    is not known, or was left out."""

    first: int
    last: int
    runs: int
    ended: int
    currency: str
    total: Line
    spend: tuple[Line, ...]
    waste: tuple[Waste, ...]
    wasted: float
    cache: Cache
    per_dollar: float | None
    joules_per_token: float | None
    response: Response
    handling: Handling
    straight: Rate
    sla: Rate | None
    within: int
    chains: tuple[Chain, ...]
    notes: tuple[str, ...]

    def by(self, scope: str) -> tuple[Line, ...]:
        """The lines of one scope, dearest first."""
        return tuple(line for line in self.spend if line.scope == scope)
