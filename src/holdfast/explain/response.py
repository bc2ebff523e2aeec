"""What one meaningful response costs, factor by factor.

cost = E_t x A x C_t + P_t x C_p
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.explain.ledger import Ledger, Life
from holdfast.explain.waste import Fates
from holdfast.gate.counting import SCALE
from holdfast.gate.pattern import names_of

FORMULA: Final = "E_t x A x C_t + P_t x C_p"
"""Tokens per response x attempts x price per token, and tokens of processing x their price."""


class Factor(msgspec.Struct, frozen=True):
    """One symbol of the formula. ``name``: what it stands for; ``value``: None where there is
    nothing to divide by; ``source``: what was counted, with the numbers."""

    symbol: str
    name: str
    value: float | None
    source: str


class Response(msgspec.Struct, frozen=True):
    """Cost per meaningful response. ``cost``: of the formula, None without one. ``attempts``: runs
    that ended (forks too; the runs that they spawned belong to them); ``meaningful``: those that
    are good by finding ``score`` (``by_score``) or, without one, ended done and were not discarded
    (``by_status``). ``others``: money of steps that are no models, for each meaningful response:
    the formula knows tokens only. ``processing``: how it was told which calls prepare or check."""

    formula: str
    factors: tuple[Factor, ...]
    cost: float | None
    attempts: int
    meaningful: int
    by_score: int
    by_status: int
    others: float | None
    processing: str


class _Counted(msgspec.Struct):
    """Tokens and money (millionths) of responses, of what prepares or checks them, of the rest."""

    tokens: int = 0
    money: int = 0
    aside_tokens: int = 0
    aside_money: int = 0
    others: int = 0


def families(ledger: Ledger) -> dict[str, list[Life]]:
    """Runs that nobody spawned (or whose parent is not known), each with all that it spawned, the
    first being itself. Runs without a program are left out."""
    found: dict[str, list[Life]] = {}
    top: dict[str, str] = {}
    for name, life in ledger.lives.items():
        if life.idle:
            continue
        top[name] = top.get(life.parent, name)
        found.setdefault(top[name], []).append(life)
    return found


def response(ledger: Ledger, fates: Fates, processing: Sequence[str] = ()) -> Response:
    """Cost per meaningful response. ``processing``: names or globs of models whose calls prepare or
    check a response; without any, all calls but those of the model that cost its run most.

    INVARIANT X86: the formula times the meaningful responses is what the models of all attempts
    cost.
    """
    sums = _Counted()
    attempts = by_score = by_status = 0
    for family in families(ledger).values():
        root = family[0]
        if not root.ended:
            continue
        attempts += 1
        if root.good is not None:
            by_score += root.good
        elif root.status == "done" and root.run not in fates.bad:
            by_status += 1
        _count(sums, family, processing)
    good = by_score + by_status
    how = f"calls of {', '.join(processing)}" if processing else (
        "calls of other models than the one that cost its run most"
    )  # fmt: skip
    e_t, p_t = _per(sums.tokens, attempts), _per(sums.aside_tokens, good)
    a = _per(attempts, good)
    scale = SCALE["money"]
    c_t = (_per(sums.money, sums.tokens) or 0.0) / scale
    c_p = (_per(sums.aside_money, sums.aside_tokens) or 0.0) / scale
    factors = (
        Factor("E_t", "tokens per response, of one attempt", e_t,
               f"{sums.tokens:,} tokens of responses / {attempts:,} attempts"),
        Factor("A", "attempts per meaningful response", a,
               f"{attempts:,} runs that ended / {good:,} meaningful "
               f"({by_score:,} by score, {by_status:,} ended done without one)"),
        Factor("C_t", "price per token of responses", c_t if sums.tokens else None,
               f"{sums.money / scale:,.6f} / {sums.tokens:,} tokens"),
        Factor("P_t", "pre- and post-processing tokens per meaningful response", p_t,
               f"{sums.aside_tokens:,} tokens of {how} / {good:,} meaningful"),
        Factor("C_p", "price per token of processing", c_p if sums.aside_tokens else None,
               f"{sums.aside_money / scale:,.6f} / {sums.aside_tokens:,} tokens"),
    )  # fmt: skip
    cost = None if not good else (e_t or 0.0) * (a or 0.0) * c_t + (p_t or 0.0) * c_p
    others = _per(sums.others, good)
    return Response(
        FORMULA, factors, cost, attempts, good, by_score, by_status,
        None if others is None else others / scale, how,
    )  # fmt: skip


def _per(count: int, of: int) -> float | None:
    return count / of if of else None


def _count(sums: _Counted, family: Sequence[Life], processing: Sequence[str]) -> None:
    by_model: dict[str, tuple[int, int]] = {}
    for life in family:
        for used in life.steps:
            if used.kind == "model":
                money, tokens = by_model.get(used.name, (0, 0))
                by_model[used.name] = money + used.money, tokens + used.tokens
            else:
                sums.others += used.money
    main = max(by_model, key=lambda name: (by_model[name], name), default="")
    for name, (money, tokens) in by_model.items():
        if names_of(tuple(processing)).match(name) if processing else name != main:
            sums.aside_money += money
            sums.aside_tokens += tokens
        else:
            sums.money += money
            sums.tokens += tokens
