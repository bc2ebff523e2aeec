"""Given: values that a person gave together with the word for what they are.

Who says "delete the files f-11 and f-12" gave the values of whatever argument is called after files
(``file_id``): another file was not meant, wherever its name stands. The word and the argument's
name are compared as they are written, so no language is known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast.gate.folding import bare, plain, squeezed
from holdfast.gate.values_in import DATE
from holdfast.gate.words import BUT, LEADS, NOT, STOP
from holdfast.values import limits

_PIECE: Final = re.compile(
    r"(?<!\w)'([^'\n]{1,80})'(?!\w)|\"([^\"\n]{1,80})\"|([^\s,;()\"]+)|([,;()\n])"
)
_ENDS: Final = ".:!?"
_BETWEEN: Final = frozenset("number no nr numero id to at is as called named".split())
"""What may stand between the word and its value."""
_KEY: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SHORTEST: Final = 3
_MARKED: Final = re.compile(r"\w*(?:\d|\w[_-]\w)[\w./:+-]*")
_SHAPE: Final = re.compile(r"[^\W\d_]+")
_CLAUSE: Final = re.compile(r"[,;.!?](?=\s|$)|\n|\b(?:but|aber|mais|pero|ma|mas|maar)\b")
_SPARES: Final = re.compile(
    r"\b(?:stays?|remains?|except|excluded|spared?|apart from|other than|bleibt|bleiben|ausser"
    r"|sauf|hormis|excepto|salvo|tranne|eccetto|exceto|behalve|blijft|blijven)\b"
)
_NUMBERED: Final = re.compile(r"\b([^\W\d_]{2,30})[ ]?#?(\d[\w.]{0,40})")


class _Piece(NamedTuple):
    text: str
    quoted: bool


class Given:
    """What a person gave, by the word before it."""

    __slots__ = ("_named", "_numbered", "_spared")

    def __init__(self) -> None:
        self._named: dict[str, set[str]] = {}
        self._numbered: dict[str, set[str]] = {}
        self._spared: set[str] = set()

    def add(self, text: str) -> None:
        """Take up a person's words, as they were written."""
        self._spare(bare(plain(text)))
        pieces = _pieces(text)
        for at, piece in enumerate(pieces):
            word = bare(plain(piece.text))
            if piece.quoted or not word.isalpha() or len(word) < _SHORTEST or word in STOP:
                continue
            if at == 0 or bare(plain(pieces[at - 1].text)) in LEADS:
                continue  # a verb, most likely
            # a word that comes again without a value ("the order it names") leaves it open
            self._named.setdefault(kind := _stem(word), set())
            value = _value(pieces, at + 1)
            if value:
                self._named[kind].add(value)
            else:
                self._named[kind].clear()
        for word, number in _NUMBERED.findall(plain(text)):
            self._numbered.setdefault(word, set()).add(number)

    def spares(self, text: str) -> bool:
        """Whether a person named this value only to leave it alone."""
        return plain(text).strip() in self._spared

    def mean(self, text: str) -> None:
        """A person approved this value, whatever they said of it before."""
        self._spared.discard(plain(text).strip())

    def _spare(self, folded: str) -> None:
        left: set[str] = set()
        meant: set[str] = set()
        for clause in _CLAUSE.split(folded):
            denied = not NOT.isdisjoint(clause.split()[:3]) and not any(
                word.startswith(BUT) for word in clause.split()
            )
            where = left if denied or _SPARES.search(clause) else meant
            where.update(token for token in clause.split() if _is_marked(token))
        self._spared = (self._spared | left) - meant

    def excludes(self, name: str, text: str, *, made: bool) -> bool:
        """Whether a person gave other values of what ``name`` says. ``made``: the value was
        seen nowhere, so it may be a new one, unless it looks like those."""
        folded = plain(text).strip()
        if found := _NUMBERED.fullmatch(folded):
            others = self._numbered.get(found[1])
            if others and found[2] not in others:
                return True
        for word in _words(name):
            values = self._named.get(_stem(word)) or self._named.get(_stem(word) + "ed")
            if not values or squeezed(folded) in map(squeezed, values):
                continue
            if not made or _looks(folded) in map(_looks, values):
                return True
        return False


def _pieces(text: str) -> list[_Piece]:
    found: list[_Piece] = []
    for match in _PIECE.finditer(text):
        quoted = match[1] or match[2]
        one = quoted or (match[3] or "").rstrip(_ENDS) or match[4] or match[0]
        found.append(_Piece(one, bool(quoted)))
    return found


def _value(pieces: Sequence[_Piece], at: int) -> str:
    """The value that stands at ``at``; "" for none."""
    while at < len(pieces) and plain(pieces[at].text) in _BETWEEN and not pieces[at].quoted:
        at += 1
    if at == len(pieces):
        return ""
    text = plain(pieces[at].text)
    after = plain(pieces[at + 1].text) if at + 1 < len(pieces) else ""
    if pieces[at].text.istitle() and text.isalpha() and _is_marked(after):
        return f"{text} {after}"
    if pieces[at].quoted or (_is_marked(text) and not DATE.fullmatch(text)):
        return text
    return ""


def _is_marked(text: str) -> bool:
    """Whether a word looks like a value: it has a digit, or parts that are tied together."""
    return len(text) <= limits.FLOW_LINE_CHARS and bool(_MARKED.fullmatch(text))


def _words(name: str) -> list[str]:
    return [bare(word.lower()) for word in _KEY.findall(name) if len(word) >= _SHORTEST]


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > _SHORTEST + 1 else word


def _looks(text: str) -> str:
    return _SHAPE.sub("a", re.sub(r"\d+", "0", text))
