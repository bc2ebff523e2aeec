"""Hearsay: which values are spoken of in what strangers wrote.

A record holds its own values as whole fields. Whoever wants an agent to use a value has to mention
it in a text: beside other words, or encoded. So a field that no text mentions is only what it is,
and one that a text mentions may stand here because somebody recommends it. No language is known
here, and no name of a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from holdfast.gate.folding import bare, plain, squeezed
from holdfast.gate.values_in import WORD, readings, texts_in
from holdfast.gate.words import NUMERALS, STOP
from holdfast.values import limits

_NONE: Final = "\n"
_SMALL: Final = 100
_EDGES: Final = ".,:;!?*()[]{}<>\"'`#"


class Hearsay:
    """The words that strangers' texts mention, each with the first two texts that do."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str]] = {}

    def add(self, value: Any, hidden: Iterable[Sequence[str]]) -> None:
        """Take up a result. ``hidden``: the words of what was encoded in it."""
        if len(self._said) > limits.FLOW_CONTEXT_ENTRIES:
            return
        text = value if isinstance(value, str) else texts_in(value)[0]
        for line in plain(text).split("\n"):
            if " " in (line := line.strip()):
                self._take(_tokens(line), squeezed(line))
        for words in hidden:
            self._take(words, "")

    def mentions(self, text: str) -> bool:
        """Whether all words of a value stand in texts that say more than this value."""
        own = squeezed(plain(text))
        words = [word for word in _tokens(plain(text)) if word not in STOP]
        return bool(words) and all(
            any(one != own for one in self._said.get(word, ()) if one != _NONE) for word in words
        )

    def _take(self, words: Iterable[str], source: str) -> None:
        for word in words:
            first, second = self._said.get(word, (_NONE, _NONE))
            if first == _NONE:
                self._said[word] = (source, _NONE)
            elif second == _NONE and first != source:
                self._said[word] = (first, source)




def _tokens(text: str) -> Iterator[str]:
    """The words of a folded text; numbers in one spelling."""
    for token in text.split():
        word = token.strip(_EDGES)
        if word:
            yield from readings(word) or (NUMERALS.get(word, word),)


def is_small(value: Any) -> bool:
    """Whether a value is a whole number of up to two digits: how many, not which or where."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _SMALL


def numerals_in(texts: Iterable[str]) -> set[str]:
    """The atoms of small numbers that folded texts say in words."""
    words = {word for text in texts for word in WORD.findall(bare(text))}
    return {"#" + NUMERALS[word] for word in words if word in NUMERALS}
