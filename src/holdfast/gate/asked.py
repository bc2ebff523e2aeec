"""Asked: whether a person's words ask for the kind of action that a tool's call is.

A hint in favour only: words are matched by family of verbs (send, pay, delete ...), in six
languages, tolerant of forms; the table is in `words`.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from holdfast.gate.folding import bare, plain
from holdfast.gate.words import BUT, FAMILIES, NOT, NOT_AFTER

_STEMS: Final[dict[str, frozenset[str]]] = {
    stem: frozenset(family for family, stems in FAMILIES.items() if stem in stems.split())
    for stems in FAMILIES.values()
    for stem in stems.split()
}
_TOKEN: Final = re.compile(r"[^\W_]+(?:'t)?|[$€£¥]")
_SHORTEST: Final = 3
_LONGEST: Final = max(map(len, _STEMS))
_NAME: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WINDOW: Final = 3
_NONE: Final[frozenset[str]] = frozenset()


@functools.lru_cache(maxsize=4096)
def families_of(word: str) -> frozenset[str]:
    """The families of a folded word: those of the longest beginning that the table has."""
    if word in "$€£¥":
        return frozenset(("pay",))
    for length in range(min(len(word), _LONGEST), _SHORTEST - 1, -1):
        # a short beginning must leave no more than an ending
        found = _STEMS.get(word[:length])
        if found and (length > _SHORTEST + 1 or len(word) - length <= 4):
            return found
    return _NONE


def asked_in(text: str) -> set[str]:
    """The families of action that a person's words ask for, negated ones left out."""
    words = _TOKEN.findall(bare(plain(text)))
    found: set[str] = set()
    for at, word in enumerate(words):
        families = families_of(word)
        if not families:
            continue
        before = words[max(0, at - _WINDOW) : at]
        if words[at + 1 : at + 2] and words[at + 1] in NOT_AFTER:
            continue
        if any(one in NOT for one in before) and not any(one.startswith(BUT) for one in before):
            continue
        found |= families
    return found


@functools.lru_cache(maxsize=4096)
def families_of_tool(name: str) -> frozenset[str]:
    """The families that a tool's name speaks of; money is never just sent or created."""
    parts = [part.lower() for part in _NAME.findall(name)]
    verbs = [families_of(part) for part in parts]
    found: set[str] = set().union(*verbs)
    if "read" in found and verbs and "read" in verbs[0]:
        return frozenset(("read",))
    if "pay" in found:
        found -= {"send", "create"}
    return frozenset(found)


def is_asked(wanted: set[str], spoke: bool, name: str, effect: str, kind: str) -> bool:
    """Whether an action is of a kind that persons' words ask for. Reading is part of whatever they
    ask for; an unknown name with an effect is not. ``spoke``: they said anything at all."""
    if kind != "tool" or effect == "read":
        return spoke
    return not wanted.isdisjoint(families_of_tool(name))
