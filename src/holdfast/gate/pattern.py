"""Names and name patterns: ``*`` stands for any text, ``?`` for one character."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Final

from holdfast.gate.reading import Item, Reader, clip, suggest
from holdfast.values import limits

_SPECIAL: Final = frozenset("*?")


@dataclass(frozen=True, slots=True)
class Names:
    """A test on a name: one of ``exact``, or one of ``globs``."""

    exact: frozenset[str]
    globs: tuple[re.Pattern[str], ...] = ()

    def match(self, name: str) -> bool:
        """Whether ``name`` is meant."""
        return name in self.exact or any(glob.match(name) for glob in self.globs)


def names_of(texts: tuple[str, ...]) -> Names:
    """The test for names or patterns that `read_globs` has accepted."""
    globs = tuple(text for text in texts if _SPECIAL & set(text))
    # `translate` never backtracks over a star that has found its text, so this is linear in the
    # name for every pattern
    compiled = tuple(re.compile(fnmatch.translate(text)) for text in globs)
    return Names(frozenset(texts) - frozenset(globs), compiled)


def read_globs(item: Item, what: str) -> tuple[str, ...]:
    """One name or pattern, or a list of them; brackets, which shells read, are refused."""
    texts = item.texts(what)
    for text in texts:
        if len(text) > limits.PATTERN_CHARS:
            item.refuse(f"{what}: a name pattern has at most {limits.PATTERN_CHARS} characters")
        if any(char in "[]{}" for char in text):  # silently literal would surprise
            item.refuse(
                f"{what} {clip(text)}: only '*' and '?' are special in a name pattern; "
                "brackets do not exist"
            )
    return texts


def words(*known: str) -> Reader:
    """Reads one of the ``known`` words, or a list of them."""

    def read_words(item: Item, what: str) -> tuple[str, ...]:
        texts = item.texts(what)
        for text in texts:
            if text not in known:
                item.refuse(f"unknown {what} {clip(text)}: {suggest(text, known)}")
        return texts

    return read_words
