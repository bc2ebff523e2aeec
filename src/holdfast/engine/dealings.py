"""Past dealings of an agent with a tool, over all runs: the names of their meters, what an outcome
adds to them, and the facts that they give.

The names are fixed by docs/decisions/0011-gate.md. Whom a call was for enters them as a digest, so
a meter names nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.gate.context import amount_of, target_of
from holdfast.gate.tools import ToolFacts
from holdfast.values import limits
from holdfast.values.canon import digest


class Dealing(NamedTuple):
    """One call as the past knows it. ``target`` and ``action``: digests ("" for none); ``amount``:
    None without one; ``definition``: digest of the tool's own."""

    agent: str
    tool: str
    target: str
    action: str
    amount: float | None
    definition: str

    @property
    def base(self) -> str:
        """What the names of its meters begin with."""
        return f"past/{self.agent}/{self.tool}/"

    @property
    def pin(self) -> str:
        """The meter of its tool's definition."""
        return f"pin/{self.tool}/{self.definition}"


def dealing(
    agent: str, tool: str, args: Mapping[str, Any], skeleton: bytes, facts: ToolFacts,
    definition: str,
) -> Dealing:  # fmt: skip
    """A call of ``tool`` by ``agent``. ``skeleton``: its arguments as they are recorded."""
    target = target_of(args, facts)
    return Dealing(
        agent, tool, digest(target.encode())[:32] if target else "", digest(skeleton)[:32],
        amount_of(args, facts), definition,
    )  # fmt: skip


def asked_for(one: Dealing) -> tuple[str, ...]:
    """The meters that the facts of a call need."""
    base = one.base
    names = [base + "n", base + "yes/" + one.action, f"pin/{one.tool}/*"]
    if one.target:
        names += [base + kind + one.target for kind in ("to/", "yes-to/", "no-to/")]
    if one.amount is not None:
        names += [base + "amount/n", base + "amount/sum", base + "amount/squares"]
    return tuple(names)


def charges(
    one: Dealing, *, well: bool, approved: bool, refused: bool, pins: bool = False
) -> dict[str, int]:
    """What the end of a call adds: it ended ``well``, a person approved it, a person refused it.
    ``pins``: it pins the tool's definition, which a person approved or is the first ever seen."""
    # INVARIANT E52: a call is added to the past once, by the event that ends it
    found: dict[str, int] = {}
    base = one.base
    if approved:
        found[base + "yes/" + one.action] = 1
    if one.target and (approved or refused):
        found[base + ("yes-to/" if approved else "no-to/") + one.target] = 1
    if well:
        found[base + "n"] = 1
        if one.target:
            found[base + "to/" + one.target] = 1
        if one.amount is not None:
            size = _size(one.amount)
            found[base + "amount/n"] = 1
            found[base + "amount/sum"] = size
            found[base + "amount/squares"] = size * size
    # INVARIANT E98: a definition that has changed is pinned by a person, never by going well
    if one.definition and (pins or approved):
        found[one.pin] = 1
    return found


def past(one: Dealing, sums: Mapping[str, int], facts: ToolFacts) -> dict[str, Any]:
    """The facts of the group ``past`` for a call that leaves the world."""
    base = one.base
    found: dict[str, Any] = {
        "uses": sums.get(base + "n", 0),
        "approved": sums.get(base + "yes/" + one.action, 0),
        "schema_changed": _changed(one, sums, facts),
    }
    if one.target:
        found["target_uses"] = sums.get(base + "to/" + one.target, 0)
        found["new_target"] = not found["target_uses"]
        found["approved_like"] = sums.get(base + "yes-to/" + one.target, 0)
        found["refused_like"] = sums.get(base + "no-to/" + one.target, 0)
    if one.amount is not None:
        found["amount"] = one.amount
        found["amount_z"] = _unusual(one.amount, [
            sums.get(base + "amount/" + name, 0) for name in ("n", "sum", "squares")
        ])  # fmt: skip
    return found


def harm(amount: float | None, facts: ToolFacts) -> float:
    """What a wrong call may cost."""
    return facts.harm + facts.harm_per * abs(amount or 0.0)


def _changed(one: Dealing, sums: Mapping[str, int], facts: ToolFacts) -> bool:
    """Whether the tool's definition is another than the one that is pinned: by the
    policy, by persons who approved a call with it, or as the first one ever."""
    if not one.definition or sums.get(one.pin, 0):
        return False
    if facts.pin:
        return facts.pin != one.definition
    return any(name.startswith(f"pin/{one.tool}/") and n for name, n in sums.items())


def _size(amount: float) -> int:
    """An amount in thousandths of its logarithm: what a meter, a whole number, can sum up."""
    return round(math.log1p(min(abs(amount), limits.AMOUNT_MAX_ITEMS)) * 1000)


def _unusual(amount: float, moments: list[int]) -> float:
    """How many standard deviations an amount is above (or below) those before it."""
    n, total, squares = moments
    if n < limits.AMOUNT_HISTORY_MIN_ITEMS:
        return 0.0
    mean = total / n
    spread = math.sqrt(max(squares / n - mean * mean, 0.0))
    return round((_size(amount) - mean) / max(spread, limits.AMOUNT_SPREAD_MIN_UNITS), 2)
