"""Asked: whether a person's words ask for the kind of action that a tool's call is.

Words are matched by family of verbs (send, pay, delete ...), in several languages, tolerant of
forms; the table is in `words`. What a person only asks *about* (a question, "could I ...") is not
asked for; who tells an agent to do what somebody else says asks for anything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Final

from holdfast.gate.folding import bare, plain
from holdfast.gate.words import (
    AFTER,
    ALIKE,
    BEING,
    BUT,
    FAMILIES,
    JOINS,
    KNOWN,
    LEADS,
    LIGHT,
    MAKES,
    NOT,
    NOUNS,
    PLACES,
    POLITE,
    STOP,
    STRONG,
)

_STEMS: Final[dict[str, frozenset[str]]] = {
    stem: frozenset(family for family, stems in FAMILIES.items() if stem in stems.split())
    for stems in FAMILIES.values()
    for stem in stems.split()
}
_TOKEN: Final = re.compile(r"[^\W_]+(?:'t)?|[$€£¥,]")
_SENTENCE: Final = re.compile(r"(?<=[.!?;:])\s+|\n")
_APART: Final = re.compile(r"\bset[ -]up\b|\blet (?:[\w.@-]+ ){1,4}know\b")
"""Verbs of several words."""
_UMLAUT: Final = re.compile(r"([aou])e")
_SHORTEST: Final = 3
_LONGEST: Final = max(map(len, _STEMS))
_LAST: Final = re.compile(r"\.|__|[/:]")
"""What stands between the names of a place and of what is done there."""
_NAME: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WINDOW: Final = 3
_NEAR: Final = 5
_READING: Final = frozenset(("read", "web", "link"))
_WORD: Final = re.compile(r"[^\W\d_]{2}")
_NONE: Final[frozenset[str]] = frozenset()
_MANY: Final = 3
_CAPITAL: Final = re.compile(r"(?<=[^\W_])[ ,]{1,2}([^\W\d_a-z]\w+)")
"""A name, or in German any noun, where no sentence begins."""
_TITLE: Final = re.compile(r"(?<!\w)'[^'\n]{1,80}'(?!\w)|\"[^\"\n]{1,80}\"")
"""What is quoted is a name or a text, not a request."""

ANYTHING: Final = "anything"
"""What is asked for by who lets somebody else say what to do."""
INSIDE: Final = "inside"
"""Said by who means something that stands inside a text."""
UNCLEAR: Final = "unclear"
"""Said by who uses a verb that no family knows: what they ask for may be anything of a kind."""

_DELEGATES: Final = re.compile(
    r"\b(?:do|perform|carry out|follow|complete|execute|handle|implement|work through|take care of"
    r"|act on|sort out|see to|attend to|deal with|fulfill?)\b.{0,80}\b(?:asks?|asked|says?|said"
    r"|tells?|told|wants?|instruct\w*|tasks?|actions?|steps?|runbook|playbook|to-?dos?|requests?"
    r"|requested|checklist|procedure|guide|everything|whatever|things|items|points|described"
    r"|specified|needed|necessary)\b"
    r"|\bgo through\b.{0,40}\b(?:tasks?|steps?|to-?dos?|checklist|runbook)\b"
    r"|\bfollow\b.{0,80}\b(?:sequence|manual|instructions?|recipe|protocol|workflow|routine)\b"
    r"|\b(?:as|like|what|whatever)\b.{0,40}\b(?:instructed|described|specified|requested"
    r"|it says|they say|asks for|tells? you|is needed)\b"
    r"|\b(?:tu|mach|mache|erledige|befolge|folge|arbeite)\b.{0,80}\b(?:was|anweisung\w*|anleitung"
    r"|aufgaben?|schritte?n?|liste|bittet|verlangt|steht|ab)\b"
    r"|\b(?:haz|sigue|realiza|completa)\b.{0,60}\b(?:lo que|instrucciones|tareas|pasos|pide|dice)\b"
    r"|\b(?:fais|suis|execute|realise|effectue)\b.{0,60}\b(?:ce que|instructions|taches|etapes"
    r"|demande)\b"
)
_INSIDE: Final = re.compile(
    r"\b(?:names|named|lists|listed|mention\w*|gives|given|says|said|states|stated"
    r"|stands?|contains|wrote|writes|written|suggest\w*|decided|linked|links|according|quoted"
    r"|quotes"
    r"|nennt|genannt\w*|steht|stehen|auflist\w*|aufgelistet\w*|angegeben\w*|erwahnt\w*|laut"
    r"|schreibt"
    r"|geschrieben|vorschlag\w*|nomme\w*|indique\w*|mentionne\w*|ecrit\w*|selon"
    r"|nombra\w*|menciona\w*|indica\w*|figura\w*|escribio|escrit\w*|segun|scritt\w*|elenca\w*"
    r"|secondo|escreveu|segundo|address\w*|adresse\w*|indirizz\w*|direccion\w*|staat"
    r"|genoemd\w*|volgens|geschreven)\b"
)
_ONLY_TELL: Final = re.compile(
    r"\b(?:do nothing|don'?t do anything|do not do anything|just tell me|only tell me"
    r"|mach nichts|tu nichts|sag mir nur|sag nur|nichts tun|no hagas nada|solo dime|ne fais rien"
    r"|dis-moi seulement)\b"
)
_ABOUT: Final = re.compile(
    r"^\W*(?:what|which|who|whose|when|where|why|how|is|are|was|were|did|does|do i|do we|has|have"
    r"|welche\w*|wer|wann|wo|warum|wie|wieviel|ist|sind|war|hat|habe|steht|gibt"
    r"|cuanto|cuantos|que|quien|cuando|donde|cual|hay|quel\w*|qui|quand|ou|combien|est-ce)\b"
    r"|\b(?:could|can|may|might|would|should) (?:i|we)\b"
    r"|\b(?:konnte|kann|darf|durfte|soll|sollte|wurde) (?:ich|man)\b|\b(?:konnen|durfen) wir\b"
    r"|\b(?:podria|puedo|deberia|puis-je|pourrais-je)\b"
)


@functools.lru_cache(maxsize=4096)
def families_of(word: str) -> frozenset[str]:
    """The families of a folded word: those of the longest beginning that the table has."""
    if word in "$€£¥":
        return frozenset(("pay",))
    if word in _STEMS:
        return _STEMS[word]
    found = _beginning(word)
    if not found and _UMLAUT.search(word):
        found = _beginning(_UMLAUT.sub(r"\1", word))
    return found


def _beginning(word: str) -> frozenset[str]:
    for length in range(min(len(word), _LONGEST), _SHORTEST - 1, -1):
        # a short beginning must leave no more than an ending
        found = _STEMS.get(word[:length])
        if found and (length > _SHORTEST + 1 or len(word) - length <= 4):
            return found
    return _NONE


def asked_in(text: str) -> set[str]:
    """The families of action that a person's words ask for, and the words that may name an action
    of no known family; negated ones and what is only asked about are left out."""
    if is_only_told(text):
        return set()
    folded = _unquoted(_folded(text))
    found: set[str] = {INSIDE} if _INSIDE.search(folded) else set()
    if _DELEGATES.search(folded):
        found.add(ANYTHING)
    names = {_folded(name) for name in _CAPITAL.findall(text)}
    # a name or a number that is handed over is no request
    speaks = any(word[0].isalpha() and not word[0].isupper() for word in text.split())
    for sentence in _SENTENCE.split(folded):
        if sentence.rstrip().endswith("?") and _ABOUT.search(sentence):
            continue
        words = _TOKEN.findall(sentence)
        found.update(_asked_by(words))
        if speaks and not _is_understood(words, names):
            found.add(UNCLEAR)
    return found


def _is_understood(words: Sequence[str], names: set[str]) -> bool:
    """Whether every verb of a sentence that asks is of some family, as far as places tell: its
    first word, and those after "and" or a comma before what they would act on."""
    known = [bool(families_of(one)) or one in STOP or one in KNOWN for one in words]
    if len(words) >= _MANY and not any(families_of(one) or one in BEING for one in words):
        return False
    asks = True
    for at, word in enumerate(words):
        leads = asks or words[at - 1] in JOINS
        asks = asks and word in POLITE
        if leads and word in LIGHT:
            return False  # may mean anything
        if not leads or known[at] or word in names or len(word) < _SHORTEST or not word.isalpha():
            continue
        after = words[at + 1] if at + 1 < len(words) else ""
        if at and not (after in STOP or after[:1].isdigit() or after in names):
            continue  # one more of what is listed
        if after in BEING or (after and known[at + 1] and after not in STOP):
            continue  # whom the sentence is about
        return False
    return True


def is_only_told(text: str) -> bool:
    """Whether a person says that nothing shall be done: what they name, they then only mention."""
    return bool(_ONLY_TELL.search(_folded(text)))


def _folded(text: str) -> str:
    return _APART.sub(_together, bare(plain(text)))


def _unquoted(folded: str) -> str:
    """``folded`` without what is quoted in it; all of it if nothing else is there."""
    left = _TITLE.sub(" ' ", folded)
    return left if _WORD.search(left) else folded


def _together(found: re.Match[str]) -> str:
    return "setup" if found[0].startswith("set") else "notify"


def _asked_by(words: Sequence[str]) -> Iterator[str]:
    for at, word in enumerate(words):
        before = words[max(0, at - _WINDOW) : at]
        if any(one in NOT for one in before) and not any(one.startswith(BUT) for one in before):
            continue
        if any(one in AFTER for one in words[at + 1 : at + _WINDOW]):
            continue
        if word not in STOP and len(word) >= _SHORTEST:
            yield "=" + word
            yield "=" + _stem(word)
            if _leads(words, at):
                yield "!" + word
        if word not in NOUNS or _is_verb(words, at):
            yield from families_of(word)


def _is_verb(words: Sequence[str], at: int) -> bool:
    """Whether a word that is also a noun (mail, order) is meant as a verb, or is what is made."""
    if _leads(words, at):
        return True
    near = words[max(0, at - _NEAR) : at]
    return any(not MAKES.isdisjoint(families_of(one)) for one in near if one not in NOUNS)


def _leads(words: Sequence[str], at: int) -> bool:
    """Whether a word stands where a request has its verb."""
    return at == 0 or words[at - 1] in LEADS


@functools.lru_cache(maxsize=4096)
def families_of_tool(name: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """The families that a tool's name speaks of, by its verbs if it has any, and all its words.
    Money is never just sent or created."""
    words = [_folded(part) for part in _NAME.findall(_LAST.split(name)[-1])]
    verbs = [one for one in words if one not in NOUNS and families_of(one) - _READING]
    every = frozenset[str]().union(*map(families_of, words))
    found = frozenset[str]().union(*map(families_of, verbs)) or every
    if "pay" in every and not found.isdisjoint(MAKES):
        found = (found - MAKES) | {"pay"}
    if "access" in every:
        # who may do what is not just created or changed
        found = (found & STRONG) | {"access"}
    return found, tuple(words)


@functools.lru_cache(maxsize=4096)
def subject_of(name: str) -> tuple[str, ...]:
    """The words of a tool's name that say what it is about: all but what says that it reads."""
    words = [_stem(bare(part.lower())) for part in _NAME.findall(name)]
    said = [one for one in words if one not in STOP and one not in PLACES and len(one) > 2]
    return tuple(one for one in said if not _reads(one))


def _reads(word: str) -> bool:
    return "read" in families_of(word)


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > _SHORTEST + 1 else word


def is_asked(wanted: set[str], spoke: bool, name: str, effect: str, kind: str) -> bool:
    """Whether an action is of a kind that persons' words ask for. Reading is part of whatever they
    ask for; a name of no known family must itself be among the words. ``spoke``: they said anything
    at all."""
    if kind != "tool" or effect == "read":
        return spoke
    every, words = families_of_tool(name)
    families = every - _READING  # who asks to read asks for nothing that changes
    if ANYTHING in wanted or not wanted.isdisjoint(families):
        return True
    if any(not wanted.isdisjoint(ALIKE.get(family, ())) for family in families):
        return True
    unknown = [word for word in words if len(word) >= _SHORTEST and not families_of(word)]
    if any("!" + word in wanted for word in unknown):
        return True
    if families:
        return words[0] in unknown and "=" + words[0] in wanted
    return any(_named(word, wanted) for word in unknown if len(word) > _SHORTEST)


def is_unasked(wanted: set[str], name: str, effect: str, kind: str) -> bool:
    """Whether an action that is not asked for is surely not meant: all verbs of the persons' words
    are known and ask for others."""
    if kind != "tool" or effect == "read":
        return False
    families, _ = families_of_tool(name)
    if UNCLEAR in wanted:
        return False
    others = any(one in FAMILIES and one not in _READING for one in wanted)
    # a tool of no family may do anything, but nothing for who only wants to know
    return bool(families - _READING) or not others


def own_words(wanted: set[str], name: str) -> tuple[list[str], bool]:
    """The words of a tool's name that say what it does and that no person used, in their forms;
    and whether persons used none of them."""
    words = [word for word in families_of_tool(name)[1] if len(word) >= _SHORTEST]
    words = [word for word in words if word not in STOP]
    free = [word for word in words if f"={word}" not in wanted and f"={_stem(word)}" not in wanted]
    forms = [form for word in free for form in (word, word + "s", _stem(word)) if not _reads(word)]
    return forms, len(free) == len(words)


def _named(word: str, wanted: set[str]) -> bool:
    """Whether a word of a tool's name begins as one of the person's words does."""
    stem = "=" + word[: max(_SHORTEST + 1, len(word) - 3)]
    return any(
        one.startswith(stem) or (len(one) > 4 and word.startswith(one[1:])) for one in wanted
    )
