"""Whether a value stands in a source, how, and exactly where.

The spellings are those of the gate (`gate.values_in`, `gate.folding`): case, spacing, numbers,
encodings, letters that look alike. Beyond them, for people who read: dates of several languages,
quotations of long texts by rows of words, and words alone, which are the weakest.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.explain.because import How
from holdfast.explain.dates import days_in
from holdfast.gate.folding import bare, plain, squeezed
from holdfast.gate.hearsay import numerals_in
from holdfast.gate.values_in import decoded, readings, scalar_text, words_in
from holdfast.gate.words import STOP

FIELDS: Final = 2_000
"""Fields of one source that are looked at, and of one action's arguments that are taken apart."""
CHARS: Final = 64 * 1024
"""Characters of one field in which values are looked for; sources that are longer say so."""

_ROW: Final = 3
"""Words in a row that make a piece of a quotation."""
_LONG: Final = 7
"""From so many words on, a value is a text that may be quoted in part."""
_PACKED: Final = 5
"""Shortest value without spaces and punctuation that is looked for inside others so."""
_NUMBER: Final = re.compile(r"(?<![\w.,:/-])\d+(?:[.,'\u00a0\u202f ]\d+)*(?![-/:]\d)")
_PLAIN_NUMBER: Final = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?")
_TOKEN: Final = re.compile(r"[^\s,;()<>\[\]{}\"'`|=&?]+")
_WORDS: Final = re.compile(r"[^\W_]+")
_EDGES: Final = ".:!?*_-~/"


class Match(NamedTuple):
    """Where a value stands in a source: ``path`` of the field, characters ``start`` to ``end`` of
    its text, ``share`` of the value that this gives, ``words`` that were found (``partial`` and
    ``words`` only)."""

    how: How
    share: float
    path: str
    start: int
    end: int
    matched: str
    words: tuple[str, ...] = ()


class Value:
    """A value that is looked for, in the forms that it may take."""

    def __init__(self, path: str, value: Any) -> None:
        text = scalar_text(value) or ""
        self.path = path
        self.size = len(text)
        self.text = text[:CHARS].strip()
        self.folded = plain(self.text)
        self.bare = self.folded if self.folded.isascii() else bare(self.folded)
        self.packed = squeezed(self.folded.replace("\n", " "))
        self.numbers = frozenset(_numbers_of(self.folded))
        words = words_in(self.folded)
        self.words = tuple(dict.fromkeys(one for one in words if one not in STOP and len(one) > 1))
        self.rows = frozenset(zip(*(words[at:] for at in range(_ROW)), strict=False))
        self.long = len(words) >= _LONG
        self.count = len(words)
        days = days_in(self.folded) if len(self.folded) <= 60 else []
        self.days = [] if self.numbers else days
        forms = decoded(self.text)[0][1:] if len(self.text) >= 4 else []
        self.opened = [one for form in forms if len(one := plain(form).strip()) > 2]
        self.trivial = isinstance(value, bool) or len(self.packed) == 0
        self.tiny = len(self.packed) == 1 or (bool(self.numbers) and len(self.packed) < 2)

    @functools.cached_property
    def tokens(self) -> tuple[str, ...]:
        """The parts of a short value: words, names, numbers, hosts."""
        found = [one.strip(_EDGES) for one in _TOKEN.findall(self.folded)]
        parts = [part for one in found for part in re.split(r"[@/\\]", one) if one]
        return tuple(dict.fromkeys(one for one in (*found, *parts, *self.words) if len(one) > 1))


def _numbers_of(folded: str) -> Iterator[str]:
    if _PLAIN_NUMBER.fullmatch(folded):
        yield from readings(folded.removeprefix("-"))
    else:
        bare_text = folded.strip("$€£¥ ").removesuffix("eur").removesuffix("usd").strip()
        if bare_text[:1].isdecimal() and len(bare_text) < 40:
            yield from readings(bare_text)


# ---- sources ---------------------------------------------------------------------------------


class Field(NamedTuple):
    """One text of a source, and where in it it stands."""

    path: str
    text: str
    folded: str


class Body:
    """What a source says, field by field. ``whole``: all of it is looked at."""

    def __init__(self, root: str, value: Any) -> None:
        self.whole = True
        self.fields: list[Field] = []
        for path, text in leaves(root, value):
            if len(self.fields) >= FIELDS:
                self.whole = False
                break
            if len(text) > CHARS:
                self.whole = False
            kept = text[:CHARS]
            self.fields.append(Field(path, kept, plain(kept)))

    @functools.cached_property
    def text(self) -> str:
        """All fields, folded, a line each."""
        return "\n".join(field.folded for field in self.fields)

    @functools.cached_property
    def packed(self) -> str:
        """All fields without spaces and punctuation."""
        return squeezed(self.text)

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """All words, small numbers that are written out too."""
        found = set(words_in(self.text))
        numerals = numerals_in([self.text])
        return frozenset(found | {one.lstrip("#") for one in numerals})

    @functools.cached_property
    def rows(self) -> frozenset[tuple[str, ...]]:
        """All rows of words."""
        found: set[tuple[str, ...]] = set()
        for field in self.fields:
            words = words_in(field.folded)
            found.update(zip(*(words[at:] for at in range(_ROW)), strict=False))
        return frozenset(found)

    @functools.cached_property
    def hidden(self) -> list[tuple[Field, str]]:
        """What is encoded in the fields, folded."""
        found: list[tuple[Field, str]] = []
        for field in self.fields:
            if len(field.text) >= 4:
                found.extend((field, plain(form)) for form in decoded(field.text)[0][1:])
        return found

    @functools.cached_property
    def numbers(self) -> dict[str, tuple[Field, int, int]]:
        """Numbers in any spelling, and the first place of each."""
        found: dict[str, tuple[Field, int, int]] = {}
        for field in self.fields:
            for one in _NUMBER.finditer(field.folded):
                for number in _readings_in(one[0]):
                    found.setdefault(number, (field, *one.span()))
        return found


def _readings_in(text: str) -> Iterator[str]:
    yield from readings(text)
    if " " in text:  # two numbers that only stand beside each other
        for part in text.split():
            yield from readings(part)


def leaves(root: str, value: Any) -> Iterator[tuple[str, str]]:
    """Path and text of everything without parts in ``value``, in order; JSON in texts is opened."""
    stack: list[tuple[str, Any, int]] = [(root, value, 0)]
    left = FIELDS * 4
    while stack and left:
        left -= 1
        path, one, depth = stack.pop()
        text = scalar_text(one)
        if text is not None:
            nested = _nested(text) if isinstance(one, str) and depth < 64 else None
            if nested is None:
                if text:
                    yield path, text
                continue
            one = nested
        if isinstance(one, Mapping):
            items = [(_below(path, str(key)), item, depth + 1) for key, item in one.items()]
            stack.extend(reversed(items))
        elif isinstance(one, list | tuple):
            items = [(f"{path}[{at}]", item, depth + 1) for at, item in enumerate(one)]
            stack.extend(reversed(items))


def _below(path: str, name: str) -> str:
    name = name if name.isidentifier() else f"[{name[:60]!r}]"
    if name.startswith("["):
        return path + name
    return f"{path}.{name}" if path else name


def _nested(text: str) -> Any:
    if text[:1] not in ("{", "[") or len(text) > CHARS:
        return None
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


# ---- looking ---------------------------------------------------------------------------------


def locate(value: Value, body: Body) -> Match | None:
    """The best place of a value in a source, None if nothing of it stands there."""
    # INVARIANT X1: characters start to end of the field at path are what is said to match
    if value.trivial or not body.fields:
        return None
    found = _whole(value, body)
    if found is not None:
        return found
    if value.tiny:
        return None
    found = _encoded(value, body)
    if found is not None:
        return found
    if value.numbers:
        return None
    if value.long:
        return _quoted(value, body)
    return _in_parts(value, body)


def _whole(value: Value, body: Body) -> Match | None:
    """As it stands, or in another spelling."""
    text = value.text
    if value.folded in body.text:
        for field in body.fields:
            at = _standing(text, field.text)
            if at >= 0:
                return Match("exact", 1.0, field.path, at, at + len(text), text)
        for field in body.fields:
            at = _standing(value.folded, field.folded)
            if at >= 0 and len(field.folded) == len(field.text):
                return Match("normalised", 1.0, field.path, at, at + len(text), text)
    if value.numbers:
        for number in value.numbers:
            if number in body.numbers:
                field, start, end = body.numbers[number]
                return Match("normalised", 1.0, field.path, *_in(field, start, end), text)
        if len(value.packed) == 1 and value.packed in body.words:
            return Match("normalised", 1.0, body.fields[0].path, 0, 0, text)
    if len(value.packed) >= _PACKED and value.packed in body.packed:
        for field in body.fields:
            span = _spaced(value.packed, field.folded)
            if span is not None:
                return Match("normalised", 1.0, field.path, *_in(field, *span), text)
    if value.days:
        for field in body.fields:
            for day in days_in(field.folded):
                if any(day.same(other) for other in value.days):
                    return Match("normalised", 1.0, field.path, *_in(field, *day[3:]), text)
    if value.bare != value.folded or not body.text.isascii():
        for field in body.fields:
            alike = bare(field.folded)
            at = _standing(value.bare, alike)
            if at >= 0:
                end = at + len(value.bare)
                span = (at, end) if len(alike) == len(field.text) else (0, 0)
                return Match("normalised", 1.0, field.path, *span, text)
    return None


def _in(field: Field, start: int, end: int) -> tuple[int, int]:
    """A span of the folded text as one of the text; none if folding moved characters."""
    return (start, end) if len(field.folded) == len(field.text) else (0, 0)


def _standing(needle: str, text: str) -> int:
    """Where ``needle`` stands by itself in ``text``, -1 for nowhere."""
    at = text.find(needle)
    while at >= 0:
        end = at + len(needle)
        joins = needle[0].isalnum() and at and _glued(text[at - 1], text, at - 2, needle[0])
        ends = needle[-1].isalnum() and end < len(text) and _follows(text, end, needle[-1])
        if not joins and not ends:
            return at
        at = text.find(needle, at + 1)
    return -1


def _glued(before: str, text: str, further: int, first: str) -> bool:
    if before.isalnum() or before == "_":
        return True
    return before in ".,-/:" and first.isdigit() and further >= 0 and text[further].isdigit()


def _follows(text: str, end: int, last: str) -> bool:
    after = text[end]
    if after.isalnum() or after == "_":
        return True
    return after in ".,-/:" and last.isdigit() and end + 1 < len(text) and text[end + 1].isdigit()


def _spaced(packed: str, folded: str) -> tuple[int, int] | None:
    """Where a value stands if spaces and punctuation are not counted."""
    kept = [at for at, char in enumerate(folded) if char.isalnum() or not char.isascii()]
    text = "".join([folded[at] for at in kept])
    at = text.find(packed)
    while at >= 0:
        start, end = kept[at], kept[at + len(packed) - 1] + 1
        before = start and folded[start - 1].isalnum()
        after = end < len(folded) and folded[end].isalnum()
        gaps = end - start - len(packed)
        if not before and not after and gaps <= max(4, len(packed) // 2 + 1):
            return start, end
        at = text.find(packed, at + 1)
    return None


def _encoded(value: Value, body: Body) -> Match | None:
    """Inside an encoding, there or here."""
    if len(value.packed) > 2:
        for field, form in body.hidden:
            if _standing(value.folded, form) >= 0 or (
                len(value.packed) >= _PACKED and _spaced(value.packed, form) is not None
            ):
                return Match("encoded", 1.0, field.path, 0, 0, value.text)
    for form in value.opened:
        for field in body.fields:
            at = _standing(form, field.folded)
            if at >= 0:
                span = _in(field, at, at + len(form))
                share = min(1.0, (len(form) + 1) / max(len(value.text), 1) + 0.5)
                return Match("encoded", share, field.path, *span, form)
    return None


def _quoted(value: Value, body: Body) -> Match | None:
    """Rows of words that a long text shares with a source; the longest piece is shown."""
    common = value.rows & body.rows
    hidden = False
    if not common and body.hidden:
        rows: set[tuple[str, ...]] = set()
        for _, form in body.hidden:
            words = words_in(form)
            rows.update(zip(*(words[at:] for at in range(_ROW)), strict=False))
        common, hidden = value.rows & rows, True
    if not common or all(all(one in STOP for one in row) for row in common):
        return _in_words(value, body, value.words)
    share = len(common) / max(1, len(value.rows))
    found = tuple(sorted({one for row in common for one in row if one not in STOP}))
    field, start, end = body.fields[0], 0, 0
    if not hidden:
        field, start, end = _longest(common, body)
    piece = field.text[start:end]
    how: How = "partial" if share < 1 or hidden else "normalised"
    return Match("encoded" if hidden else how, share, field.path, start, end, piece, found)


def _longest(common: frozenset[tuple[str, ...]], body: Body) -> tuple[Field, int, int]:
    best = (body.fields[0], 0, 0)
    for field in body.fields:
        if len(field.folded) != len(field.text):
            continue
        spans = [(one[0], *one.span()) for one in _WORDS.finditer(field.folded)]
        begun = -1
        for at in range(len(spans) - _ROW + 1):
            if tuple(word for word, _, _ in spans[at : at + _ROW]) in common:
                begun = spans[at][1] if begun < 0 else begun
                if spans[at + _ROW - 1][2] - begun > best[2] - best[1]:
                    best = (field, begun, spans[at + _ROW - 1][2])
            else:
                begun = -1
    return best


def _in_parts(value: Value, body: Body) -> Match | None:
    """Parts of a short value: a name of several, the host of an address, a folder of a path."""
    text, packed = body.text, len(value.packed) or 1
    best: tuple[str, Field, int] | None = None
    for token in sorted(value.tokens, key=len, reverse=True):
        if len(token) < 3 or token in STOP or token not in text:
            continue
        for field in body.fields:
            at = _standing(token, field.folded)
            if at >= 0:
                best = (token, field, at)
                break
        if best is not None:
            break
    every = tuple(word for word in value.words if word in body.words)
    if best is None:
        return _in_words(value, body, every)
    token, field, at = best
    size = len(squeezed(token))
    share = max(size, sum(map(len, set(every)))) / packed
    how: How = "words" if token.isalpha() and len(value.tokens) > 1 and share < 0.5 else "partial"
    span = _in(field, at, at + len(token))
    return Match(how, min(0.95, share), field.path, *span, token, (token, *every))


def _in_words(value: Value, body: Body, words: tuple[str, ...]) -> Match | None:
    every = tuple(one for one in words if one in body.words and one not in STOP)
    if not every:
        return None
    share = sum(map(len, every)) / max(1, sum(map(len, value.words)))
    longest = max(every, key=len)
    for field in body.fields:
        at = _standing(longest, field.folded)
        if at >= 0:
            span = _in(field, at, at + len(longest))
            return Match("words", min(0.9, share), field.path, *span, longest, every)
    return Match("words", min(0.9, share), body.fields[0].path, 0, 0, longest, every)
