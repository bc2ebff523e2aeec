"""What agents cost, where their time goes, and how much of both came to something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from holdfast.explain.caching import Cache, caching
from holdfast.explain.chains import Chain, chains
from holdfast.explain.ledger import Ledger, keep
from holdfast.explain.rates import Rate, rate
from holdfast.explain.response import Response, families, response
from holdfast.explain.spending import SCOPES, Card, Energy, Line, lines
from holdfast.explain.timing import Handling, handling
from holdfast.explain.waste import Waste, fates, wasted
from holdfast.journal.events import Event


class Economics(msgspec.Struct, frozen=True):
    """The reading of a journal, or of a part of it. ``first``, ``last``: times of the oldest and
    newest event (ms). ``total`` and ``spend``: all lines, by scope, dearest first. ``currency``: of
    all money. ``wasted``: share of all money. ``per_dollar``: tokens for one of money, None where
    none was spent. ``joules_per_token``: None where no meter is configured or told. ``straight``:
    runs that asked nobody; ``sla``: runs that ended within ``within`` ms (None: no time was given).
    ``notes``: what is not known, or was left out."""

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


class Asked(msgspec.Struct, frozen=True):
    """What a reading is to look at. ``since``: leave out what is older (ms); ``agent``: only this
    one's runs; ``scopes``: by what to sum; ``card``: what the policy says of an agent; ``joules``:
    energy for a token, by name or glob of ``PROVIDER.MODEL``; ``within``: time (ms) in which runs
    are to end; ``processing``: names or globs of models that prepare or check responses;
    ``last_used``: by run, position of the last event that its outcome used (from ``why``)."""

    since: int = 0
    agent: str = ""
    scopes: tuple[str, ...] = SCOPES
    card: Card | None = None
    joules: Mapping[str, float] = {}
    within: int = 0
    processing: tuple[str, ...] = ()
    last_used: Mapping[str, int] | None = None


def economics(events: Iterable[Event], asked: Asked | None = None) -> Economics:
    """The economics of all events, which come in the order of their commits."""
    asked = asked or Asked()
    return reading(keep(events, asked.since), asked)


def reading(ledger: Ledger, asked: Asked) -> Economics:
    """The economics of a ledger, which stays as it is; ``asked.since`` counted when it was kept."""
    if asked.agent:
        lives_of = {name: life for name, life in ledger.lives.items() if life.agent == asked.agent}
        ledger = msgspec.structs.replace(ledger, lives=lives_of)
    lives = [life for life in ledger.lives.values() if not life.idle]
    found = fates(ledger)
    total, spend = lines(ledger, asked.scopes, card=asked.card, joules=asked.joules)
    waste = wasted(ledger, found, asked.last_used)
    over = [one for one in lives if one.ended]
    tops = [family for family in families(ledger).values() if family[0].ended]
    straight = sum(not any(life.asked for life in family) for family in tops)
    energy = None
    if total.joules is not None:
        energy = _joules_per_token(ledger, asked, total.joules)
    return Economics(
        ledger.first, ledger.last, len(lives), len(over), "USD", total, tuple(spend), tuple(waste),
        sum(one.share for one in waste), caching(ledger),
        total.tokens / total.money if total.money else None, energy,
        response(ledger, found, asked.processing),
        handling(life.spans.divide(life.run, life.started, life.ended) for life in over),
        rate(straight, len(tops)), _sla(ledger, asked.within), asked.within,
        tuple(chains(ledger)), tuple(_notes(ledger, asked, total)),
    )  # fmt: skip


def _sla(ledger: Ledger, within: int) -> Rate | None:
    """Runs that ended in time; one that goes on and is late already is late."""
    if not within:
        return None
    walls = [
        ((root.ended or ledger.last) - root.started, bool(root.ended))
        for root in (family[0] for family in families(ledger).values())
    ]
    of = sum(ended or wall > within for wall, ended in walls)
    return rate(sum(ended and wall <= within for wall, ended in walls), of)


def _joules_per_token(ledger: Ledger, asked: Asked, joules: float) -> float | None:
    """Joules for a token, of the steps of which energy is known."""
    energy = Energy(asked.joules)
    steps = (used for life in ledger.lives.values() for used in life.steps)
    tokens = sum(used.tokens for used in steps if energy.of(used) is not None)
    return joules / tokens if tokens else None


def _notes(ledger: Ledger, asked: Asked, total: Line) -> Iterable[str]:
    if ledger.forgotten:
        yield f"the {ledger.forgotten:,} runs that began first are left out: `holdfast economics`"
    if asked.last_used is None:
        yield 'steps after the last that an outcome used are not counted as waste: no "why" given'
    steps = [used for life in ledger.lives.values() for used in life.steps]
    unpriced = sum(used.kind == "model" and used.tokens > 0 and not used.money for used in steps)
    if unpriced:
        yield f"{unpriced:,} model calls have no money: nobody told, or knows, their price"
    if total.unverified:
        yield (
            f"{total.unverified:,} steps are unverified: nobody told what they used, so what was "
            f"reserved for them counts ({total.guessed:,.6f})"
        )
    retried = sum(used.attempt > 1 and not (used.last_money or used.told.total) for used in steps)
    if retried:
        yield (
            f"{retried:,} retried steps did not tell what each attempt used: no waste is counted "
            "for their earlier ones"
        )
    if asked.card is None and {"team", "organisation"} & set(asked.scopes):
        yield "teams and organisations are not known without a policy that names them"
