"""What runs used and how they went, from their events: one pass, which every reading of costs and
times is made of.

Money is counted as meters count it, in whole millionths, so that sums over agents, runs or steps
are the same number, and the one that a budget's meter shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from holdfast.explain.answers import Open, follow
from holdfast.explain.timing import Spans
from holdfast.gate.counting import units
from holdfast.journal.events import Event, Plan, RunStarted, StepSettled, body_decoder
from holdfast.journal.record import OWN
from holdfast.journal.views import BRANCH, SCORE, THREAD, place_of
from holdfast.values.errors import Corrupt

PREFIX: Final = "model.prefix"
"""Type of the finding that a conversation stopped being a continuation of itself."""
KINDS: Final = ("tool", "model")
"""Kinds of steps that use money and tokens, and are counted as calls."""
REUSED: Final = ("fork", "edit", "preview", "publish")
"""Origins of outcomes that were not performed where they stand."""


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Tokens as a model's answer told them; ``reasoning`` is part of ``output``."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """All tokens that were read and written."""
        return self.input + self.output + self.cache_read + self.cache_write


NO_TOKENS: Final = Tokens()


class Used(msgspec.Struct, gc=False):
    """What one settled step used. ``place``: its key, after the number of a later segment;
    ``money``: millionths; ``tokens``: all of them, of every attempt; ``told``: how the last answer
    of a model says that they divide; ``last_money``: millionths that this last answer cost;
    ``input_rate``, ``cache_rate``: money for a million tokens that its price says, 0 if none."""

    place: str
    pos: int
    at: int
    kind: str
    name: str
    effect: str
    status: str
    origin: str
    branch: str
    calls: int
    attempt: int
    money: int
    tokens: int
    told: Tokens
    last_money: int
    unverified: bool
    joules: float | None
    took: int
    input_rate: float = 0.0
    cache_rate: float = 0.0


class Life(msgspec.Struct):
    """One run as the journal tells it. Times are ms since 1970; ``ended`` 0: it has not. ``good``:
    what a person, else a check, says of its outcome (None: nobody said); ``taken``: something took
    its outcome in (a merge, or what it held was published); ``asked``: how often persons were
    asked; ``breaks``: position and bytes of prefixes that broke; ``opened``: its branches, each
    with the one around it, and ``merged`` those that were merged; ``idle``: no program runs it."""

    run: str
    agent: str
    parent: str = ""
    fork_of: str = ""
    fork_pos: int = 0
    holds: bool = False
    started: int = 0
    ended: int = 0
    status: str = ""
    good: bool | None = None
    scored: str = ""
    taken: bool = False
    idle: bool = False
    asked: int = 0
    segment: int = 1
    steps: list[Used] = msgspec.field(default_factory=list)
    breaks: list[tuple[int, int]] = msgspec.field(default_factory=list)
    opened: dict[str, str] = msgspec.field(default_factory=dict)
    merged: set[str] = msgspec.field(default_factory=set)
    plans: dict[str, Plan] = msgspec.field(default_factory=dict)
    spans: Spans = msgspec.field(default_factory=Spans)


class Ledger(msgspec.Struct):
    """All runs by id, in the order in which they began; ``first``, ``last``: times of the oldest
    and newest event that counted. For going on: ``waiting``: questions that are open; ``newest``:
    number of the last event; ``forgotten``: runs that were left out to bound it."""

    lives: dict[str, Life]
    first: int = 0
    last: int = 0
    waiting: Open = msgspec.field(default_factory=dict)
    newest: int = 0
    forgotten: int = 0


class _Priced(msgspec.Struct):
    money: float | None = None
    input: float = 0.0
    cache_read: float = 0.0
    rates: dict[str, list[tuple[int, float]]] = {}


class _Said(msgspec.Struct):
    """What a model step's value says besides the answer itself."""

    usage: Tokens | None = None
    price: _Priced | None = None


_said = msgspec.json.Decoder(_Said)
_scored = msgspec.json.Decoder(dict[str, Any])


def keep(events: Iterable[Event], since: int = 0, into: Ledger | None = None) -> Ledger:
    """Fold events, in the order of their commits and each once, into a ledger. ``since``: steps
    that settled before (ms) are left out, and so are runs that ended before. ``into``: the ledger
    of all events before these, to go on with.

    INVARIANT X80: what a fork shares with the run it forked from is counted once, for that run.
    """
    found = Ledger({}) if into is None else into
    for event in events:
        if event.seq and event.seq <= found.newest:
            continue  # a chain read through a fork shows events of its source again
        found.newest = event.seq
        if event.run in OWN:
            continue
        if event.at >= since:
            found.first = min(found.first or event.at, event.at)
            found.last = max(found.last, event.at)
        try:
            body = body_decoder(event.kind).decode(event.body)
        except msgspec.DecodeError as error:
            raise Corrupt(f"event {event.run}#{event.pos} cannot be read: {error}") from None
        life = found.lives.get(event.run)
        heard = follow(found.waiting, event, body)
        if event.kind == "run.started" or life is None:
            if found.forgotten and event.kind != "run.started":
                continue  # of a run that was forgotten
            life = _begun(found, event, body)
        _note(found, life, event, body, since, heard=heard)
    if since:
        found.lives = {
            name: one for name, one in found.lives.items()
            if one.steps or not one.ended or one.ended >= since
        }  # fmt: skip
    return found


def forget(ledger: Ledger, steps: int) -> None:
    """Leave out the runs that began first until no more than ``steps`` are known, or one run."""
    known = sum(len(life.steps) for life in ledger.lives.values())
    for name in list(ledger.lives)[:-1]:
        if known <= steps:
            return
        known -= len(ledger.lives.pop(name).steps)
        ledger.forgotten += 1


def _begun(found: Ledger, event: Event, body: Any) -> Life:
    life = found.lives.get(event.run)
    if life is None:
        life = found.lives[event.run] = Life(event.run, "", started=event.at)
    if isinstance(body, RunStarted):
        if body.segment > 1 and not body.fork_of:
            life.segment = body.segment
        else:
            life.parent, life.holds = body.parent, body.holds
            life.fork_of, life.fork_pos, life.segment = body.fork_of, body.fork_pos, body.segment
            life.idle = body.agent in (BRANCH, THREAD) and not body.ref
        life.agent = body.agent
    return life


def _note(found: Ledger, life: Life, event: Event, body: Any, since: int, *, heard: bool) -> None:
    kind = event.kind
    if kind == "step.settled":
        plan = body.plan or life.plans.pop(body.key, None) or Plan("")
        life.spans.settled(event, body, plan)
        if event.at >= since:
            life.steps.append(used_by(life.segment, event, body, plan))
        if plan.kind == "fork":
            life.opened[body.key] = ""
        elif body.origin == "publish" and body.status == "value":
            life.taken = True
    elif kind == "step.planned":
        life.plans[body.key] = body.plan
        life.spans.planned(event, body)
    elif kind == "approval.asked":
        if body.plan is not None:
            life.plans[body.key] = body.plan
        life.asked += 1
        life.spans.asked(event, body)
    elif kind == "approval.given" and heard:
        life.spans.given(event, body)
    elif kind == "signal.received":
        life.spans.signals[event.pos] = event.at
    elif kind == "branch.merged":
        _merged(found, life, body)
    elif kind == "finding.added":
        _judged(life, event, body)
    elif kind == "run.ended":
        life.ended, life.status = event.at, body.status
        life.spans.ended(event)


def _merged(found: Ledger, life: Life, body: Any) -> None:
    if body.conflicts:
        return
    source, _, branch = body.source.partition("@")
    if branch and source in ("", life.run):
        life.merged.add(branch)
        life.opened[branch] = body.into
    elif source in found.lives:
        found.lives[source].taken = True


def _judged(life: Life, event: Event, body: Any) -> None:
    """Take in what somebody found of a run's outcome, or of a broken prefix."""
    if body.type not in (SCORE, PREFIX) or event.value is None:
        return
    try:
        value = _scored.decode(event.value)
    except msgspec.DecodeError:
        return
    if body.type == PREFIX:
        size = value.get("size")
        life.breaks.append((event.pos, size if type(size) is int and size > 0 else 0))
    elif value.get("good") in (True, False) and (person(body.by) or not person(life.scored)):
        life.good, life.scored = bool(value["good"]), body.by or "check:"


def person(by: str) -> bool:
    """Whether a finding is a person's: what checks and doors find is signed ``check:NAME``."""
    return bool(by) and ":" not in by


def used_by(segment: int, event: Event, body: StepSettled, plan: Plan) -> Used:
    """What a step used, from the event that settled it."""
    said = NO_TOKENS
    last = input_rate = cache_rate = 0.0
    usage, charges = body.usage, body.charges
    if plan.kind == "model" and event.value is not None and "tokens" in usage:
        told = _read(event.value)
        said = told.usage or NO_TOKENS
        if told.price is not None:
            last = told.price.money or 0.0
            read = said.input + said.cache_read + said.cache_write
            input_rate = _rate(told.price, "input", read)
            cache_rate = _rate(told.price, "cache_read", read) or input_rate
    performed = body.origin not in REUSED and body.status in ("value", "error", "unknown")
    calls = body.attempt if performed and plan.kind in KINDS else 0
    return Used(
        place_of(segment, body.key), event.pos, event.at, plan.kind, plan.name, plan.effect,
        body.status, body.origin, body.branch, calls, body.attempt,
        _amount("money", usage, charges), _amount("tokens", usage, charges), said,
        units("money", last), body.unverified, usage.get("joules"), body.took, input_rate,
        cache_rate,
    )  # fmt: skip


def _read(value: bytes) -> _Said:
    """What a model's answer says of tokens and price; nothing, if it is not as it should be."""
    try:
        found = _said.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return _Said()
    usage = found.usage
    if usage is not None and min(msgspec.structs.astuple(usage)) < 0:
        return _Said()
    return found


def _amount(unit: str, usage: dict[str, float], charges: dict[str, int]) -> int:
    """What a step used, as meters count it. INVARIANT X81: where a budget counted the step, it is
    what its meter was charged: also what was reserved, if nobody told."""
    if charges:
        start = f"used/{unit}/"
        metered = [n for name, n in charges.items() if name.startswith(start)]
        if metered:
            return max(metered)
    return units(unit, usage[unit]) if unit in usage else 0


def _rate(price: _Priced, kind: str, read: int) -> float:
    """Money for a million tokens of one kind, in a request of ``read`` tokens."""
    found: float = getattr(price, kind)
    for start, rate in price.rates.get(kind, ()):
        if not start or read > start:
            found = rate
    return found
