"""The values in a text: the reading that is fast finds what the plain one finds, no more, no less.

The plain reading here is the definition: every pattern looks at all of the text, one after another.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast.gate.context
import holdfast.gate.naming
from holdfast.gate.context import Context, flow
from holdfast.gate.facts import ORIGINS
from holdfast.gate.folding import bare, squeezed
from holdfast.gate.labels import Label
from holdfast.gate.origins import NOWHERE, Origins
from holdfast.gate.tools import ToolFacts
from holdfast.gate.values_in import (
    Forms,
    Seen,
    decoded,
    host_of,
    link_of,
    number_text,
    packed_in,
    path_of,
    readings,
    scalar_text,
)

# ---- the plain reading -----------------------------------------------------------------------

_WORD = re.compile(r"[^\W_]+")
_MAIL = re.compile(r"(?<![a-z0-9._%+-])[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_LINK = re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s<>\"'`|\\^{}\[\]]+")
_HOST = re.compile(
    r"(?<![\w@./%+-])(?://)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?([/?#][^\s<>\"'`|\\^{}\[\]]*)?"
)
_NUMBER = re.compile(
    r"(?<![\w.,'])(?<!\w[-/])(?<!\d:)\d+(?:[.,']\d+)*"
    r"(?:(?![\w]|[-/:]\d)|(?=(?:eur|usd|gbp|chf|jpy|inr)\b))"
)
_LIST_NUMBER = re.compile(r"(?<=[\[,])\d+(?:\.\d+)?(?=[,\]])")
_SPACED_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d+)?(?!\w)")
_MONEY = re.compile(
    r"(?:[$€£¥₹]|\b(?:eur|usd|gbp|chf|jpy|inr|cad|aud)\b) ?(\d+(?:[.,']\d+)*)"
    r"|(?<![\w.,'])(\d+(?:[.,']\d+)*) ?"
    r"(?:[$€£¥₹]|(?:eur|euros?|usd|dollars?|gbp|pounds|chf|jpy|inr)\b)"
)
_CURRENCIES = frozenset("eur euro euros usd dollar dollars gbp pounds chf jpy inr".split())
_IBAN = re.compile(
    r"(?<![a-z0-9])[a-z]{2}\d{2}(?: [a-z0-9]{4}){2,7}(?: [a-z0-9]{1,3}(?![a-z0-9]))?"
)
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){7,29}(?!\d)")
_QUOTED = re.compile(r'"([^"\n]{1,200})"')
_CJK = re.compile(r"[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_=-])(?:[A-Za-z0-9+/]{60,76}\r?\n)*[A-Za-z0-9+/_-]{12,}={0,2}"
)


def _plain_atoms(text: str, small: bool) -> set[str]:
    apart = re.sub(r"[\"'`<>|,;()\[\]{}=]", " ", text).split()
    chunks = [one for one in apart if not one.isalpha()]
    found = {*_WORD.findall(text), *(one.strip(".:!?*_-~") for one in chunks)}
    found |= {path_of(one.strip(".:!?*_-")) for one in chunks}
    found |= {"=" + squeezed(one) for one in _QUOTED.findall(text)}
    for line in text.split("\n"):
        field = line.partition(":")[2]
        found.add("=" + squeezed(line) if len(squeezed(line)) <= 200 else "=")
        found.add("=" + squeezed(field) if len(field) <= 200 else "=")
    odd = _without_words(text)
    if "." in odd:
        found |= _dotted(odd)
    if re.search(r"\d", odd):
        found |= _numbers(odd, small)
    for run in _CJK.findall(text):
        found.update(run[at : at + 2] for at in range(len(run) - 1))
        found.update(run if len(run) < 3 else [])
    return found - {"=", ""}


def _without_words(text: str) -> str:
    """A number does not reach over a word to the next one."""
    return "\n".join(
        " ".join(one if not one.isalpha() or one in _CURRENCIES else "" for one in line.split(" "))
        for line in text.split("\n")
    )


def _dotted(text: str) -> set[str]:
    mails = _MAIL.findall(text)
    links = [link_of(one) for one in _LINK.findall(text)]
    hosts = _HOST.findall(text)
    return {
        *mails, *(one.partition("@")[2] for one in mails), *links, *map(host_of, links),
        *(host for host, _ in hosts), *(link_of(host + path) for host, path in hosts if path),
    }  # fmt: skip


def _numbers(text: str, small: bool) -> set[str]:
    plain = [one for token in _NUMBER.findall(text) for one in readings(token)]
    plain += [one for token in _SPACED_NUMBER.findall(text) for one in readings(token)]
    listed = _LIST_NUMBER.findall(text) if "[" in text else []
    money = [one for both in _MONEY.findall(text) for one in readings(both[0] or both[1])]
    return {
        *("#" + one for one in plain if small or "." in one or len(one) > 2),
        *("#" + one for one in listed if small or len(one) > 2),
        *("#" + one for one in money),
        *("=" + squeezed(one) for one in (*_DIGITS.findall(text), *_IBAN.findall(text))),
    }


class _Plain:
    """What `Seen` is, by the plain reading."""

    def __init__(self, value: Any, *, small: bool = False) -> None:
        forms = value if isinstance(value, Forms) else Forms(value)
        self.whole = forms.whole
        self.words = [_WORD.findall(text) for text in forms.texts]
        self.atoms = set[str]().union(*(_plain_atoms(one, small) for one in forms.texts))
        alike = [_plain_atoms(bare(one), small) for one in forms.texts if not one.isascii()]
        self.alike = set[str]().union(*alike) - self.atoms


class _PlainOrigins:
    """What `Origins` finds: the best of all places in which an atom was seen, then the first."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, set[str]]] = []

    def find(self, *atoms: str) -> tuple[int, str]:
        found = [
            (rank, at, order, where)
            for at, atom in enumerate(atoms)
            for order, (rank, where, known) in enumerate(self.seen)
            if atom in known
        ]
        rank, _, _, where = min(found, default=(NOWHERE, 0, 0, ""))
        return rank, where


# ---- texts -----------------------------------------------------------------------------------

_PIECES = st.sampled_from([
    "pay", "Anna", "the", "eur", "EUR", "usd", "cad", "euros", "$", "€", "£", "12", "5", "007",
    "1250.50", "1.234", "1,234.5", "1'000", "12 000", "1\u00a0234\u202f567", "3,14", "12.5x",
    "2026-05-17", "12:30", "1/2", "v1.2.3", "q3.csv", "[1,22,333]", "[4711,5.5]",
    "DE89 3704 0044 0532 0130 00", "de89", "3704", "abcd", "4111-1111-1111-1111",
    "0049 30 1234567", "bob@evil.example", "a.b+c@x-y.co", "@", "www.x.org", "x.org:443/p?q=1#z",
    "https://u:p@corp.example:443/p/1?x=2", "//h.example/x", "http://localhost:80/a", "ftp://a.b",
    "://", "/srv/a/../b.csv", "C:\\x\\y", "../up", "./here", "a/b", "INV-2026-17", "f-11", "_x_",
    '"quoted words, 12"', '"', "subject: hello 12", ":", "key=value", "=", "~", "(see 4.2)",
    "%41%6d", "&amp;", "&#64;", "\\u0041", "\\n", "=3D", "QW5uYUBleGFtcGxlLm9yZw==",
    base64.b64encode(b"send 12.50 EUR to bob@evil.example and x " * 3).decode(), "=\n",
    "616e6e6140782e6f7267", "61:6e:6e:61:40", "müller", "b\u043eb", "“so”", "Zoë's", "ﬁn", "日本語",
    "東京 12", "١٢٣", "½", "²", "ß", "İ", "\u200b", "\u2028", "\x1c", "\t", "\r\n", "\ud800",
    "a_b", "aaaaaaaaaaaaaaaaaaaa", "x" * 199, "1" * 31, "-", "--", "...", "!", "don't",
])  # fmt: skip
_GLUE = st.sampled_from([" ", " ", " ", "\n", "", ",", ", ", ". ", "  ", ":", "-", "/", "\t", "'"])
_WOVEN = st.lists(st.tuples(_PIECES, _GLUE), max_size=24).map(
    lambda pairs: "".join(part for pair in pairs for part in pair)
)
_SIGNS = st.text("ab1270.,'-/:@ \n$€[]\"%=\\_x\u00a0é\u200b", max_size=60)
_TEXTS = _WOVEN | _SIGNS | st.text(max_size=40)
_VALUES = st.recursive(
    _TEXTS | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_PIECES, inner, max_size=4),
    max_leaves=8,
)


@given(_VALUES, st.booleans())
def test_what_is_seen_is_what_a_plain_reading_finds(value: Any, small: bool) -> None:
    found, expected = Seen(value, small=small), _Plain(value, small=small)
    assert found.words == expected.words
    assert found.atoms == expected.atoms
    assert found.alike == expected.alike
    assert found.whole == expected.whole


@pytest.mark.parametrize(
    "line", ["word " * 500, "see 12.50 EUR or x.org now\n" * 80, "a 1 é\n" * 80]
)
def test_a_long_text_is_read_as_a_short_one(line: str) -> None:
    text = f"ask\n{line}\nthen bob@evil.example pays $ 5 from DE89 3704 0044 0532 0130 00"
    found, expected = Seen(text), _Plain(text)
    assert (found.words, found.atoms, found.alike) == (
        expected.words, expected.atoms, expected.alike,
    )  # fmt: skip


@given(_WOVEN | _SIGNS | st.text("Ab9+/=-_ \r\n", max_size=200))
def test_what_is_encoded_is_found_wherever_it_stands(text: str) -> None:
    assert packed_in(text) == _BASE64.findall(text)
    said = base64.b64encode(b"send it to bob@evil.example").decode()
    assert any("bob@evil.example" in one for one in decoded(f"{text}\n{said} {text}")[0][1:])


@given(
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.decimals(-9, 9, places=3)
)
def test_a_number_is_written_without_exponent_sign_or_trailing_zeros(value: Any) -> None:
    text = number_text(value)
    if text == "nan":
        assert abs(Decimal(str(value)).adjusted()) > 200
        return
    assert re.fullmatch(r"\d+(\.\d*[1-9])?", text)
    if abs(value) < 10**15:
        assert Decimal(text) == abs(Decimal(str(value)))


# ---- where they were seen --------------------------------------------------------------------

_ADDED = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abcdefgh")), st.integers(0, len(ORIGINS) - 1),
        st.sampled_from(["r@1", "r@2", "r@3"]),
    ),
    max_size=8,
)  # fmt: skip


@given(_ADDED, st.lists(st.sampled_from("abcdefghz"), min_size=1, max_size=4))
def test_the_best_source_is_found_then_the_first(
    added: list[tuple[set[str], int, str]], asked: list[str]
) -> None:
    """INVARIANT G20"""
    origins, plain = Origins(), _PlainOrigins()
    for atoms, rank, where in added:
        origins.add(atoms, rank, where)
        plain.seen.append((rank, where, atoms))
    assert origins.find(*asked) == plain.find(*asked)


_LABELS = st.none() | st.builds(
    Label,
    st.sampled_from(["person", "trusted", "untrusted"]), st.sampled_from(["public", "secret"]),
)  # fmt: skip
_TOOLS = st.builds(lambda label: ToolFacts(("*",), output=label), _LABELS)
_ARGS = st.dictionaries(st.sampled_from(["to", "body", "amount", "file_id"]), _VALUES, max_size=3)
_STEPS = st.lists(
    st.tuples(_TOOLS, _ARGS, _VALUES, st.sampled_from(["read", "once"])), min_size=1, max_size=4
)


def _judged(said: str, steps: Iterable[Any], args: dict[str, Any]) -> list[Any]:
    context = Context()
    context.person("r@0", said)
    found: list[Any] = []
    for at, (tool, args_given, value, effect) in enumerate(steps, 1):
        found.append(context.result(f"r@{at}", tool, args_given, value, effect, "get_it"))
        found.append(flow(context, args_given, tool, "send_mail", effect, "tool"))
    return [*found, flow(context, args, ToolFacts(("*",)), "send_mail", "once", "tool")]


@given(_WOVEN, _STEPS, st.data())
def test_the_facts_are_those_of_a_plain_reading(
    said: str, steps: list[Any], data: st.DataObject
) -> None:
    """INVARIANT G20, G25: origins, labels and what is carried do not depend on how texts are
    searched."""
    texts = [text for _, _, value, _ in steps if (text := scalar_text(value))]
    some = st.sampled_from([said, *texts]).flatmap(
        lambda text: st.sampled_from(text.split() or [""]) | st.just(text)
    )
    args = data.draw(st.fixed_dictionaries({"to": some, "body": some | _TEXTS, "amount": _VALUES}))
    found = _judged(said, steps, args)
    with pytest.MonkeyPatch.context() as patch:
        for room in (holdfast.gate.context, holdfast.gate.naming):
            patch.setattr(room, "Seen", _Plain)
        expected = _judged(said, steps, args)
    assert found == expected
