"""What a server's words look like where they are shown: options yes, what may be secret no."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HIDDEN = "…"
_BEFORE_SECRET = re.compile(
    r"(?i)-.*(?:key|token|secret|pass|pwd|auth|cred|cookie|header|bearer|jwt|pin\Z)|-[hktpu]\Z"
)
_GIVEN = re.compile(r"(-{1,2}[\w.-]+[:=]|[A-Za-z_][\w.-]*=(?!=)).+", re.DOTALL)
_LINK = re.compile(r"([A-Za-z][\w+.-]*://)([^/?#]*)(.*)", re.DOTALL)
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w+.=-]{20,}")


def shown(words: Iterable[str]) -> list[str]:
    """The words, but: hidden is what follows an option that may announce a secret, what stands
    after ``NAME=``, all of a link but its host, and what looks drawn at random."""
    made: list[str] = []
    secret = False
    for word in words:
        made.append(_HIDDEN if secret else _shown(word))
        secret = bool(_BEFORE_SECRET.match(word)) and not _GIVEN.fullmatch(word)
    return made


def _shown(word: str) -> str:
    if " " in word:
        return " ".join(shown(word.split(" ")))
    if link := _LINK.fullmatch(word):
        scheme, host, rest = link.groups()
        if "@" in word:  # a name and a password, whatever signs are in them
            return scheme + _HIDDEN
        return scheme + host + (f"/{_HIDDEN}" if rest else "")
    if given := _GIVEN.fullmatch(word):
        return given[1] + _HIDDEN
    return _HIDDEN if not word.startswith("-") and _RANDOM.fullmatch(word) else word
