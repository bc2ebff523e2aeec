"""Identifiers: short, readable, free of look-alikes, safe in file names and shells."""

from __future__ import annotations

import re

from holdfast.values.errors import Misuse
from holdfast.values.ports import Dice

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")
"""What names a run, an agent or a tool: it stands in file names, and unquoted in what is hashed."""


def new_id(dice: Dice, *, chars: int = 10) -> str:
    """A random identifier of ``chars`` base32 characters (5 bits each; 10 = 50 bits)."""
    return "".join(_ALPHABET[byte & 31] for byte in dice.take(chars))


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it may name a run, agent or branch, else raise `Misuse`."""
    if not NAME.fullmatch(name):
        raise Misuse(
            f"{what} name {name!r}: use 1 to 80 letters, digits, '_', '-' or '.', "
            "starting with a letter, digit or '_'"
        )
    return name
