"""What in the texts of a server's tools speaks to a model, or hides from a reader."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from holdfast.cli.scanning.facts import words_of
from holdfast.cli.scanning.listing import Listed, Seen
from holdfast.explain.text import cut, one_line
from holdfast.values import limits
from holdfast.values.masking import masked

_DEPTH = 20
_LONG = 2_000
_WHO = r"\b(?:users?|persons?|humans?|anyone|them)\b"
_SECRETS = r"\b(?:api[_ ]?keys?|passwords?|credentials?|private keys?|access tokens?)\b"
_SENDS = r"\b(?:pass|send|include|put|append|attach)\b"
_ORDERS = {
    "tells a model to ignore what it was told": (
        r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|all|any"
        r"|other)\b.{0,30}\b(?:instructions?|rules?|prompts?|tools?|messages?)\b"
    ),
    "tells a model to hide something from the person": (
        r"\b(?:do not|don't|never|without)\b.{0,40}\b(?:tell|mention|inform|reveal|show|notify|ask"
        r"|telling|mentioning|informing|asking|notifying)\b.{0,30}" + _WHO
    ),
    "holds a tag that speaks to a model": (
        r"</?\s*(?:important|system|instructions?|secret|hidden|assistant|admin)\b[^>]*>"
    ),
    "orders other calls": (
        r"\b(?:before|after|whenever|every time|each time)\b.{0,30}\b(?:using|calling|invoking"
        r"|you (?:use|call))\b.{0,40}\b(?:this|any|other|another|the)\b.{0,20}\btools?\b.{0,60}"
        r"\b(?:must|first|always|call|read|send|pass)\b"
    ),
    "speaks of what a model keeps to itself": (
        r"\bsystem prompt\b|\bconversation history\b|\bchain of thought\b"
    ),
    "names files that hold credentials": (
        r"~/\.\w+|\bid_(?:rsa|ed25519)\b|\.ssh/|\.aws/|\bmcp\.json\b|/etc/(?:passwd|shadow)\b"
        r"|(?<![\w/.])\.env\b"
    ),
    "asks for credentials": f"{_SECRETS}.{{0,60}}{_SENDS}|{_SENDS}.{{0,60}}{_SECRETS}",
    "holds a comment that a reader may not see": r"<!--",
    "holds encoded text": r"[A-Za-z0-9+/]{120,}={0,2}|(?:[0-9a-f]{2}){80,}",
}
_PATTERNS = tuple(
    (re.compile(one, re.IGNORECASE | re.DOTALL), what) for what, one in _ORDERS.items()
)
_ALLOWED = frozenset("\t\n\r")


class Finding(msgspec.Struct, frozen=True):
    """Something odd: of which tool ("" of the server), where in its definition, what, and the text
    around it."""

    tool: str
    where: str
    what: str
    text: str = ""


def findings(server: Listed) -> list[Finding]:
    """Everything odd about a server. INVARIANT D106: every text of a definition is looked at, also
    those of arguments, wherever they stand."""
    names = {one.own for one in server.tools}
    found = [*_of_text("", "instructions", server.instructions)]
    found += _alike(server.tools)
    for tool in server.tools:
        found += _of_tool(tool, names - {tool.own})
    return found


def _of_tool(tool: Seen, others: set[str]) -> Iterator[Finding]:
    for where, text in _texts(tool.definition, ""):
        yield from _of_text(tool.own, where, text)
        if where != "name" and (named := _names(text, others)):
            yield Finding(tool.own, where, f"names other tools: {', '.join(named)}", _around(text))
    hints = tool.definition.get("annotations")
    reads = isinstance(hints, dict) and hints.get("readOnlyHint") is True
    if reads and isinstance(hints, dict) and hints.get("destructiveHint") is True:
        yield Finding(tool.own, "annotations", "says that it only reads and that it destroys")


def _texts(value: Any, where: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text in a definition with its place: names of members too."""
    if isinstance(value, str):
        yield where, value
    elif depth >= _DEPTH:
        yield where, "" if isinstance(value, int | float | None) else str(value)
    elif isinstance(value, dict):
        for name, one in value.items():
            inner = f"{where}.{name}" if where else str(name)
            if where:
                yield inner, str(name)
            yield from _texts(one, inner, depth + 1)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, f"{where}[{number}]", depth + 1)


def _of_text(tool: str, where: str, text: str) -> Iterator[Finding]:
    where = cut(one_line(where), limits.SCAN_TEXT_CHARS)
    hidden = [char for char in text if _is_hidden(char)]
    if hidden:
        kinds = ", ".join(sorted({f"U+{ord(char):04X}" for char in hidden})[:5])
        what = f"holds {len(hidden)} characters that are not seen: {kinds}"
        yield Finding(tool, where, what, _around(text, text.index(hidden[0])))
    # what is written with such characters between its letters, or in letters that look like others,
    # is read without them
    plain = unicodedata.normalize("NFKC", "".join(c for c in text if not _is_hidden(c)))
    for pattern, what in _PATTERNS:
        match = pattern.search(plain)
        if match is not None:
            yield Finding(tool, where, what, _around(plain, match.start()))
    if len(text) > _LONG:
        yield Finding(tool, where, f"is {len(text):,} characters long", _around(text))


def _is_hidden(char: str) -> bool:
    if char in _ALLOWED:
        return False
    kind = unicodedata.category(char)
    number = ord(char)
    return (
        kind in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")
        or 0xFE00 <= number <= 0xFE0E
        or 0xE0100 <= number <= 0xE01EF
        or number in (0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800)
    )


def _names(text: str, others: set[str]) -> list[str]:
    """Other tools that a text names, if their names are more than a common word."""
    named = [one for one in others if len(words_of(one)) > 1 and len(one) > 5]
    return sorted(one for one in named if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text))[:5]


def _alike(tools: Sequence[Seen]) -> Iterator[Finding]:
    """Tools whose names are one, or look like one."""
    by: dict[str, list[str]] = defaultdict(list)
    for tool in tools:
        plain = unicodedata.normalize("NFKC", tool.own).casefold()
        by["".join(char for char in plain if char.isalnum())].append(tool.own)
        if not tool.own.isascii():
            yield Finding(tool.own, "name", "has a name with letters that may look like others")
    for names in by.values():
        if len(names) > 1:
            yield Finding(names[0], "name", f"is called like {len(names) - 1} other tools")


def _around(text: str, at: int = 0) -> str:
    start = max(0, at - limits.SCAN_TEXT_CHARS // 4)
    taken = text[start : start + limits.SCAN_TEXT_CHARS * 2]
    seen = (one.encode("unicode_escape", "surrogatepass").decode() if _is_hidden(one) else one
            for one in taken)  # fmt: skip
    shown = ("…" if start else "") + "".join(seen)
    return cut(masked(one_line(shown)), limits.SCAN_TEXT_CHARS)
