"""Labels: whom data comes from, and who may see it. They are only ever joined.

A label has two parts. *Integrity* says who could have written the data: a person who may give
orders, a source that is trusted to be right, or anybody. *Confidentiality* says who may read it.
Joining takes the worse integrity and the higher confidentiality (a lattice: D. Denning, "A lattice
model of secure information flow", 1976), so whatever is made from several things is as suspect as
the worst and as secret as the most secret of them.
"""

from __future__ import annotations

from functools import reduce
from typing import Final

import msgspec

INTEGRITY: Final = ("person", "trusted", "untrusted")
"""From best to worst."""

CONFIDENTIALITY: Final = ("public", "internal", "confidential", "secret")
"""From lowest to highest."""


class Label(msgspec.Struct, frozen=True, gc=False):
    """Where data comes from and who may see it; each part one of the words above."""

    integrity: str = "trusted"
    confidentiality: str = "public"

    def __str__(self) -> str:
        return f"{self.integrity}/{self.confidentiality}"


PLAIN: Final = Label()
"""Data that nothing is known of: trusted and public."""


def join(*labels: Label) -> Label:
    """The label of what is made from data with these labels; `PLAIN` joined with nothing is
    `PLAIN`, and the words of a person stay theirs only while nothing else is mixed in."""
    # INVARIANT G8: a join is never more trusted nor less confidential than any of its parts
    if not labels:
        return PLAIN
    return reduce(_join, labels)


def _join(one: Label, other: Label) -> Label:
    return Label(
        max(one.integrity, other.integrity, key=INTEGRITY.index),
        max(one.confidentiality, other.confidentiality, key=CONFIDENTIALITY.index),
    )


def parse_label(text: str) -> Label:
    """The label that ``str`` wrote; "" is `PLAIN`. Raises `ValueError` for unknown words."""
    if not text:
        return PLAIN
    integrity, _, confidentiality = text.partition("/")
    if integrity not in INTEGRITY or confidentiality not in CONFIDENTIALITY:
        raise ValueError(f"{text!r} is no label")
    return Label(integrity, confidentiality)


def leaks(carries: str, clearance: str) -> bool:
    """Whether data of one confidentiality may not go where only another may be read."""
    return CONFIDENTIALITY.index(carries) > CONFIDENTIALITY.index(clearance)
