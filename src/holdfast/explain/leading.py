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
from holdfast.gate.words import LEADS, NUMERALS, STOP

SENTENCES: Final = 400
"""Sentences of one source that are compared."""
_SENTENCE: Final = re.compile(r"[^.!?;\n]+(?:[.](?=[^\s])[^.!?;\n]*)*")
_WORD: Final = re.compile(r"[^\W_]+")
_ALIKE: Final = {
    word: row.split()[0]
    for row in (
        "all every everything entire whole alle alles todo todos toda tout tous tutto tutti",
        "any anyone anybody everyone everybody public",
        "file document attachment",
        "mail email message letter",
        "money fund payment amount sum",
        "off disable deactivate stop",
        "on enable activate",
    )
    for word in row.split()
}
"""Words that mean one thing where something is told to be done."""
_VERBS: Final = {
    verb: row.split()[0]
    for row in (
        "choose select pick opt vote wahle wahlen nimm elige elegir choisis choisir scegli escolha",
        "delete clear wipe clean reset flush leere leeren vide vider vacia svuota",
        "lock turn switch toggle schalte abschalten ausschalten eteins apaga spegni desliga",
    )
    for verb in row.split()
}
"""Verbs that the gate's table lacks, since nobody is harmed if they are not understood there."""
_LEADS: Final = LEADS | frozenset(
    """
    must should shall will need needs can could let assistant agent agents ai you now afterwards
    first finally immediately muss sollen soll sollst musst debe debes doit dois devi deve
    """.split()
)
"""Words after which a verb tells somebody to do something."""
_TELLS: Final = frozenset(
    """
    assistant agent agents ai llm you your must please immediately important ignore instruction
    instructions urgent urgently whoever reads reading bitte sofort wichtig dringend urgente
    importante debes debe vous devez veuillez per favore
    """.split()
)
"""Words of who tells a reader to do something."""


class Sentence(NamedTuple):
    """A sentence of a source: where it stands (0, 0 if that is not known), and its words."""

    path: str
    start: int
    end: int
    text: str
    words: frozenset[str]
    order: tuple[str, ...]


class Action:
    """What was done, as words: of the tool's name, its arguments' names and their values."""

    def __init__(self, name: str, values: Sequence[Value], df: Rarity) -> None:
        families, _ = families_of_tool(name)
        self.families = set(families - {"read", "web"})
        self.weights: dict[str, float] = {}
        self.bones: dict[str, str] = {}
        for word in re.findall(r"[a-z0-9]+", " ".join(name_words(name.replace("_", " ")))):
            self._add(word, 1.0, df)
            self.families |= {_VERBS[word]} if word in _VERBS else set()
        for value in values:
            for word in name_words(value.path.rpartition(".")[2].partition("[")[0]):
                self._add(word, 0.5, df)
                if value.trivial:  # a switch: its name says what is done
                    self.families |= families_of(word) - {"read", "web"}
            for word in (*value.words, *value.numbers)[:60]:
                self._add(word, 0.8, df)
            if value.tiny and value.packed:
                self._add(value.packed, 0.8, df)
        self.total = sum(self.weights.values()) or 1.0

    def _add(self, word: str, weight: float, df: Rarity) -> None:
        word = stem(word)
        if word and word not in STOP:
            self.weights[word] = max(self.weights.get(word, 0.0), weight * df.of(word))
            if bones := skeleton(word):
                self.bones[bones] = word


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
            order = tuple(_WORD.findall(found[0]))
            if not order:
                continue
            words = frozenset(map(stem, order))
            left -= 1
            if left < 0:
                return
            start, end = found.span() if placed else (0, 0)
            yield Sentence(path, start, end, found[0].strip(), words, order)


def likeness(action: Action, body: Body) -> tuple[float, Sentence | None]:
    """How much the best sentence of a source speaks of an action, 0 to 1, and which it is."""
    best, found = 0.0, None
    for sentence in sentences(body):
        shared = {word for word in sentence.words if word in action.weights}
        shared |= {
            action.bones[bones] for word in sentence.words
            if len(word) > _BONES and (bones := skeleton(word)) in action.bones
        }  # fmt: skip
        common = sum(action.weights[word] for word in shared)
        verb = _acts(action, sentence.order)
        if not common and not verb:
            continue
        score = 0.35 * verb + 0.55 * min(1.0, common / (0.6 * action.total))
        if not _TELLS.isdisjoint(sentence.order):
            score += 0.1
        if len(sentence.order) <= 2:
            score *= 0.5  # a field, a heading: it asks for nothing
        if score > best:
            best, found = score, sentence
    return best, found


def _acts(action: Action, order: Sequence[str]) -> float:
    """Whether a sentence has a verb of what was done: 1 where it tells somebody to, less where it
    only tells of it."""
    best = 0.0
    for at, word in enumerate(order):
        if word not in STOP and not action.families.isdisjoint(_families(word)):
            leads = at == 0 or order[at - 1] in _LEADS
            past = word.endswith(("ed", "t")) and not leads
            best = max(best, 1.0 if leads else 0.25 if past else 0.5)
    return best


@functools.lru_cache(maxsize=65_536)
def _families(word: str) -> frozenset[str]:
    more = _VERBS.get(word) or _VERBS.get(bare(word))
    return families_of(word) | ({more} if more else frozenset())


_BONES: Final = 5
"""Shortest word that is compared without its vowels."""


@functools.lru_cache(maxsize=65_536)
def skeleton(word: str) -> str:
    """A longer word without what differs between languages: ``calendar``, ``Kalender``; "" for a
    short one."""
    if len(word) <= _BONES or not word.isalpha():
        return ""
    bones = word.translate(_SOUNDS)
    return bones if len(bones) >= 4 else ""


_SOUNDS: Final = str.maketrans("cqzyj", "kkssi", "aeiouh")
