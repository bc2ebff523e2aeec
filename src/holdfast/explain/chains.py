"""How reliable a chain of steps is, from the reliability of its links."""

from __future__ import annotations

import msgspec

from holdfast.explain.timing import Rate


class Link(msgspec.Struct, frozen=True):
    """One name of step in a chain. ``rate``: how often it ended with a value; ``uses``: how often a
    run takes it, on average; ``through``: how likely a run gets through all of these
    (share to the power of uses)."""

    name: str
    rate: Rate
    uses: float
    through: float


class Chain(msgspec.Struct, frozen=True):
    """The steps of one agent's runs that ended. ``through``: product along the chain, as if links
    failed apart from each other; ``low``, ``high``: the same of the links' intervals; ``weakest``:
    where it loses most, "" if nowhere. ``observed``: runs that ended done."""

    agent: str
    links: tuple[Link, ...]
    through: float
    low: float
    high: float
    weakest: str
    observed: Rate
