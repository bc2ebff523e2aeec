"""How reliable a chain of steps is, from the reliability of its links."""

from __future__ import annotations

import msgspec

from holdfast.explain.ledger import KINDS, REUSED, Ledger, Life
from holdfast.explain.rates import Rate, rate


class Link(msgspec.Struct, frozen=True):
    """One name of step in a chain. ``rate``: how often it ended with a value; ``uses``: how often a
    run takes it, on average; ``through``: how likely a run gets through all of these
    (share to the power of uses)."""

    name: str
    rate: Rate
    uses: float
    through: float


class Chain(msgspec.Struct, frozen=True):
    """The steps of one agent's runs that ended, in the order of first use. ``through``: product
    along the chain, as if links failed apart from each other; ``low``, ``high``: the same of the
    links' intervals; ``weakest``: where it loses most, "" if nowhere. ``observed``: runs that ended
    done."""

    agent: str
    links: tuple[Link, ...]
    through: float
    low: float
    high: float
    weakest: str
    observed: Rate


def chains(ledger: Ledger) -> list[Chain]:
    """A chain for each agent that has runs that ended, with steps; by name.

    A step that was retried and ended with a value went well; one that was refused did not.
    """
    agents: dict[str, list[Life]] = {}
    for life in ledger.lives.values():
        if life.ended and not life.idle:
            agents.setdefault(life.agent, []).append(life)
    found = [_chain(agent, lives) for agent, lives in sorted(agents.items())]
    return [one for one in found if one.links]


def _chain(agent: str, lives: list[Life]) -> Chain:
    counts: dict[str, list[int]] = {}
    for life in lives:
        for used in life.steps:
            if used.kind in KINDS and used.origin not in REUSED and used.status != "held":
                one = counts.setdefault(used.name, [0, 0])
                one[0] += used.status == "value"
                one[1] += 1
    links: list[Link] = []
    through = low = high = 1.0
    for name, (good, of) in counts.items():
        each, uses = rate(good, of), of / len(lives)
        link = Link(name, each, uses, (good / of) ** uses)
        links.append(link)
        through *= link.through
        low *= each.low**uses
        high *= each.high**uses
    weakest = min(links, key=lambda link: link.through, default=None)
    name = weakest.name if weakest is not None and weakest.through < 1 else ""
    done = sum(life.status == "done" for life in lives)
    return Chain(agent, tuple(links), through, low, high, name, rate(done, len(lives)))
