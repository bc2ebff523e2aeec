"""Atoms: the values that stand in a text or a nested value, each in one spelling.

An atom is a string. Words and tokens stand for themselves (``bob``, ``inv-2024-7``, ``/etc/hosts``,
``bob@example.org``, ``example.org``); ``//host/path`` is a link, ``#1200.5`` a number, ``=abc`` a
whole line, field, quotation or account number without spaces and punctuation. All patterns are
linear: what may repeat is disjoint from what ends it, and starts only at a boundary.
"""

from __future__ import annotations

import base64
import binascii
import html
import posixpath
import quopri
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from holdfast.gate.folding import bare, plain, seen, squeezed
from holdfast.values import canon, limits
from holdfast.values.errors import Misuse

WORD: Final = re.compile(r"[^\W_]+")
MAIL: Final = re.compile(r"(?<![a-z0-9._%+-])[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
LINK: Final = re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s<>\"'`|\\^{}\[\]]+")
HOST: Final = re.compile(
    r"(?<![\w@./%+-])(?://)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?([/?#][^\s<>\"'`|\\^{}\[\]]*)?"
)
DATE: Final = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:[t ]\d\d?:\d\d(?::\d\d)?(?:\.\d+)?(?:z|[+-]\d\d:?\d\d)?)?"
    r"|\d\d?[./]\d\d?[./]\d{2,4}|\d\d?:\d\d(?::\d\d)?"
)
_NUMBER: Final = re.compile(
    r"(?<![\w.,'])(?<!\w[-/])(?<!\d:)\d+(?:[.,']\d+)*"
    r"(?:(?![\w]|[-/:]\d)|(?=(?:eur|usd|gbp|chf|jpy|inr)\b))"
)
_LIST_NUMBER: Final = re.compile(r"(?<=[\[,])\d+(?:\.\d+)?(?=[,\]])")
_SPACED_NUMBER: Final = re.compile(r"(?<![\w.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d+)?(?!\w)")
_MONEY: Final = re.compile(
    r"(?:[$€£¥₹]|\b(?:eur|usd|gbp|chf|jpy|inr|cad|aud)\b) ?(\d+(?:[.,']\d+)*)"
    r"|(?<![\w.,'])(\d+(?:[.,']\d+)*) ?"
    r"(?:[$€£¥₹]|(?:eur|euros?|usd|dollars?|gbp|pounds|chf|jpy|inr)\b)"
)
_CURRENCIES: Final = frozenset("eur euro euros usd dollar dollars gbp pounds chf jpy inr".split())
_MONEY_SIGNS: Final = ("$", "€", "£", "¥", "₹", *sorted(_CURRENCIES | {"cad", "aud"}))
_IBAN: Final = re.compile(
    r"(?<![a-z0-9])[a-z]{2}\d{2}(?: [a-z0-9]{4}){2,7}(?: [a-z0-9]{1,3}(?![a-z0-9]))?"
)
_DIGITS: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){7,29}(?!\d)")
_QUOTED: Final = re.compile(r'"([^"\n]{1,200})"')
_CJK: Final = re.compile(r"[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_APART: Final = str.maketrans(dict.fromkeys("\"'`<>|,;()[]{}=", " "))
_EDGES: Final = ".:!?*_-~"
_PERCENT: Final = re.compile(r"%[0-9a-fA-F]{2}")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"/\\nrt]))")
_QUOPRI: Final = re.compile(r"=[0-9A-F]{2}|=\r?\n")
_BASE64: Final = re.compile(
    r"(?<![A-Za-z0-9+/_=-])(?:[A-Za-z0-9+/]{60,76}\r?\n)*[A-Za-z0-9+/_-]{12,}={0,2}"
)
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_PAIRS: Final = re.compile(r"(?<![0-9a-zA-Z:])[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){4,}(?![0-9a-zA-Z])")


# ---- texts of values -------------------------------------------------------------------------


def number_text(value: float | Decimal) -> str:
    """A number as people write it: no exponent, no trailing zeros, no sign."""
    try:
        number = abs(Decimal(repr(value) if isinstance(value, float) else value))
        if not number.is_finite() or abs(number.adjusted()) > limits.FLOW_LINE_CHARS:
            return "nan"
        text = format(number, "f")
    except (InvalidOperation, ValueError, OverflowError):
        return "nan"
    return text.rstrip("0").rstrip(".") if "." in text else text


def scalar_text(value: Any) -> str | None:
    """The text of a value that has no parts; None for one that has, or that is unknown."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return number_text(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return "" if value is None else None


def parts(value: Any) -> Any:
    """A mapping or a list for anything that has parts; models and the like as JSON has them."""
    if isinstance(value, Mapping | list | tuple):
        return value
    if isinstance(value, set | frozenset):
        return list(value)
    try:
        known = msgspec.json.decode(canon.encode(value))
    except (Misuse, msgspec.MsgspecError, ValueError, RecursionError, TypeError):
        return [type(value).__name__]
    return known if isinstance(known, dict | list) else [known]


def texts_in(value: Any) -> tuple[str, bool]:
    """All text in ``value``, a line for each key and field, and whether that is all of it."""
    text = scalar_text(value)
    if text is not None:
        return text[: limits.FLOW_VALUE_CHARS], len(text) <= limits.FLOW_VALUE_CHARS
    lines: list[str] = []
    room, entries, stack = limits.FLOW_VALUE_CHARS, limits.FLOW_VALUE_ENTRIES, [value]
    while stack:
        one = stack.pop()
        text = scalar_text(one)
        if text is None:
            inner = parts(one)
            if isinstance(inner, Mapping):
                for key, item in inner.items():
                    stack += (item, key if isinstance(key, str) else str(scalar_text(key)))
            else:
                stack += inner
            if len(stack) > entries:
                return "\n".join(lines), False
            continue
        entries -= 1
        room -= len(text) + 1
        if room < 0 or entries < 0:
            lines.append(text[: max(0, room + len(text))])
            return "\n".join(lines), False
        lines.append(text)
    return "\n".join(lines), True


# ---- what is encoded in a text ---------------------------------------------------------------


def decoded(text: str) -> tuple[list[str], bool]:
    """``text`` and everything that is encoded in it, and whether all was looked at."""
    found, room = [seen(text)], limits.FLOW_VALUE_CHARS
    level = found[:]
    for _ in range(limits.FLOW_DECODE_LEVELS):
        deeper = [form for one in level for form in _forms(one)]
        if not deeper:
            return found, True
        level = []
        for form in deeper:
            room -= len(form)
            if room < 0:
                return found, False
            level.append(seen(form))
        found += level
    return found, not any(form for one in level for form in _forms(one))


def _forms(text: str) -> Iterator[str]:
    """One level of decoding; nothing if nothing is encoded."""
    if "%" in text and _PERCENT.search(text):
        yield urllib.parse.unquote(text, errors="replace")
    if "&" in text and (opened := html.unescape(text)) != text:
        yield opened
    if "\\" in text and (opened := _ESCAPE.sub(_unescape, text)) != text:
        yield opened
    if "=" in text and _QUOPRI.search(text):
        raw = quopri.decodestring(text.encode("utf-8", "surrogatepass"))
        if (opened := raw.decode("utf-8", "replace")) != text:
            yield opened
    for token in _BASE64.findall(text):
        if _HEX.fullmatch(token) and (opened := _readable(bytes.fromhex(token))):
            yield opened
        if not token.islower() and (opened := _unbase(token)):
            yield opened
    for token in _PAIRS.findall(text) if ":" in text else ():
        if opened := _readable(bytes.fromhex(token.replace(":", ""))):
            yield opened


_NAMED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _NAMED.get(match[3], match[3])


def _unbase(token: str) -> str:
    """What a token of base64 says, "" if it says nothing readable."""
    packed = token.translate({10: None, 13: None, 45: "+", 95: "/"}).rstrip("=")
    if len(packed) % 4 == 1:
        packed = packed[:-1]
    try:
        return _readable(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _readable(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    odd = sum(not char.isprintable() and char not in "\r\n\t" for char in text)
    return text if odd * 10 <= len(text) else ""


# ---- atoms -----------------------------------------------------------------------------------


def atoms(text: str, words: list[str], *, small: bool = False) -> set[str]:
    """The atoms of a folded text, whose words are given. ``small``: also numbers that are too
    common to say much."""
    found = set(words)
    chunks = {chunk for chunk in text.translate(_APART).split() if not chunk.isalpha()}
    found.update(chunk for one in chunks if (chunk := one.strip(_EDGES)))
    found.update("=" + line for line in squeezed(text).split("\n") if line and len(line) <= 200)
    # plain words hold nothing of what follows: looking past them halves the work
    odd = _odd(text)
    if "." in odd:
        _add_dotted(odd, found)
    if "/" in odd or "\\" in odd:
        found.update(path for one in chunks if (path := path_of(one.strip(_EDGES[:-1]))))
    if '"' in odd:
        found.update("=" + squeezed(quoted) for quoted in _QUOTED.findall(text))
    if ":" in odd:
        fields = (line.partition(":")[2] for line in text.split("\n") if ":" in line)
        found.update("=" + squeezed(field) for field in fields if 0 < len(field) <= 200)
    if any(chunk[0].isdigit() or chunk[-1].isdigit() for chunk in chunks):
        _add_numbers(odd, found, small)
        # a group of an account may be letters only
        found.update("=" + squeezed(account) for account in _IBAN.findall(text))
    if not text.isascii():
        for run in _CJK.findall(text):
            found.update(run[at : at + 2] for at in range(len(run) - 1))
            found.update(run if len(run) < 3 else ())
    found.discard("=")
    return found


def _odd(text: str) -> str:
    """``text`` with a line break for each row of plain words."""
    kept: list[str] = []
    gap = False
    for one in text.split(" "):
        if one.isalpha() and one not in _CURRENCIES:
            gap = True
            continue
        if gap:
            kept.append("\n")
            gap = False
        kept.append(one)
    return " ".join(kept)


def _add_dotted(text: str, found: set[str]) -> None:
    """Mail addresses, links, hosts and names of files."""
    if "@" in text:
        for mail in MAIL.findall(text):
            found.add(mail)
            found.add(mail.partition("@")[2])
    for link in links_in(text):
        found.add(link)
        found.add(host_of(link))
    for host, path in HOST.findall(text):
        found.add(host)
        if path:
            found.add(link_of(host + path))


def links_in(text: str) -> list[str]:
    """The links with a scheme in a folded text, in their one form."""
    return [link_of(link) for link in LINK.findall(text)] if "://" in text else []


def link_of(text: str) -> str:
    """``//host/path?query`` of a link: without scheme, user, default port and what trails."""
    rest = text.partition("://")[2] or text.removeprefix("//")
    rest = rest.rstrip(".,;:!?)*_~").rstrip("/")
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    host = rest[:cut].rpartition("@")[2].removeprefix("www.").rstrip(".")
    for port in (":443", ":80"):
        host = host.removesuffix(port)
    return f"//{host}{rest[cut:]}"


def host_of(link: str) -> str:
    """The host of a link in its one form, without a port."""
    return re.split(r"[/?#]", link[2:], maxsplit=1)[0].partition(":")[0]


def path_of(text: str) -> str:
    """The one form of a path, "" if ``text`` is none."""
    if "\\" in text:
        text = text.replace("\\", "/")
    if "/" not in text or "://" in text:
        return ""
    return posixpath.normpath(text)


def _add_numbers(text: str, found: set[str], small: bool) -> None:
    """Numbers that stand by themselves: not in dates, times, names or versions."""
    # a short number is everywhere, so it counts only where it is an amount or a whole field
    for token in {*_NUMBER.findall(text), *_SPACED_NUMBER.findall(text)}:
        for number in readings(token):
            if small or "." in number or len(number) > 2:
                found.add("#" + number)
    money = _MONEY.findall(text) if any(sign in text for sign in _MONEY_SIGNS) else ()
    for before, after in money:
        found.update("#" + number for number in readings(before or after))
    if "[" in text:
        found.update("#" + one for one in _LIST_NUMBER.findall(text) if small or len(one) > 2)
    found.update("=" + squeezed(digits) for digits in _DIGITS.findall(text))


def readings(text: str) -> tuple[str, ...]:
    """What number ``text`` may mean, with points, commas, apostrophes and spaces in it; none for
    what is no number. ``1.234`` has two readings."""
    text = text.replace("'", " ").replace("\u00a0", " ").replace("\u202f", " ")
    if text.isdecimal():
        return (_whole(text),)
    before, point, after = text.partition(".")
    if point and len(after) != 3 and before.isdecimal() and after.isdecimal():
        after = after.rstrip("0")
        return (f"{_whole(before)}.{after}" if after else _whole(before),)
    marks = [char for char in text if not char.isdecimal()]
    kinds = set(marks)
    if not marks or not kinds <= {" ", ".", ","} or not text[0].isdecimal():
        return ()
    *groups, last = re.split(r"[ .,]", text)
    thousands = len(groups[0]) <= 3 and all(len(one) == 3 for one in groups[1:])
    found: list[str] = []
    if len(kinds) == 1 and thousands and len(last) == 3:
        found.append(_whole("".join((*groups, last))))
    if marks[-1] != " " and marks.count(marks[-1]) == 1 and (thousands or len(groups) == 1):
        fraction = last.rstrip("0")
        whole = _whole("".join(groups))
        found.append(f"{whole}.{fraction}" if fraction else whole)
    return tuple(found)


def _whole(digits: str) -> str:
    return digits.lstrip("0") or "0"


# ---- values ----------------------------------------------------------------------------------


class Forms:
    """All text in one source: ``raw`` (case kept) and ``texts`` (folded), decoded forms included,
    and ``whole``: nothing was left out."""

    __slots__ = ("raw", "texts", "whole")

    def __init__(self, value: Any) -> None:
        text, all_text = texts_in(value)
        self.raw, all_forms = decoded(text)
        self.texts = list(map(plain, self.raw))
        self.whole = all_text and all_forms


class Seen:
    """The values in one source: ``atoms`` (plain), ``alike`` (only with letters replaced that look
    alike), ``words`` of each text in their order, ``whole`` as in `Forms`."""

    __slots__ = ("alike", "atoms", "whole", "words")

    def __init__(self, value: Any, *, small: bool = False) -> None:
        forms = value if isinstance(value, Forms) else Forms(value)
        self.whole = forms.whole
        self.words = [WORD.findall(form) for form in forms.texts]
        self.atoms: set[str] = set()
        self.alike: set[str] = set()
        for form, words in zip(forms.texts, self.words, strict=True):
            self.atoms |= atoms(form, words, small=small)
            if not form.isascii():
                alike = bare(form)
                self.alike |= atoms(alike, WORD.findall(alike), small=small)
        self.alike -= self.atoms
