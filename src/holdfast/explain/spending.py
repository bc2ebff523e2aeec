"""What was spent, by whom and on what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from holdfast.explain.ledger import KINDS, NO_TOKENS, Ledger, Life, Used
from holdfast.gate.agents import AgentCard
from holdfast.gate.counting import SCALE
from holdfast.gate.pattern import names_of

SCOPES: Final = ("organisation", "team", "agent", "run", "branch", "step", "model", "day")
"""What spending can be summed by."""
_OF_STEPS: Final = ("branch", "step", "model", "day")  # the others are the same for a whole run
TOTAL: Final = "total"
"""The scope of the line that sums everything."""
Card = Callable[[str], AgentCard | None]
"""What a policy says of an agent by name."""


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


class Sum(msgspec.Struct):
    """A line while it is added up; money in millionths."""

    money: int = 0
    tokens: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    calls: int = 0
    runs: int = 0
    unverified: int = 0
    guessed: int = 0
    joules: float | None = None
    newest: str = ""

    def add(self, run: str, used: Used, joules: float | None) -> None:
        """Count a step. Steps of one run come one after the other."""
        told = used.told
        self.money += used.money
        self.tokens += used.tokens
        self.calls += used.calls
        if told is not NO_TOKENS:
            self.input += told.input
            self.output += told.output
            self.cache_read += told.cache_read
            self.cache_write += told.cache_write
            self.reasoning += told.reasoning
        if used.unverified:
            self.unverified += 1
            self.guessed += used.money
        if joules is not None:
            self.joules = (self.joules or 0.0) + joules
        if self.newest != run:
            self.newest = run
            self.runs += 1

    def take(self, one: Sum) -> None:
        """Count all that another run used."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(one, name))
        if one.joules is not None:
            self.joules = (self.joules or 0.0) + one.joules
        self.newest = one.newest


_SUMMED: Final = tuple(name for name in Sum.__struct_fields__ if name not in ("joules", "newest"))


def lines(
    ledger: Ledger,
    scopes: Iterable[str] = SCOPES,
    *,
    card: Card | None = None,
    joules: Mapping[str, float] | None = None,
) -> tuple[Line, list[Line]]:
    """The line of everything, and those of each scope, dearest first. ``card``: what a policy says
    of an agent (teams and organisations are its); ``joules``: for a token, by name or glob of
    ``PROVIDER.MODEL``.

    INVARIANT X83: the lines of each scope but ``model`` add up to the total, in money, tokens and
    calls.
    """
    chosen, total, energy = tuple(scopes), Sum(), Energy(joules or {})
    sums: dict[tuple[str, str], Sum] = {}
    days: dict[int, str] = {}
    for life in ledger.lives.values():
        names = {"run": life.run, "agent": life.agent}
        if ("team" in chosen or "organisation" in chosen) and card is not None:
            found = card(life.agent)
            names["team"] = found.team if found else ""
            names["organisation"] = found.organisation if found else ""
        fixed = [
            sums.setdefault((scope, names.get(scope, "")), Sum())
            for scope in chosen
            if scope not in _OF_STEPS
        ]
        moving = [scope for scope in chosen if scope in _OF_STEPS]
        whole = Sum()
        for used in life.steps:
            if used.kind not in KINDS and not (used.money or used.tokens):
                continue
            told = energy.of(used)
            whole.add(life.run, used, told)
            for scope in moving:
                if scope == "model" and used.kind != "model":
                    continue
                key = scope, _name(scope, life, used, days)
                each = sums.get(key)
                if each is None:
                    each = sums[key] = Sum()
                each.add(life.run, used, told)
        if whole.newest:
            for each in (total, *fixed):
                each.take(whole)
    made = [_line(scope, name, one, total) for (scope, name), one in sums.items() if one.newest]
    made.sort(key=lambda one: (chosen.index(one.scope), -one.money, -one.tokens, one.name))
    return _line(TOTAL, "", total, total), made


def _name(scope: str, life: Life, used: Used, days: dict[int, str]) -> str:
    if scope == "day":
        day = used.at // 86_400_000
        if day not in days:
            days[day] = dt.datetime.fromtimestamp(day * 86_400, dt.UTC).strftime("%Y-%m-%d")
        return days[day]
    if scope == "branch":
        return f"{life.run}@{used.branch}" if used.branch else life.run if life.fork_of else ""
    return used.name


class Energy:
    """Joules of steps: what whoever performed one told, else what is configured for its model."""

    def __init__(self, joules: Mapping[str, float]) -> None:
        self._globs = [(names_of((name,)), each) for name, each in joules.items()]
        self._known: dict[str, float | None] = {}

    def of(self, used: Used) -> float | None:
        """Joules of one step. INVARIANT X84: energy is told or configured, never made up."""
        if used.joules is not None:
            return used.joules
        if used.kind != "model" or not self._globs or not used.tokens:
            return None
        if used.name not in self._known:
            fitting = (each for names, each in self._globs if names.match(used.name))
            self._known[used.name] = next(fitting, None)
        each = self._known[used.name]
        return None if each is None else each * used.tokens


def _line(scope: str, name: str, one: Sum, total: Sum) -> Line:
    part, whole = (one.money, total.money) if total.money else (one.tokens, total.tokens)
    scale = SCALE["money"]
    return Line(
        scope, name, one.money / scale, one.tokens, one.input, one.output, one.cache_read,
        one.cache_write, one.reasoning, one.calls, one.runs, part / whole if whole else 0.0,
        one.unverified, one.guessed / scale, one.joules,
    )  # fmt: skip
