"""Risk: the probability that a careful reviewer would refuse an action, with its parts shown.

A monotone additive model: logit p = base + sum of weight x feature, no weight negative, every
product shown as points. How much a wrong action costs (`Facts.harm`) is kept apart; the two meet in
an expected loss, which is compared with what a review costs.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.gate.reading import Item, Reader, entry, mapping_of, number
from holdfast.values import limits


class RiskTable(msgspec.Struct, frozen=True, gc=False):
    """The section ``risk``: ``base`` (logit without a feature), ``weights`` by feature, ``review``
    (cost of asking a person, in money), ``check`` (cost of a check), ``sample`` (share of allowed
    calls that a person looks at afterwards)."""

    base: float = -3.0
    weights: dict[str, float] = {}
    review: float = 1.0
    check: float = 0.1
    sample: float = 0.0
    version: str = ""


class Risk(msgspec.Struct, frozen=True, gc=False):
    """``p``, 0 to 1; ``parts``: what each feature added to the logit; only ``base`` is negative."""

    p: float
    parts: dict[str, float]


_READERS: Final[dict[str, Reader]] = {
    "base": number(-20, 20),
    "weights": mapping_of(number(0, 100)),
    "review": number(0, limits.AMOUNT_MAX_ITEMS),
    "check": number(0, limits.AMOUNT_MAX_ITEMS),
    "sample": number(0, 1),
    "version": Item.text,
}


def read_risk(item: Item) -> RiskTable:
    """The section ``risk``; raises `Misuse` with its line for what is not understood."""
    return RiskTable(**entry(item, _READERS, "'risk'"))
