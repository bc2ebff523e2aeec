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

# Each pattern begins with the characters that it can begin with, and looks back only then: so the
# search skips whatever cannot begin one. What is disjoint from what follows never gives back.
WORD: Final = re.compile(r"[^\W_]+")
MAIL: Final = re.compile(
    r"[a-z0-9._%+-](?<![a-z0-9._%+-].)[a-z0-9._%+-]*+@[a-z0-9-]++(?:\.[a-z0-9-]++)++"
)
LINK: Final = re.compile(r"[a-z](?<![a-z0-9+.-].)[a-z0-9+.-]*+://[^\s<>\"'`|\\^{}\[\]]++")
HOST: Final = re.compile(
    r"([a-z0-9-](?:(?<![\w@./%+-].)|(?<=//.)(?<![\w@./%+-]//.))[a-z0-9-]*+(?:\.[a-z0-9-]++)++)"
    r"(?::\d++)?([/?#][^\s<>\"'`|\\^{}\[\]]*+)?"
)
DATE: Final = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:[t ]\d\d?:\d\d(?::\d\d)?(?:\.\d+)?(?:z|[+-]\d\d:?\d\d)?)?"
    r"|\d\d?[./]\d\d?[./]\d{2,4}|\d\d?:\d\d(?::\d\d)?"
)
_NUMBER: Final = re.compile(
    r"\d(?<![\w.,']\d)(?<!\w[-/]\d)(?<!\d:\d)\d*+(?:[.,']\d++)*"
    r"(?:(?![\w]|[-/:]\d)|(?=(?:eur|usd|gbp|chf|jpy|inr)\b))"
)
_LIST_NUMBER: Final = re.compile(r"\d(?<=[\[,]\d)\d*+(?:\.\d++)?(?=[,\]])")
_SPACED_NUMBER: Final = re.compile(
    r"\d(?<![\w.,]\d)\d{0,2}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d+)?(?!\w)"
)
_MONEY: Final = re.compile(
    r"([$€£¥₹eugcjia\d])(?:(?:(?:ur|sd|bp|hf|ad|py|nr|ud)\b"
    r"(?<=\b(?:eur|usd|gbp|chf|cad|jpy|inr|aud))|(?<=[$€£¥₹])) ?(\d++(?:[.,']\d++)*+)"
    r"|(?<=\d)(?<![\w.,']\d)(\d*+(?:[.,']\d++)*+) ?"
    r"(?:[$€£¥₹]|(?:eur|euros?|usd|dollars?|gbp|pounds|chf|jpy|inr)\b))"
)
_CURRENCIES: Final = frozenset("eur euro euros usd dollar dollars gbp pounds chf jpy inr".split())
_MONEY_SIGN: Final = re.compile(r"\$|€|£|¥|₹|eur|usd|dollar|gbp|pounds|chf|jpy|inr|cad|aud")
_IBAN: Final = re.compile(
    r"[a-z](?<![a-z0-9].)[a-z]\d{2}(?: [a-z0-9]{4}){2,7}(?: [a-z0-9]{1,3}(?![a-z0-9]))?"
)
_DIGIT: Final = re.compile(r"\d")
_DIGITS: Final = re.compile(r"\d(?<!\d\d)(?:[ -]?\d){7,29}(?!\d)")
_QUOTED: Final = re.compile(r'"([^"\n]{1,200})"')
_CJK: Final = re.compile(r"[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_APART: Final = bytes.maketrans(b"\"'`<>|,;()[]{}=", b" " * 15)
_WORDS_ASCII: Final = "".join(chr(code) if chr(code).isalnum() else " " for code in range(128))
_HOST_END: Final = re.compile(r"[/?#]")
_INNER_DOT: Final = re.compile(r"\.(?<=[a-z0-9-].)[a-z0-9-]")
_EMPTY: Final = frozenset(("", "="))
_EDGES: Final = ".:!?*_-~"
_PERCENT: Final = re.compile(r"%[0-9a-fA-F]{2}")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"/\\nrt]))")
_QUOPRI: Final = re.compile(r"=[0-9A-F]{2}|=\r?\n")
_BASE64: Final = re.compile(
    r"(?<![A-Za-z0-9+/_=-])(?:[A-Za-z0-9+/]{60,76}\r?\n)*[A-Za-z0-9+/_-]{12,}={0,2}"
)
_PACKED: Final = 12
_PACKED_LINE: Final = 60
"""Shortest run of base64 that is looked at, and shortest line of one of several lines."""
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_PAIR: Final = re.compile(r":[0-9a-fA-F]{2}:")
_PAIRS: Final = re.compile(r"(?<![0-9a-zA-Z:])[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){4,}(?![0-9a-zA-Z])")


# built once: a union is built anew wherever it is written
_LISTS: Final = (list, tuple)
_WITH_PARTS: Final = (dict, *_LISTS)
_NUMBERS: Final = (int, float, Decimal)
_BYTES: Final = (bytes, bytearray)


# ---- texts of values -------------------------------------------------------------------------


def number_text(value: float | Decimal) -> str:
    """A number as people write it: no exponent, no trailing zeros, no sign."""
    if type(value) is float:
        # shortest digits that mean it: what Decimal would make of them, unless there is an exponent
        text = repr(abs(value))
        if "e" not in text and "n" not in text:
            return text.removesuffix(".0")
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
    if isinstance(value, _WITH_PARTS):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _NUMBERS):
        return number_text(value)
    if isinstance(value, _BYTES):
        return bytes(value).decode("utf-8", "replace")
    return "" if value is None else None


def parts(value: Any) -> Any:
    """A mapping or a list for anything that has parts; models and the like as JSON has them."""
    if isinstance(value, (_WITH_PARTS, Mapping)):
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
            if isinstance(inner, _LISTS):
                stack += inner
            else:
                for key, item in inner.items():
                    stack += (item, key if isinstance(key, str) else str(scalar_text(key)))
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
    for token in packed_in(text):
        if _HEX.fullmatch(token) and (opened := _readable(bytes.fromhex(token))):
            yield opened
        if not token.islower():
            if opened := _unbase(token):
                yield opened
            elif "\n" in token:  # a line of letters before it hides nothing
                yield from filter(None, map(_unbase, token.split("\n")))
    for token in _PAIRS.findall(text) if ":" in text and _PAIR.search(text) else ():
        if opened := _readable(bytes.fromhex(token.replace(":", ""))):
            yield opened


def packed_in(text: str) -> list[str]:
    """What may be base64 in a text, in its order: runs of twelve characters and more, several
    lines of full length as one."""
    # it stands within a token, if no line is of full length: most texts have few that are so long
    tokens = [one for one in text.split() if len(one) >= _PACKED]
    if any(len(one) >= _PACKED_LINE for one in tokens):
        return _BASE64.findall(text)
    return [found for one in tokens for found in _BASE64.findall(one)]


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


def words_in(text: str) -> list[str]:
    """The words of a text, in their order."""
    if text.isascii():
        return text.translate(_WORDS_ASCII).split()
    lines = text.split("\n") if "\n" in text else ()
    return [one for line in lines for one in words_in(line)] if lines else WORD.findall(text)


def atoms(text: str, words: list[str], *, small: bool = False) -> set[str]:
    """The atoms of a folded text, whose words are given. ``small``: also numbers that are too
    common to say much."""
    found = set(words)
    # plain words hold nothing of what follows: looking past them halves the work
    odd = _odd(text)
    apart = odd.encode("utf-8", "surrogatepass").translate(_APART)
    pieces = apart.decode("utf-8", "surrogatepass").split()
    chunks = {chunk for chunk in pieces if not chunk.isalpha()}
    found.update([one for chunk in chunks if (one := chunk.strip(_EDGES))])
    found.update(["=" + line for line in squeezed(text).split("\n") if 0 < len(line) <= 200])
    if may_link(odd):
        _add_dotted(odd, found)
    if "/" in odd or "\\" in odd:
        places = [chunk for chunk in chunks if "/" in chunk or "\\" in chunk]
        found.update([path for one in places if (path := path_of(one.strip(_EDGES[:-1])))])
    if '"' in odd:
        found.update(["=" + squeezed(quoted) for quoted in _QUOTED.findall(text)])
    if ":" in odd:
        fields = [line.partition(":")[2] for line in text.split("\n") if ":" in line]
        found.update(["=" + squeezed(field) for field in fields if 0 < len(field) <= 200])
    if _DIGIT.search(odd):
        _add_numbers(odd, found, small, spaced=any(chunk[0].isdigit() for chunk in chunks))
        if any(one[-2:].isdigit() and one[-4:-2].isalpha() for one in chunks):
            # a group of an account may be letters only
            found.update(["=" + squeezed(account) for account in _IBAN.findall(text)])
    if not text.isascii():
        for run in _CJK.findall(text):
            found.update([run[at : at + 2] for at in range(len(run) - 1)])
            found.update(run if len(run) < 3 else ())
    found -= _EMPTY
    return found


def _odd(text: str) -> str:
    """``text`` with a wider gap for each row of plain words: nothing reaches over it."""
    return " ".join(
        [
            "" if one.isalpha() and one not in _CURRENCIES else one
            for one in text.replace("\n", " \n ").split(" ")
        ]
    )


def may_link(text: str) -> bool:
    """Whether a folded text may have a mail address, a link or a host in it."""
    return "." in text and ("://" in text or _INNER_DOT.search(text) is not None)


def _add_dotted(text: str, found: set[str]) -> None:
    """Mail addresses, links, hosts and names of files."""
    if "@" in text:
        for mail in MAIL.findall(text):
            found.add(mail)
            found.add(mail.partition("@")[2])
    for link in links_in(text):
        found.add(link)
        found.add(host_of(link))
    for host, path in set(HOST.findall(text)):
        found.add(host)
        if path:
            found.add(link_of(host + path))


def links_in(text: str) -> list[str]:
    """The different links with a scheme in a folded text, in their one form."""
    return list(map(link_of, set(LINK.findall(text)))) if "://" in text else []


def link_of(text: str) -> str:
    """``//host/path?query`` of a link: without scheme, user, default port and what trails."""
    rest = text.partition("://")[2] or text.removeprefix("//")
    rest = rest.rstrip(".,;:!?)*_~").rstrip("/")
    cut = end.start() if (end := _HOST_END.search(rest)) else len(rest)
    host = rest[:cut].rpartition("@")[2].removeprefix("www.").rstrip(".")
    if ":" in host:
        host = host.removesuffix(":443").removesuffix(":80")
    return f"//{host}{rest[cut:]}"


def host_of(link: str) -> str:
    """The host of a link in its one form, without a port."""
    return _HOST_END.split(link[2:], maxsplit=1)[0].partition(":")[0]


def path_of(text: str) -> str:
    """The one form of a path, "" if ``text`` is none."""
    if "\\" in text:
        text = text.replace("\\", "/")
    if "/" not in text or "://" in text:
        return ""
    return posixpath.normpath(text)


def _add_numbers(text: str, found: set[str], small: bool, *, spaced: bool) -> None:
    """Numbers that stand by themselves: not in dates, times, names or versions. ``spaced``: some
    may have spaces in them."""
    # a short number is everywhere, so it counts only where it is an amount or a whole field
    tokens = set(_NUMBER.findall(text))
    if spaced:
        tokens.update(_SPACED_NUMBER.findall(text))
    for token in tokens:
        for number in readings(token):
            if small or "." in number or len(number) > 2:
                found.add("#" + number)
    if _MONEY_SIGN.search(text):
        for head, before, after in _MONEY.findall(text):
            found.update(["#" + number for number in readings(before or head + after)])
    if "[" in text:
        found.update(["#" + one for one in _LIST_NUMBER.findall(text) if small or len(one) > 2])
    found.update(["=" + squeezed(digits) for digits in _DIGITS.findall(text)])


def readings(text: str) -> tuple[str, ...]:
    """What number ``text`` may mean, with points, commas, apostrophes and spaces in it; none for
    what is no number. ``1.234`` has two readings."""
    if not text[:1].isdecimal():
        return ()
    if text.isdecimal():
        return (_whole(text),)
    text = text.replace("'", " ").replace("\u00a0", " ").replace("\u202f", " ")
    before, point, after = text.partition(".")
    if point and len(after) != 3 and before.isdecimal() and after.isdecimal():
        after = after.rstrip("0")
        return (f"{_whole(before)}.{after}" if after else _whole(before),)
    marks = [char for char in text if not char.isdecimal()]
    kinds = set(marks)
    if not marks or not kinds <= {" ", ".", ","}:
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
    and ``whole``: nothing was left out. ``said``: the text itself, ``heard``: all of it, ``one``:
    the source is one text."""

    __slots__ = ("heard", "one", "raw", "said", "texts", "whole")

    def __init__(self, value: Any) -> None:
        self.one = isinstance(value, str)
        self.said, self.heard = texts_in(value)
        self.raw, all_forms = decoded(self.said)
        self.texts = list(map(plain, self.raw))
        self.whole = self.heard and all_forms


class Seen:
    """The values in one source: ``atoms`` (plain), ``alike`` (only with letters replaced that look
    alike), ``words`` of each text in their order, ``whole`` as in `Forms`."""

    __slots__ = ("alike", "atoms", "whole", "words")

    def __init__(self, value: Any, *, small: bool = False) -> None:
        forms = value if isinstance(value, Forms) else Forms(value)
        self.whole = forms.whole
        self.words = list(map(words_in, forms.texts))
        self.atoms: set[str] = set()
        self.alike: set[str] = set()
        for form, words in zip(forms.texts, self.words, strict=True):
            found = atoms(form, words, small=small)
            self.atoms = self.atoms | found if self.atoms else found
            if not form.isascii():
                # a line of nothing else has no other reading
                lines = [line for line in form.split("\n") if not line.isascii()]
                alike = bare("\n".join(lines))
                self.alike |= atoms(alike, words_in(alike), small=small)
        self.alike -= self.atoms
