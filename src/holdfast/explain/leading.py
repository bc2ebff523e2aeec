"""How far a source speaks of an action: the sentence in it that is most like what was done.

Where an action carries no value of its source ("delete all", "option 2"), and where a value stands
in many, what tells sources apart is which of them says to do such a thing. Verbs count by family
(`gate.words`), in several languages; words by how rare they are among the sources.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from holdfast.explain.matching import Body, Value
from holdfast.explain.sources import Source
from holdfast.gate.asked import families_of, families_of_tool
from holdfast.gate.deciding import name_words
from holdfast.gate.folding import bare
from holdfast.gate.words import NUMERALS, STOP

SENTENCES: Final = 400
"""Sentences of one source that are compared."""
_SENTENCE: Final = re.compile(r"[^.!?;\n]+(?:[.](?=[^\s])[^.!?;\n]*)*")
_WORD: Final = re.compile(r"[^\W_]+")
_ALIKE: Final = {
    word: row.split()[0]
    for row in (
        "all every everything entire whole alle alles todo todos toda tout tous tutto tutti",
        "any anyone anybody everyone everybody public", "file document attachment",
        "mail email message letter", "money fund payment amount sum",
        "off disable deactivate stop", "on enable activate",
    )
    for word in row.split()
}
"""Words that mean one thing where something is told to be done."""


class Sentence(NamedTuple):
    """A sentence of a source: where it stands (0, 0 if that is not known), and its words."""

    path: str
    start: int
    end: int
    text: str
    words: frozenset[str]


class Action:
    """What was done, as words: of the tool's name, its arguments' names and their values."""

    def __init__(self, name: str, values: Sequence[Value], df: Rarity) -> None:
        self.families, words = families_of_tool(name)
        self.families -= {"read", "web"}
        self.weights: dict[str, float] = {}
        for word in words:
            self._add(word, 1.0, df)
        for value in values:
            for word in name_words(value.path.rpartition(".")[2].partition("[")[0]):
                self._add(word, 0.5, df)
            for word in (*value.words, *value.numbers)[:60]:
                self._add(word, 0.8, df)
            if value.tiny and value.packed:
                self._add(value.packed, 0.8, df)
        self.total = sum(self.weights.values()) or 1.0

    def _add(self, word: str, weight: float, df: Rarity) -> None:
        word = stem(word)
        if word and word not in STOP:
            self.weights[word] = max(self.weights.get(word, 0.0), weight * df.of(word))


class Rarity:
    """How rare words are among sources: 1 for one source's alone, towards 0 for everybody's."""

    def __init__(self, every: Iterable[Source]) -> None:
        self._count: dict[str, int] = {}
        self.total = 0
        for source in every:
            self.total += 1
            for word in words_of(source.body):
                self._count[word] = self._count.get(word, 0) + 1

    def of(self, word: str) -> float:
        """The weight of a word."""
        if self.total < 2:
            return 1.0
        found = self._count.get(word) or self._count.get(stem(word), 0)
        return max(0.05, 1.0 - math.log(max(found, 1)) / math.log(self.total + 1))


def words_of(body: Body) -> frozenset[str]:
    """Stems of all words of a source."""
    return frozenset(map(stem, body.words))


@functools.lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without what its place in a sentence adds, and as the word that means the same."""
    word = bare(word)
    word = NUMERALS.get(word, word)
    if word in _ALIKE:
        return _ALIKE[word]
    if word.isalpha() and len(word) > 4:
        for end in ("ing", "ies", "es", "ed", "s"):
            if word.endswith(end) and len(word) - len(end) > 2:
                word = word.removesuffix(end)
                break
    return _ALIKE.get(word, word)


def sentences(body: Body) -> Iterator[Sentence]:
    """The sentences of a source, also of what is encoded in it."""
    left = SENTENCES
    texts = [(field.path, field.folded, len(field.folded) == len(field.text))
             for field in body.fields]  # fmt: skip
    texts += [(field.path, form, False) for field, form in body.hidden]
    for path, text, placed in texts:
        for found in _SENTENCE.finditer(text):
            words = frozenset(map(stem, _WORD.findall(found[0])))
            if not words:
                continue
            left -= 1
            if left < 0:
                return
            start, end = found.span() if placed else (0, 0)
            yield Sentence(path, start, end, found[0].strip(), words)


def likeness(action: Action, body: Body) -> tuple[float, Sentence | None]:
    """How much the best sentence of a source speaks of an action, 0 to 1, and which it is."""
    best, found = 0.0, None
    for sentence in sentences(body):
        verb = _acts(action, sentence)
        common = sum(action.weights.get(word, 0.0) for word in sentence.words)
        score = 0.4 * verb + 0.6 * min(1.0, common / (0.6 * action.total))
        if len(sentence.words) <= 2:
            score *= 0.5  # a field, a heading: it asks for nothing
        if score > best:
            best, found = score, sentence
    return best, found


def _acts(action: Action, sentence: Sentence) -> bool:
    if not action.families:
        return False
    return any(not action.families.isdisjoint(families_of(one)) for one in sentence.words)
