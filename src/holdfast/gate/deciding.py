"""Which arguments decide what an action does, and which carry something out.

What a policy declares counts; the rest is worked out from the shape of a value first (addresses,
links, paths, accounts, numbers, short strings decide; long free text is content), then from a small
table of argument names (`words`).
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.gate.folding import plain, squeezed
from holdfast.gate.tools import ToolFacts
from holdfast.gate.values_in import (
    DATE,
    LINK,
    MAIL,
    host_of,
    link_of,
    parts,
    path_of,
    readings,
    scalar_text,
)
from holdfast.gate.words import AMOUNT, COMMAND, CONTENT, GUARDING, HOW, TARGET, WIDENING
from holdfast.values import limits

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][\w-]{0,60}")
_LONG: Final = 8
"""More words than this are free text."""
_SENTENCE: Final = 3
_EDGES: Final = ".,:;!?()\"'"
_FIRST: Final = 1_000
"""Leaves of one argument list that are told apart; all further ones decide and carry."""
_ENDLESS: Final = 1e18
"""An amount that is no finite number: more than any limit, and sums of it stay finite."""


class Leaf(NamedTuple):
    """A value without parts in an argument: ``arg`` (the argument), ``path`` (dotted, with it),
    ``name`` (the nearest name), ``value``, its ``text``, and whether it decides and carries."""

    arg: str
    path: str
    name: str
    value: Any
    text: str
    decides: bool
    carries: bool


def leaves(args: Mapping[str, Any], tool: ToolFacts) -> list[Leaf]:
    """Every leaf of ``args`` with its part in what happens."""
    found: list[Leaf] = []
    for arg, value in args.items():
        top = str(arg)
        for path, name, one in ((top, top, value),) if _stands(value) else _walk(top, value):
            text = one if isinstance(one, str) else scalar_text(one) or ""
            decides, carries = _shape(name, one, text)
            if len(found) > _FIRST:
                decides = carries = True
            if tool.deciding is not None:
                decides = _under(path, tool.deciding)
            if tool.content is not None:
                carries = _under(path, tool.content)
            elif tool.deciding is not None and decides and name_words(name).isdisjoint(COMMAND):
                carries = False
            if tool.deciding is None and tool.content is not None and carries:
                decides = False
            found.append(Leaf(top, path, name, one, text, decides, carries))
    return found


def _stands(value: Any) -> bool:
    """Whether a value is surely one leaf: most are."""
    kind = type(value)
    return value[:1] not in ("{", "[") if kind is str else kind in _SCALARS


_SCALARS: Final = frozenset((int, float, bool, type(None)))


def _walk(arg: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    """Path, nearest name and value of every leaf; keys that are values themselves are leaves."""
    stack: list[tuple[str, str, Any]] = [(arg, arg, value)]
    left = limits.FLOW_VALUE_ENTRIES
    while stack and left:
        left -= 1
        path, name, one = stack.pop()
        if isinstance(one, str):
            nested = _nested(one)
            if nested is None:
                yield path, name, one
                continue
            one = nested
        elif scalar_text(one) is not None:
            yield path, name, one
            continue
        inner = parts(one)
        if isinstance(inner, Mapping):
            for key, item in reversed(list(inner.items())):
                if isinstance(key, str) and _IDENTIFIER.fullmatch(key):
                    stack.append((f"{path}.{key}", key, item))
                else:
                    stack.append((path, name, item))
                    stack.append((path, name, scalar_text(key) or str(type(key))))
        else:
            stack.extend((path, name, item) for item in reversed(inner))


def _nested(text: str) -> Any:
    """A mapping or list that ``text`` spells as JSON, else None."""
    if text[:1] not in ("{", "[") or len(text) > limits.FLOW_VALUE_CHARS:
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


@functools.lru_cache(maxsize=4096)
def name_words(name: str) -> frozenset[str]:
    """The words of an argument's name, in lower case."""
    return frozenset(word.lower() for word in _WORDS.findall(name[:200]))


def _under(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.startswith(name + ".") for name in names)


def _shape(name: str, value: Any, text: str) -> tuple[bool, bool]:
    """Whether a leaf decides and whether it carries, by its shape and name."""
    words = name_words(name)
    if isinstance(value, bool):
        widens = (value and not words.isdisjoint(WIDENING)) or (
            not value and not words.isdisjoint(GUARDING)
        )
        return widens, False
    if not text:
        return False, False
    if not isinstance(value, str):
        if isinstance(value, bytes | bytearray):
            return False, True
        return not _says_how(words), False
    if not words.isdisjoint(COMMAND):
        return True, True
    if not words.isdisjoint(CONTENT):
        return False, True
    if " " in text or "\n" in text:
        return (False, True) if _is_long(text) else (not DATE.fullmatch(plain(text)), False)
    if _says_how(words):
        return is_address(plain(text)), False
    return not DATE.fullmatch(plain(text)), False


def _says_how(words: frozenset[str]) -> bool:
    """``order`` says how, ``order_id`` says which."""
    return not words.isdisjoint(HOW) and words <= HOW


def _is_long(text: str) -> bool:
    return len(text) > limits.FLOW_LINE_CHARS or "\n" in text.strip() or text.count(" ") >= _LONG


def is_prose(text: str) -> bool:
    """Whether a text of one line reads like a sentence: most of its words are in small letters."""
    words = [word.strip(_EDGES) for word in text.split()]
    small = sum(word.isalpha() and word.islower() for word in words)
    return small >= _SENTENCE and 2 * small > len(words)


def is_address(text: str) -> bool:
    """Whether a folded text is a place: a mail address, a link, a path."""
    return bool(MAIL.fullmatch(text) or LINK.fullmatch(text) or path_of(text))


# ---- canonical forms, for meters -------------------------------------------------------------


def amount_of(args: Mapping[str, Any], tool: ToolFacts) -> float | None:
    """How much: the sum of the sizes of all amounts; None without one. What is no finite number
    counts as more than any limit; of two readings (1.234) the larger counts."""
    # INVARIANT G28: an amount is never smaller for being written strangely
    found = [
        leaf for leaf in leaves(args, tool) if tool.amount and _under(leaf.path, (tool.amount,))
    ]
    if not tool.amount:
        every = leaves(args, tool)
        named = {leaf.name for leaf in every if not name_words(leaf.name).isdisjoint(AMOUNT)}
        best = sorted(named, key=_amount_rank)[:1]
        found = [leaf for leaf in every if leaf.name in best]
    sizes = [size for leaf in found if (size := _size(leaf.value)) is not None]
    return min(math.fsum(sizes), _ENDLESS) if sizes else None


def _amount_rank(name: str) -> int:
    return min(AMOUNT.index(word) for word in name_words(name) if word in AMOUNT)


def _size(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        folded = plain(value)
        numbers = re.findall(r"\d+(?:[., '\u00a0]\d+)*", folded)
        if not numbers:
            return _ENDLESS if folded.strip() in ("nan", "inf", "infinity", "-inf") else None
        if re.search(r"\d\s*e\s*[+-]?\d", folded):
            return _ENDLESS if len(numbers) > 3 else _float(folded)
        return max(_float(one) for number in numbers for one in readings(number) or ("nan",))
    return _float(value)


def _float(value: Any) -> float:
    try:
        size = abs(float(value))
    except (TypeError, ValueError, OverflowError):
        return _ENDLESS
    return min(size, _ENDLESS) if math.isfinite(size) else _ENDLESS


def target_of(args: Mapping[str, Any], tool: ToolFacts) -> str:
    """To whom or what, in one form: hosts of links, addresses without case, paths without detours,
    accounts without spaces, several sorted; "" without one. Letters that only look alike differ."""
    every = leaves(args, tool)
    if tool.target:
        found = [leaf for leaf in every if _under(leaf.path, (tool.target,))]
    else:
        named = {leaf.name: _target_rank(leaf.name) for leaf in every if leaf.decides}
        best = min(named, key=lambda name: named[name], default="")
        found = [leaf for leaf in every if leaf.name == best and named[best] < len(TARGET)]
    text = ", ".join(sorted({_canonical(leaf.text) for leaf in found if leaf.text}))
    if len(text) <= limits.FLOW_LINE_CHARS:
        return text
    return text[:64] + " " + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _target_rank(name: str) -> int:
    words = name_words(name)
    return min((TARGET.index(word) for word in words if word in TARGET), default=len(TARGET))


def _canonical(text: str) -> str:
    folded = " ".join(plain(text).split())
    if LINK.fullmatch(folded):
        return host_of(link_of(folded))
    if MAIL.fullmatch(folded):
        return folded
    if path := path_of(folded):
        return path
    bare_digits = squeezed(folded)
    if len(bare_digits) >= 8 and sum(map(str.isdigit, bare_digits)) * 2 > len(bare_digits):
        return bare_digits
    return folded
