"""Names of conditions whose values are words of a closed list, and comparisons of them with a word
that is not in it: those would never hold (or always), and nobody would notice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from holdfast.gate.facts import ORIGINS
from holdfast.gate.labels import CONFIDENTIALITY, INTEGRITY
from holdfast.gate.proposal import EFFECTS, KINDS
from holdfast.gate.reading import clip, suggest
from holdfast.gate.tokens import Token

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "effect": EFFECTS,
    "kind": KINDS,
    "worst": ORIGINS,
    "origin": ORIGINS,
    "integrity": INTEGRITY,
    "confidentiality": CONFIDENTIALITY,
    "carries": CONFIDENTIALITY,
    "clearance": CONFIDENTIALITY,
}
"""What each of these names can be; of ``origin``, what each of its entries can be."""
_EMPTY: Final = "worst"
"""The one name that may also be "": there are no deciding arguments."""


def strange_word(
    tokens: Sequence[Token], names: Collection[str], said: Callable[[str], object]
) -> str:
    """What is wrong with the first comparison with a word that does not exist; "" if none is.
    ``names``: those of the scope; ``said``: the value of a string that is written out."""
    # INVARIANT G63: no name of closed words is compared with a written word that it can never be
    for place, token in enumerate(tokens):
        if not token.root or token.text not in WORDS or token.text not in names:
            continue
        start, stop = _wide(tokens, place, _end(tokens, place))
        for literal in (*_after(tokens, stop), *_before(tokens, start, stop)):
            word, known = said(literal), WORDS[token.text]
            if isinstance(word, str) and word not in known and (word or token.text != _EMPTY):
                whose = "an entry of origin" if token.text == "origin" else token.text
                return f"{whose} is never {clip(word)}: {suggest(word, known)}"
    return ""


def strange_fact(facts: Mapping[str, object]) -> tuple[str, str]:
    """The first fact whose value is none of its closed words, and what is wrong with it; two empty
    texts if there is none."""
    # INVARIANT G86: a fact with a word that nobody knows is refused where facts are read, since
    # conditions compare with words that are known and would match none
    for name, value in facts.items():
        if name in WORDS:
            entries = value.values() if isinstance(value, Mapping) else (value,)
            for word in entries:
                if word not in WORDS[name] and (word or name != _EMPTY):
                    whose = "an entry of origin" if name == "origin" else name
                    return name, f"{whose} is never {clip(str(word))}: " + suggest(
                        str(word), WORDS[name]
                    )
    return "", ""


def _text(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].text if 0 <= place < len(tokens) else ""


def _closing(tokens: Sequence[Token], place: int) -> int:
    """The place of the bracket that closes the one at ``place``."""
    depth = 0
    for at in range(place, len(tokens)):
        text = tokens[at].text
        depth += (text in "([{") - (text in ")]}")
        if not depth:
            return at
    return len(tokens)


def _end(tokens: Sequence[Token], place: int) -> int:
    """The place behind a name; of ``origin``, behind what picks one of its entries."""
    if tokens[place].text != "origin":
        return place + 1
    if _text(tokens, place + 1) == "[":
        return _closing(tokens, place + 1) + 1
    if _text(tokens, place + 1) == "." and _text(tokens, place + 3) != "(":
        return place + 3
    return place + 1


def _wide(tokens: Sequence[Token], start: int, stop: int) -> tuple[int, int]:
    """The span with the brackets that are around nothing else."""
    while _text(tokens, start - 1) == "(" and _text(tokens, stop) == ")":
        if start > 1 and tokens[start - 2].sort == "word" and tokens[start - 2].text != "in":
            break  # it is what a function is called with
        start, stop = start - 1, stop + 1
    return start, stop


def _after(tokens: Sequence[Token], stop: int) -> Iterator[str]:
    """Strings that what ends before ``stop`` is compared with, to its right."""
    sign = _text(tokens, stop)
    if sign in ("==", "!="):
        first = stop + 1
        while _text(tokens, first) == "(":
            first += 1
        behind = first + 1 + first - stop - 1
        closed = all(_text(tokens, at) == ")" for at in range(first + 1, behind))
        if closed and _is_string(tokens, first) and _text(tokens, behind) not in ("+", ".", "["):
            yield tokens[first].text
    elif sign == "in" and _text(tokens, stop + 1) == "[":
        for at in range(stop + 2, _closing(tokens, stop + 1)):
            alone = _text(tokens, at - 1) in ("[", ",") and _text(tokens, at + 1) in ("]", ",")
            if alone and _is_string(tokens, at):
                yield tokens[at].text


def _before(tokens: Sequence[Token], start: int, stop: int) -> Iterator[str]:
    """A string that what begins at ``start`` is compared with, to its left."""
    if _text(tokens, start - 1) in ("==", "!=") and _text(tokens, stop) not in ("+", ".", "["):
        last = start - 2
        while _text(tokens, last) == ")":
            last -= 1
        if _is_string(tokens, last) and _text(tokens, last - 1) != "+":
            yield tokens[last].text


def _is_string(tokens: Sequence[Token], place: int) -> bool:
    return 0 <= place < len(tokens) and tokens[place].sort == "string"
