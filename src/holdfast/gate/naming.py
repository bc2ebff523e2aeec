"""Naming: what a person means without saying its address: a record by one of its fields.

Who says "my call with the plumber" names the record that has this title, and so its id. Only ids
are named so, since they mean nothing outside: an address, an account or a link in the same record
says where something goes, and may have been put there by anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any, Final

from holdfast.gate.folding import plain, squeezed
from holdfast.gate.values_in import (
    LINK,
    MAIL,
    Seen,
    decoded,
    parts,
    path_of,
    scalar_text,
    words_in,
)
from holdfast.gate.words import STOP
from holdfast.values import limits

_ID_WORDS: Final = frozenset("id ids nr no num number key ref uid uuid code index slug".split())
_KEY: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_TOKEN: Final = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[a-z])[\w#.:+-]{2,40}")
_ACCOUNT: Final = re.compile(r"=?(?:[a-z]{2}\d{2}[a-z0-9]{10,30}|\d{8,30})")
_DIGITS: Final = re.compile(r"\d+")
_LETTERS: Final = re.compile(r"[a-z]+")
_PHONE: Final = re.compile(r"\+?[\d ()/.-]+")
_PHONE_DIGITS: Final = 7
_DISGUISED: Final = re.compile(r"[a-z][013578]+[a-z]|(?<![a-z0-9])[013578]+[a-z]{3}")
_NAME: Final = re.compile(r"[^\W\d_]{3}")
_NAME_CHARS: Final = 5
_NAMES: Final = 6
"""Fields of one record that are taken for its names."""
_NAME_WORDS: Final = 6
"""A field of more words than this is a text, not a name."""


def kind_of(folded: str) -> str:
    """Which kind of address a folded value (or an atom) is: mail, link, account; "" for none."""
    if MAIL.fullmatch(folded):
        return "mail"
    if LINK.fullmatch(folded) or folded.startswith("//"):
        return "link"
    return "account" if _ACCOUNT.fullmatch(squeezed(folded)) else ""


def is_sink(folded: str) -> bool:
    """Whether a folded value says where something goes and is hard to check: an account, a link, a
    path, a number to call, a mail address whose host has digits that stand for letters."""
    if MAIL.fullmatch(folded):
        return bool(_DISGUISED.search(folded.rpartition("@")[2]))
    if kind_of(folded) or MAIL.search(folded) or "://" in folded or path_of(folded):
        return True
    return bool(_PHONE.fullmatch(folded)) and sum(map(str.isdigit, folded)) >= _PHONE_DIGITS


def shape_of(folded: str) -> str:
    """How an id is built (``hb-2088`` as ``a-0``), "" for what is none."""
    if len(folded) > 40 or not _TOKEN.fullmatch(folded) or not folded[-1].isdigit():
        return ""
    return _DIGITS.sub("0", _LETTERS.sub("a", folded)) if "-" in folded or "_" in folded else ""


Record = list[tuple[str, Any, str]]
"""The fields of a record that have no parts: name ("" in a list), value, text."""


def records_in(value: Any) -> list[Record]:
    """Every record in ``value``; none in a value without parts.

    INVARIANT D180: a result is walked once, and whatever is read of its fields is read of this.
    """
    if scalar_text(value) is not None:
        return []
    found: list[Record] = []
    stack, left = [value], limits.FLOW_VALUE_ENTRIES
    while stack and left > 0:
        inner = parts(stack.pop())
        named = isinstance(inner, Mapping)
        record: Record = []
        for key, item in inner.items() if named else zip(repeat(""), inner, strict=False):
            text = item if isinstance(item, str) else scalar_text(item)
            if text is None:
                stack.append(item)
            else:
                record.append((key if type(key) is str else str(key), item, text))
        left -= len(inner) + 1
        found.append(record)
    return found


def short(record: Record) -> list[tuple[str, str]]:
    """Name and text of the fields of a record that are no longer than a name."""
    return [
        (key, text)
        for key, _, text in record
        if text and "\n" not in text and len(text.split()) <= _NAME_WORDS
    ]


def names_of(fields: list[tuple[str, str]]) -> list[str]:
    """What a record calls itself: of its short fields the first with letters."""
    found = [
        text for key, text in fields if key and len(text) >= _NAME_CHARS and _NAME.search(text)
    ]
    return found[:_NAMES]


def named_ids(records: Iterable[Record], named: Callable[[str], bool]) -> set[str]:
    """The atoms of ids in records of which another field is ``named``."""
    found: list[Any] = []
    for record in records:
        names = {key for key, _, text in record if key and _is_named(text, named)}
        if not names:
            continue
        for key, item, text in record:
            # an id says only itself: what is encoded in it is a stranger's word
            if key and names != {key} and _is_id(key, item, text) and len(decoded(text)[0]) == 1:
                found.append(item)
    return Seen(found, small=True).atoms


def _is_id(key: str, item: Any, text: str) -> bool:
    if isinstance(item, bool | float):
        return False
    folded = plain(text)
    if MAIL.search(folded) or "://" in folded or path_of(folded):
        return False
    words = {one.lower() for one in _KEY.findall(key)}
    if not words.isdisjoint(_ID_WORDS):
        return " " not in folded and len(folded) <= 64 and not _ACCOUNT.fullmatch(squeezed(folded))
    if isinstance(item, int):
        return False
    return bool(_TOKEN.fullmatch(folded)) and not _ACCOUNT.fullmatch(squeezed(folded))


def _is_named(text: str, named: Callable[[str], bool]) -> bool:
    """Whether all that a field says was said."""
    words = [one for one in words_in(plain(text)) if one not in STOP]
    if not 0 < len(words) <= _NAME_WORDS or max(map(len, words)) < 3:
        return False
    return all(map(named, words))
