"""The pattern language agrees with `re` where both exist, and cannot be stalled."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.pattern import BadPattern, Pattern, TooLong, compile_glob, compile_pattern
from holdfast.values import limits

_ATOMS = st.sampled_from(
    ["a", "b", "-", ".", "\\.", "\\d", "\\w", "\\s", "\\W", "[ab]", "[^a]", "[a-c1]", "[\\d-]", "é"]
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    quantified = st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{0}"]))
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: "(" + "|".join(parts) + ")"),
        quantified.map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map(lambda part: f"({part}|)"),
    )


_PATTERNS = st.recursive(_ATOMS, _grow, max_leaves=8).map(lambda text: text[:200])
_TEXTS = st.text(alphabet="ab-.1 c_\né", max_size=8)


@given(_PATTERNS, st.lists(_TEXTS, min_size=1, max_size=8))
def test_agrees_with_re(pattern: str, texts: list[str]) -> None:
    try:
        reference = re.compile(pattern, re.ASCII)
        ours = compile_pattern(pattern)
    except (re.error, BadPattern):
        return
    for text in texts:
        assert ours.matches(text) == bool(reference.fullmatch(text)), (pattern, text)


@given(_PATTERNS)
def test_accepts_what_re_accepts(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error:
        return
    assert isinstance(compile_pattern(pattern), Pattern)


@given(st.text(max_size=40))
def test_never_raises_anything_else(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except BadPattern:
        return
    reference = re.compile(text, re.ASCII)
    for sample in ("", "a", text):
        assert pattern.matches(sample) == bool(reference.fullmatch(sample))


@given(st.text(alphabet="ab*?.", max_size=8), st.text(alphabet="ab.\n", max_size=8))
def test_glob(glob: str, name: str) -> None:
    regex = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in glob)
    assert compile_glob(glob).matches(name) == bool(re.fullmatch(regex, name, re.DOTALL))


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(a|a)*", "(a|aa)+", "a*" * 60, "(.*)*x", "(a?){100}a{100}", ".{0,500}"]
)
def test_no_pattern_is_slow(pattern: str) -> None:
    """INVARIANT G5: with `re` most of these take longer than the universe is old."""
    compiled = compile_pattern(pattern)
    assert not compiled.matches("a" * (limits.PATTERN_INPUT_CHARS - 1) + "!")
    assert sum(map(len, compiled._steps.values())) <= limits.GATE_MEMO_ENTRIES


def test_input_limit() -> None:
    with pytest.raises(TooLong):
        compile_pattern("a*").matches("a" * (limits.PATTERN_INPUT_CHARS + 1))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a**", "only one quantifier may follow; lazy and possessive ones do not exist"),
        ("a+?", "only one quantifier may follow; lazy and possessive ones do not exist"),
        ("*a", "nothing to repeat before '*'"),
        ("a|*", "nothing to repeat before '*'"),
        ("a{", "write {m}, {m,} or {m,n}"),
        ("a{,3}", "write {m}, {m,} or {m,n}"),
        ("a{3,2}", "a repeat goes from m to n, both at most 512"),
        ("a{1,513}", "a repeat goes from m to n, both at most 512"),
        ("(a{500}){500}", "longer than 512 characters when its repeats are written out"),
        ("(((){500}){500}){500}", "longer than 512 characters when its repeats are written out"),
        ("(" * 30 + ")" * 30, "groups are nested deeper than 20"),
        ("a)", "')' without '('"),
        ("(a", "the pattern ends too early"),
        ("[a", "the pattern ends too early"),
        ("a\\", "the pattern ends too early"),
        ("[]", "empty brackets"),
        ("[[:alpha:]]", "named classes do not exist"),
        ("[b-a]", "a range goes from one character to a later one"),
        ("[\\d-z]", "a range goes from one character to a later one"),
        ("\\1", "the escape '\\1' does not exist"),
        ("\\bword", "the escape '\\b' does not exist"),
        ("(?i)a", "only '(?:...)' exists"),
        ("(?P<n>a)", "only '(?:...)' exists"),
        ("a$b", "'$' is allowed only at the end"),
        ("a^b", "'^' is allowed only at the start"),
        ("a" * 257, "a pattern has at most 256 characters"),
    ],
)
def test_refused(pattern: str, message: str) -> None:
    with pytest.raises(BadPattern) as caught:
        compile_pattern(pattern)
    assert message in str(caught.value)
