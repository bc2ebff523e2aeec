"""What budgets count: which meters an action counts to, by how much, and up to what. Pure.

For each budget and each scope in each period there are two meters: ``budget/...`` is what is used
and reserved, and has the cap; ``used/...`` is what is used. ``alert/...`` counts the shares of the
limit that were told of.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from holdfast.gate.budgets import AgentLimit, Budget
from holdfast.gate.pattern import names_of
from holdfast.journal.meters import BUDGET
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.ids import NAME

SCALE: Final = {"money": 1_000_000, "tokens": 1, "calls": 1, "seconds": 1_000, "runs": 1}
"""What a meter counts one of each unit as: money in millionths, seconds in thousandths."""

RULE: Final = "budget:"
"""How a budget is named where verdicts name rules: no rule can have such an id."""

_FORMATS: Final = {"": "-", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}


class Who(msgspec.Struct, frozen=True, gc=False):
    """Whose action it is and what it is, as budgets see it. ``run``: the topmost run of its family;
    ``branch``: the run itself, with the branch in it."""

    agent: str
    role: str
    kind: str
    tool: str
    run: str
    branch: str
    team: str = ""
    organisation: str = ""


class Share(msgspec.Struct, frozen=True, gc=False):
    """One meter that an action counts to, of ``budget``: ``amount`` to reserve, up to ``cap``."""

    budget: Budget
    meter: str
    amount: int
    cap: int


def rule_of(budget: str) -> str:
    """A budget, by its id, as verdicts name it among rules."""
    return RULE + budget


def units(unit: str, amount: float) -> int:
    """An amount as meters count it, rounded up; what is no number from 0 on counts as nothing."""
    if not amount > 0 or math.isinf(amount):
        return 0 if not amount > 0 else limits.CHARGE_MAX_UNITS
    # sums of floats are off by less than a thousandth of the smallest unit
    exact = round(Decimal(str(amount)) * SCALE[unit], 3)
    return min(math.ceil(exact), limits.CHARGE_MAX_UNITS)


def shown(unit: str, count: int) -> str:
    """What a meter counted, for people: 0.40 of money, 12,000 of tokens."""
    whole = Decimal(count) / SCALE[unit]
    if unit == "money":
        places = max(2, -int(whole.normalize().as_tuple().exponent))  # cents, or finer if it is
        return f"{whole:,.{places}f}"
    return f"{whole.normalize():,f}"


@lru_cache(maxsize=limits.GATE_MEMO_ENTRIES)
def names(texts: tuple[str, ...], name: str) -> bool:
    """Whether one of some names or globs means ``name``."""
    return names_of(texts).match(name)


def counts(budget: Budget, who: Who) -> bool:
    """Whether a budget counts an action: calls of tools, or started runs for the unit of these."""
    if who.kind not in ("tool", "model", "spawn"):
        return False
    if (budget.unit == "runs") != (who.kind == "spawn"):
        return False
    if isinstance(budget, AgentLimit) and budget.unless and names(budget.unless, who.agent):
        return False  # the entry of this agent is an earlier one
    return all(names(texts, getattr(who, field)) for field, texts in budget.when.items())


def meter_of(budget: Budget, who: Who, now_ms: int) -> str:
    """The meter of a budget that an action counts to now; "" if there is nobody to count it for.

    INVARIANT E76: a period is the calendar's, in UTC, and stands in the meter's name; so a clock
    that goes back finds what was used in the period it shows still used.
    """
    value: str = getattr(who, budget.scope)
    if not value:
        return ""
    if len(value) > 64 or not NAME.fullmatch(value.replace("@", "_")):
        value = digest(value.encode())[:32]
    time = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).strftime(_FORMATS[budget.per])
    return f"{BUDGET}{budget.unit}/{budget.id}/{budget.scope}/{time}/{value}"


def shares(
    budgets: Iterable[Budget], who: Who, worst: Mapping[str, float], now_ms: int
) -> list[Share]:
    """The meters that an action counts to, each with what to reserve there: the worst case."""
    found: list[Share] = []
    for budget in budgets:
        meter = meter_of(budget, who, now_ms) if counts(budget, who) else ""
        if meter:
            amount = units(budget.unit, worst.get(budget.unit, 0.0))
            # what nobody can say beforehand begins only while something is left
            cap = cap_of(budget) - (amount == 0)
            found.append(Share(budget, meter, amount, cap))
    return found


def cap_of(budget: Budget) -> int:
    """The limit of a budget as meters count it, rounded down."""
    return math.floor(Decimal(str(budget.limit)) * SCALE[budget.unit])


def unit_of(meter: str) -> str:
    """The unit that a budget's meter counts."""
    return meter.split("/", 2)[1]


def used(meter: str) -> str:
    """The meter of what is used, beside that of what is used and reserved."""
    return "used/" + meter.removeprefix(BUDGET)


def alert(meter: str) -> str:
    """The meter that counts the shares of a limit that were told of."""
    return "alert/" + meter.removeprefix(BUDGET)


def marks(budget: Budget) -> list[int]:
    """What a meter must come to for each alert of a budget, lowest first."""
    cap = cap_of(budget)
    return sorted(max(1, math.ceil(Decimal(str(share)) * cap)) for share in budget.alert)
