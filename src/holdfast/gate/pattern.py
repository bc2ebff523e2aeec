"""Text patterns whose matching time is linear in the text, whatever the pattern.

Python's ``re`` can need exponential time, and offers no time limit: one argument chosen by a model
could stop a process. So ``matches`` and name patterns are compiled here to a position automaton
(Glushkov) with sets of positions as integers. There is no backtracking to exploit.

The language is the common core of regular expressions, always matched against the whole text:
literals, ``.`` (not newline), ``[a-z]``, ``[^a-z]``, ``\\d \\w \\s \\D \\W \\S`` (ASCII), groups
``(...)`` and ``(?:...)``, ``|``, ``* + ? {m} {m,} {m,n}``. A leading ``^`` and a final ``$`` are
accepted and change nothing. Everything else (back-references, look-around, flags, lazy and
possessive quantifiers) is refused when the policy is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from holdfast.values import limits

Ranges = tuple[tuple[int, int], ...]
"""Characters as inclusive ranges of code points."""

_TOP: Final = 0x10FFFF
_SPECIAL: Final = frozenset("*+?|(){}[]\\.^$")
_QUANTIFIERS: Final = frozenset("*+?{")


class BadPattern(ValueError):
    """The pattern is outside the language; the text says what and where."""


class TooLong(ValueError):
    """The text is longer than `limits.PATTERN_INPUT_CHARS`; it was not looked at."""


@dataclass(frozen=True, slots=True)
class _Chars:
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class _Joined:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Either:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    low: int
    high: int | None


_Node = _Chars | _Joined | _Either | _Repeat


def _complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            out.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _TOP:
        out.append((start, _TOP))
    return tuple(out)


def _of(characters: str) -> Ranges:
    return tuple((ord(c), ord(c)) for c in characters)


_ANY: Final[Ranges] = ((0, _TOP),)
_DIGITS: Final[Ranges] = ((48, 57),)
_WORD: Final[Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final[Ranges] = _of(" \t\n\r\f\v")
_CLASSES: Final[dict[str, Ranges]] = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": _complement(_DIGITS),
    "W": _complement(_WORD),
    "S": _complement(_SPACE),
    "n": _of("\n"),
    "r": _of("\r"),
    "t": _of("\t"),
}


class _Parser:
    """Recursive descent over one pattern; every method leaves ``at`` behind what it read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 1 if text.startswith("^") else 0
        self.depth = 0

    def bad(self, message: str) -> BadPattern:
        return BadPattern(f"{message} (character {self.at + 1})")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        if self.at >= len(self.text):
            raise self.bad("the pattern ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def whole(self) -> _Node:
        node = self.either()
        if self.at < len(self.text):
            raise self.bad("')' without '('")
        return node

    def either(self) -> _Node:
        parts = [self.joined()]
        while self.peek() == "|":
            self.at += 1
            parts.append(self.joined())
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def joined(self) -> _Node:
        parts: list[_Node] = []
        while (char := self.peek()) and char not in "|)":
            if char == "$":
                if self.at != len(self.text) - 1:
                    raise self.bad("'$' is allowed only at the end; write '\\$' for the character")
                self.at += 1
                break
            parts.append(self.repeated())
        return parts[0] if len(parts) == 1 else _Joined(tuple(parts))

    def repeated(self) -> _Node:
        node = self.atom()
        char = self.peek()
        if char not in _QUANTIFIERS:
            return node
        if char == "{":
            low, high = self.counts()
        else:
            self.at += 1
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        if self.peek() in _QUANTIFIERS:
            raise self.bad("only one quantifier may follow; lazy and possessive ones do not exist")
        return _Repeat(node, low, high)

    def counts(self) -> tuple[int, int | None]:
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not _count(low) or (high and not _count(high)):
            raise self.bad("write {m}, {m,} or {m,n}, or '\\{' for the character")
        first, last = int(low), (int(high) if high else None if comma else int(low))
        if max(first, last or 0) > limits.PATTERN_POSITIONS or (last is not None and last < first):
            raise self.bad(f"a repeat goes from m to n, both at most {limits.PATTERN_POSITIONS}")
        self.at = end + 1
        return first, last

    def atom(self) -> _Node:
        char = self.take()
        if char == "(":
            return self.group()
        if char == "[":
            return _Chars(self.bracket())
        if char == ".":
            return _Chars(_complement(_of("\n")))
        if char == "\\":
            return _Chars(self.escape())
        if char in _SPECIAL and char not in "]}":
            self.at -= 1
            raise self.bad(
                "'^' is allowed only at the start; write '\\^' for the character"
                if char == "^"
                else f"nothing to repeat before {char!r}"
            )
        return _Chars(_of(char))

    def group(self) -> _Node:
        if self.peek() == "?":
            if self.text[self.at : self.at + 2] != "?:":
                raise self.bad("of the groups that start with '(?' only '(?:...)' exists")
            self.at += 2
        self.depth += 1
        if self.depth > limits.PATTERN_GROUPS:
            raise self.bad(f"groups are nested deeper than {limits.PATTERN_GROUPS}")
        node = self.either()
        if self.take() != ")":  # `either` stops only at ')' or at the end
            raise self.bad("'(' without ')'")
        self.depth -= 1
        return node

    def escape(self) -> Ranges:
        char = self.take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.isalnum():
            self.at -= 1
            raise self.bad(f"the escape '\\{char}' does not exist")
        return _of(char)

    def bracket(self) -> Ranges:
        negated = self.peek() == "^"
        self.at += negated
        ranges: list[tuple[int, int]] = []
        while (char := self.take()) != "]":
            if char == "[":
                raise self.bad("write '\\[' inside brackets; named classes do not exist")
            low = self.escape() if char == "\\" else _of(char)
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                low = self.span(low)
            ranges.extend(low)
        if not ranges:
            raise self.bad("empty brackets; write '\\]' for the character")
        return _complement(ranges) if negated else tuple(ranges)

    def span(self, low: Ranges) -> Ranges:
        self.at += 1  # the '-'
        char = self.take()
        high = self.escape() if char == "\\" else _of(char)
        single = len(low) == len(high) == 1 and low[0][0] == low[0][1] and high[0][0] == high[0][1]
        if not single or high[0][0] < low[0][0] or char == "[":
            raise self.bad("a range goes from one character to a later one")
        return ((low[0][0], high[0][0]),)


def _count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class _Builder:
    """Numbers the characters of a tree and finds which may follow which. Position 0 is the start.

    `add` returns what Glushkov's construction needs of a part: can it be empty, with which
    positions can it begin, with which can it end.
    """

    def __init__(self) -> None:
        self.accepts: list[Ranges] = [()]
        self.follow: list[int] = [0]
        self.visits = 0

    def link(self, ends: int, begins: int) -> None:
        for position in _bits(ends):
            self.follow[position] |= begins

    def add(self, node: _Node) -> tuple[bool, int, int]:
        self.visits += 1  # counts empty parts too: ((){500}){500} has no positions but much work
        if max(len(self.accepts), self.visits // 4) > limits.PATTERN_POSITIONS:
            raise BadPattern(
                f"the pattern is longer than {limits.PATTERN_POSITIONS} characters "
                "when its repeats are written out"
            )
        match node:
            case _Chars(ranges):
                self.accepts.append(ranges)
                self.follow.append(0)
                bit = 1 << (len(self.accepts) - 1)
                return False, bit, bit
            case _Joined(parts):
                return self.join(parts)
            case _Either(parts):
                empty, begins, ends = False, 0, 0
                for part in parts:
                    part_empty, part_begins, part_ends = self.add(part)
                    empty, begins, ends = (
                        empty or part_empty,
                        begins | part_begins,
                        ends | part_ends,
                    )
                return empty, begins, ends
            case _Repeat(part, low, high):
                optional = 1 if high is None else high - low
                return self.join((part,) * low, (part,) * optional, forever=high is None)

    def join(
        self, parts: tuple[_Node, ...], optional: tuple[_Node, ...] = (), *, forever: bool = False
    ) -> tuple[bool, int, int]:
        """``parts`` in a row, then each of ``optional`` or not (``forever``: repeatedly)."""
        empty, begins, ends = True, 0, 0
        for index, part in enumerate(parts + optional):
            part_empty, part_begins, part_ends = self.add(part)
            if index >= len(parts):
                part_empty = True
                if forever:
                    self.link(part_ends, part_begins)
            self.link(ends, part_begins)
            begins = begins | part_begins if empty else begins
            ends = ends | part_ends if part_empty else part_ends
            empty = empty and part_empty
        return empty, begins, ends


class Pattern:
    """A compiled pattern; `matches` tells whether a text belongs to it. Build with `compile_*`.

    Transitions are remembered as they are met, so that a pattern in use costs one look-up per
    character. The memory is bounded and never changes an answer.
    """

    __slots__ = ("_accepts", "_final", "_follow", "_masks", "_remembered", "_steps", "text")

    def __init__(self, text: str, tree: _Node) -> None:
        builder = _Builder()
        empty, begins, ends = builder.add(tree)
        builder.follow[0] = begins
        self.text = text
        self._accepts = builder.accepts
        self._follow = builder.follow
        self._final = ends | (1 if empty else 0)
        self._steps: dict[int, dict[str, int]] = {}
        self._remembered = 0
        self._masks: dict[str, int] = {}

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` matches; raises `TooLong` above the limit."""
        # INVARIANT G5: one bounded step per character, no backtracking: no text can stall the gate
        if len(text) > limits.PATTERN_INPUT_CHARS:
            raise TooLong(f"is longer than {limits.PATTERN_INPUT_CHARS:,} characters")
        state, steps = 1, self._steps
        for char in text:
            try:
                state = steps[state][char]
            except KeyError:
                state = self._step(state, char)
            if not state:
                return False
        return bool(state & self._final)

    def _step(self, state: int, char: str) -> int:
        reach = 0
        for position in _bits(state):
            reach |= self._follow[position]
        following = reach & self._mask(char)
        if self._remembered >= limits.GATE_MEMO_ENTRIES:
            self._steps.clear()
            self._remembered = 0
        self._steps.setdefault(state, {})[char] = following
        self._remembered += 1
        return following

    def _mask(self, char: str) -> int:
        """The positions that accept ``char``."""
        mask = self._masks.get(char)
        if mask is None:
            code = ord(char)
            mask = 0
            for position, ranges in enumerate(self._accepts):
                if any(low <= code <= high for low, high in ranges):
                    mask |= 1 << position
            if len(self._masks) >= limits.GATE_MEMO_ENTRIES:
                self._masks.clear()
            self._masks[char] = mask
        return mask


def compile_pattern(text: str) -> Pattern:
    """The pattern ``text`` in the language of this module; raises `BadPattern`."""
    if len(text) > limits.PATTERN_CHARS:
        raise BadPattern(f"a pattern has at most {limits.PATTERN_CHARS} characters")
    return Pattern(text, _Parser(text).whole())


def compile_glob(text: str) -> Pattern:
    """A name pattern: ``*`` is any text, ``?`` any one character; raises `BadPattern`."""
    if len(text) > limits.PATTERN_CHARS:
        raise BadPattern(f"a name pattern has at most {limits.PATTERN_CHARS} characters")
    if any(char in "[]{}" for char in text):  # shells read these; silently literal would surprise
        raise BadPattern("only '*' and '?' are special in a name pattern; brackets do not exist")
    return Pattern(text, _Joined(tuple(_GLOB.get(char) or _Chars(_of(char)) for char in text)))


_GLOB: Final[dict[str, _Node]] = {"*": _Repeat(_Chars(_ANY), 0, None), "?": _Chars(_ANY)}
