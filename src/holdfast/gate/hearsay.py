"""Hearsay: which values are spoken of in what strangers wrote.

A record holds its own values as whole fields. Whoever wants an agent to use a value has to mention
it in a text: beside other words, or encoded. So a field that no text mentions is only what it is,
and one that a text mentions may be used because somebody recommends it. A text that mentions a
value and also speaks of the action that uses it is somebody's idea. No language is known here, and
no name of a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from holdfast.gate.folding import bare, plain, squeezed
from holdfast.gate.values_in import WORD, Forms, readings
from holdfast.gate.words import NUMERALS, STOP
from holdfast.values import limits

_EDGES: Final = ".,:;!?*()[]{}<>\"'`#"
_HIDDEN: Final = -1
"""Stands for all texts that were encoded; no text has this hash."""


class Hearsay:
    """The words that strangers' texts mention, and which texts do, each by its hash."""

    __slots__ = ("_alone", "_cut", "_lines", "_said")

    def __init__(self) -> None:
        self._said: dict[str, set[int]] = {}
        self._alone: set[int] = set()
        self._cut = False
        self._lines: set[int] = set()

    def add(self, forms: Forms, hidden: Iterable[Sequence[str]]) -> None:
        """Take up a result by its text. ``hidden``: the words of what was encoded in it."""
        # INVARIANT G38: what was not looked at to its end may have mentioned anything
        self._cut = self._cut or not forms.heard or self._many()
        if self._cut:
            return
        # a result that is one text mentions also what it only consists of
        alone = "\n" if forms.one else ""
        text = plain(forms.said)
        for line, packed in zip(text.split("\n"), squeezed(text).split("\n"), strict=True):
            if alone or " " in line.strip():
                source = hash(alone + packed)
                if source not in self._lines:
                    self._lines.add(source)
                    if alone:
                        self._alone.add(source)
                    self._take(_tokens(line), source)
        for words in hidden:
            self._take(words, _HIDDEN)

    def _many(self) -> bool:
        return len(self._said) + len(self._lines) > limits.FLOW_CONTEXT_ENTRIES

    def mentions(self, text: str) -> bool:
        """Whether all words of a value stand in texts that say more than this value."""
        if self._cut:
            return True
        own = hash(squeezed(plain(text)))
        words = [word for word in _tokens(plain(text)) if word not in STOP]
        return bool(words) and all(self._where(word) - {own} for word in words)

    def remarks(self, text: str) -> bool:
        """Whether a value is mentioned in remarks of records only, not in a result that is one
        text, which is what whoever asked for it wants to know."""
        words = [word for word in _tokens(plain(text)) if word not in STOP]
        return self.mentions(text) and all(
            self._where(word).isdisjoint(self._alone) for word in words
        )

    def joins(self, text: str, names: Iterable[str]) -> bool:
        """Whether one text mentions a whole value beside one of ``names``, words of an action."""
        own = hash(squeezed(plain(text)))
        words = [word for word in _tokens(plain(text)) if word not in STOP]
        if not words:
            return False
        where = set.intersection(*map(self._where, words)) - {own}
        return any(not where.isdisjoint(self._where(name)) for name in names)

    def _where(self, word: str) -> set[int]:
        found = self._said.get(word, _NOWHERE)
        parts = WORD.findall(word)
        if len(parts) > 1 and all(_HIDDEN in self._said.get(part, _NOWHERE) for part in parts):
            return found | {_HIDDEN}
        return found

    def _take(self, words: Iterable[str], source: int) -> None:
        said, most = self._said, limits.FLOW_HEARSAY_ENTRIES
        for word in words:
            found = said.get(word)
            if found is None:
                said[word] = {source}
            elif len(found) < most:
                found.add(source)


_NOWHERE: Final[set[int]] = set()


def _tokens(text: str) -> Iterator[str]:
    """The words of a folded text; numbers in one spelling."""
    for token in text.split():
        if token.isalpha():
            yield NUMERALS.get(token, token)
            continue
        word = token.strip(_EDGES)
        if word[:1].isdecimal():
            yield from readings(word) or (word,)
        elif word:
            yield NUMERALS.get(word, word)


def is_count(value: Any) -> bool:
    """Whether a value is a number with no room for an account: how much, not where."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 10**limits.FLOW_NARROW_CHARS


def numerals_in(texts: Iterable[str]) -> set[str]:
    """The atoms of small numbers that folded texts say in words."""
    words = {word for text in texts for word in WORD.findall(bare(text))}
    return {"#" + NUMERALS[word] for word in words if word in NUMERALS}
