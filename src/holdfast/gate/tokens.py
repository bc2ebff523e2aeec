"""The text of a condition as tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<string>[bB]?[rR]\"{3}.*?\"{3} | [bB]?[rR]'{3}.*?'{3}
          | [rR][bB]?\"[^"\n]*\" | [rR][bB]?'[^'\n]*' | [bB][rR]\"[^"\n]*\" | [bB][rR]'[^'\n]*'
          | [bB]?\"{3}(?:\\.|[^\\])*?\"{3} | [bB]?'{3}(?:\\.|[^\\])*?'{3}
          | [bB]?\"(?:\\.|[^"\\\n])*\" | [bB]?'(?:\\.|[^'\\\n])*')
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9][A-Za-z0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?[uU]?)
      | (?P<sign>==|!=|<=|>=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its text, and its sort (string, word, number or sign)."""

    text: str
    sort: str
    root: bool
    """It is a name that is looked up in the scope, no field, method or function of something."""


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of a condition, without comments and spaces."""
    found = [match for match in _TOKEN.finditer(text) if match.lastgroup != "space"]
    tokens: list[Token] = []
    for place, match in enumerate(found):
        sort = match.lastgroup or ""
        after = place + 1 < len(found) and found[place + 1].group() == "("
        inner = place > 0 and found[place - 1].group() == "."
        tokens.append(Token(match.group(), sort, sort == "word" and not inner and not after))
    return tuple(tokens)


def layout(tokens: tuple[Token, ...]) -> str:
    """The text in one canonical layout."""
    text, before = "", ""
    for token in tokens:
        opens = token.text in ("(", "[") and bool(re.fullmatch(r"\w+|[)\]]", before))
        tight = before in ("", ".", "(", "[", "!") or token.text in (".", ")", "]", ",")
        text += token.text if tight or (opens and before != "in") else f" {token.text}"
        before = token.text
    return text
