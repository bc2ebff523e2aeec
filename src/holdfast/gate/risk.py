"""Risk: the probability that a careful reviewer would refuse an action, with its parts shown.

A monotone additive model: logit p = base + sum of weight x feature (+ offsets of effect, tool and
agent, once they were fitted). No feature and no weight is negative, so more of what makes people
refuse never lowers the risk, and every product can be shown as points. How much a wrong action
costs is kept apart; the two meet in an expected loss, which is compared with the cost of a review.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.gate.facts import Facts
from holdfast.gate.labels import CONFIDENTIALITY
from holdfast.gate.proposal import Proposal
from holdfast.gate.reading import Item, Reader, clip, entry, mapping_of, number, suggest
from holdfast.values import limits
from holdfast.values.canon import digest

PRIOR: Final[dict[str, float]] = {
    "irreversible": 0.6,
    "outside": 0.3,
    "untrusted": 2.0,
    "referred": 0.7,
    "nowhere": 1.0,
    "ungrounded": 0.8,
    "tainted": 0.7,
    "unasked": 0.8,
    "leaking": 2.5,
    "links": 1.2,
    "credentials": 2.5,
    "new_target": 0.8,
    "amount": 0.6,
    "changed": 1.5,
    "denials": 1.0,
    "rush": 0.6,
    "unproven": 0.3,
    "refused": 2.0,
    "unowned": 1.0,
}
"""Weight by feature before anything was learned, set by hand: an ordinary call that leaves the
world is at about 3 % when a person asked for it and named what decides, at 10 % with one bad sign,
and several independent ones exceed 50 %."""

HARM: Final[dict[str, float]] = {"read": 1.0, "world": 2.0, "idempotent": 20.0, "once": 50.0}
"""Cost of one wrong call in units of money, where tool facts do not say: by effect."""


class RiskTable(msgspec.Struct, frozen=True, gc=False):
    """The section ``risk``: ``base`` (logit without a feature), ``weights`` by feature (those that
    differ from `PRIOR`), ``offsets`` by "effect:once", "tool:NAME", "agent:NAME" (fitted),
    ``review`` (cost of asking a person, in money), ``sample`` (share of allowed calls that a person
    looks at afterwards), ``decay`` (how often the same action was approved before it counts half),
    ``version`` (of the fit that it comes from)."""

    base: float = -4.5
    weights: dict[str, float] = {}
    offsets: dict[str, float] = {}
    review: float = 2.0
    sample: float = 0.0
    decay: float = 2.0
    version: str = ""


_READERS: Final[dict[str, Reader]] = {
    "base": number(-20, 20),
    "weights": mapping_of(number(0, 100)),
    "offsets": mapping_of(number(-20, 20)),
    "review": number(0, limits.AMOUNT_MAX_ITEMS),
    "sample": number(0, 1),
    "decay": number(0, 1e6),
    "version": Item.text,
}


def read_risk(item: Item) -> RiskTable:
    """The section ``risk``; raises `Misuse` with its line for what is not understood."""
    found = RiskTable(**entry(item, _READERS, "'risk'"))
    for name in found.weights:
        if name not in PRIOR:
            weights = item.mapping("'risk'")["weights"].mapping("'weights'")
            weights[name].refuse_key(f"unknown sign {clip(name)}: {suggest(name, PRIOR)}")
    return found


class Risk(msgspec.Struct, frozen=True, gc=False):
    """``p``, 0 to 1; ``parts``: what each feature added to the logit, largest first, and ``base``
    (with offsets); ``loss``: p x harm, in money."""

    p: float
    parts: dict[str, float]
    loss: float


def _origin(word: str) -> Callable[[Facts, Proposal, RiskTable], float]:
    return lambda facts, _proposal, _table: float(facts.worst == word)


def _unapproved(facts: Facts, table: RiskTable) -> float:
    """1 without approvals, halved by each ``decay`` approvals of the same action (of its like: by
    each four times as many): what persons let pass again and again is what they let pass."""
    seen = facts.approved + facts.approved_like / 4
    return 0.5 ** (seen / table.decay) if table.decay > 0 else 1.0


FEATURES: Final[dict[str, Callable[[Facts, Proposal, RiskTable], float]]] = {
    "irreversible": lambda f, p, t: float(p.effect == "once") * _unapproved(f, t),
    "outside": lambda f, p, t: float(p.effect in ("once", "idempotent")) * _unapproved(f, t),
    "untrusted": _origin("untrusted"),
    "referred": _origin("referred"),
    "nowhere": _origin("nowhere"),
    "ungrounded": lambda f, p, t: 1.0 - min(max(f.grounded, 0.0), 1.0),
    "tainted": lambda f, p, t: float(f.integrity == "untrusted"),
    "unasked": lambda f, p, t: float(p.effect in ("once", "idempotent") and not f.asked),
    "leaking": lambda f, p, t: float(f.leaks) * (1 + _rank(f.carries) / 3) / 2,
    "links": lambda f, p, t: min(f.new_links, 3) / 3,
    "credentials": lambda f, p, t: float(f.secrets > 0),
    "new_target": lambda f, p, t: (
        float(f.new_target) * _unapproved(f, t) * (0.1 if f.worst == "person" else 1.0)
    ),
    "amount": lambda f, p, t: min(max(f.amount_z, 0.0), 5.0) / 2,
    "changed": lambda f, p, t: float(f.schema_changed),
    "denials": lambda f, p, t: min(f.denials, 4) / 4,
    "rush": lambda f, p, t: min(f.calls_last_minute / 60, 2.0),
    "unproven": lambda f, p, t: _unapproved(f, t) / (1 + f.uses),
    "refused": lambda f, p, t: min(f.refused_like, 2) / 2,
    "unowned": lambda f, p, t: float(f.pending),
}
"""What each feature measures, 0 upwards. All but approvals only ever raise the risk."""


def _rank(confidentiality: str) -> int:
    if confidentiality not in CONFIDENTIALITY:
        return len(CONFIDENTIALITY) - 1
    return CONFIDENTIALITY.index(confidentiality)


def features(facts: Facts, proposal: Proposal, table: RiskTable) -> dict[str, float]:
    """The features that are not 0."""
    found = {name: measure(facts, proposal, table) for name, measure in FEATURES.items()}
    return {name: value for name, value in found.items() if value}


def assess(facts: Facts, proposal: Proposal, table: RiskTable) -> Risk:
    """The risk of an action. Pure and total; what is not a number counts as certain refusal."""
    # INVARIANT G30: a sign that makes people refuse, or more of one, never lowers the risk
    offsets = table.offsets
    base = table.base
    if offsets:
        names = (f"effect:{proposal.effect}", f"tool:{proposal.tool}", f"agent:{proposal.agent}")
        base += sum(offsets.get(name, 0.0) for name in names)
    parts = {
        name: table.weights.get(name, PRIOR[name]) * value
        for name, value in features(facts, proposal, table).items()
    }
    logit = base + sum(parts.values())
    p = 1.0 if math.isnan(logit) else squash(logit)
    shown = dict(sorted(parts.items(), key=lambda part: -part[1]))
    shown = {name: round(value, 3) for name, value in shown.items() if value}
    harm = facts.harm or HARM.get(proposal.effect, HARM["once"])
    return Risk(round(p, 4), {**shown, "base": round(base, 3)}, round(p * harm, 4))


def squash(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-min(logit, 700.0)))
    odds = math.exp(max(logit, -700.0))
    return odds / (1 + odds)


def concern(risk: Risk, table: RiskTable) -> str:
    """Why a person should look at it, one sentence; "" if that would cost more than it may save.

    The rule of least expected loss: ask when p x harm is above the cost of asking.
    """
    if risk.loss <= table.review:
        return ""
    signs = ", ".join(f"{name} +{value:.2f}" for name, value in list(risk.parts.items())[:4]
                      if name != "base")  # fmt: skip
    return (
        f"risk {risk.p:.2f} ({signs or 'no single sign'}): expected loss {risk.loss:.2f} "
        f"is above the {table.review:.2f} that a review costs"
    )


def sampled(action: str, share: float) -> bool:
    """Whether an action (its place) belongs to the share that is looked at afterwards; the same
    action in the same place always gets the same answer."""
    return share > 0 and int(digest(action.encode())[:8], 16) < share * 2**32
