"""Continuations: what is stored shorter comes back whole, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.journal.like import is_short, restore, shorten
from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.errors import Corrupt

# one to four bytes in UTF-8, several of them sharing their first bytes
LETTERS = st.sampled_from(["a", "é", "è", "日", "旦", "😀", "😁", '"', "\\", "\n", "$"])
TEXT = st.lists(LETTERS, min_size=0, max_size=6).map(lambda letters: "".join(letters) * 60)


def restored(short: bytes, known: dict[str, bytes]) -> bytes:
    return restore(short, lambda key: known[key])


@given(st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=6), st.integers(0, 6))
def test_what_is_shortened_comes_back(left, right, shared):
    earlier, later = encode(left), encode(left[:shared] + right)
    short = shorten(later, "k.1", earlier)
    if short is not None:
        assert is_short(short)
        assert len(short) * 2 < len(later)
        assert restored(short, {"k.1": earlier}) == later
        short.decode()  # text, as stores keep it
    assert not is_short(later)
    assert restored(later, {}) == later


@given(st.lists(st.text(min_size=40, max_size=90), min_size=4, max_size=12))
def test_a_chain_of_continuations(messages):
    known, stored = {}, {}
    for turn in range(1, len(messages) + 1):
        whole = encode({"messages": messages[:turn], "model": "m"})
        previous = str(turn - 1)
        short = shorten(whole, previous, known[previous]) if previous in known else None
        known[str(turn)], stored[str(turn)] = whole, short or whole

    def get(key: str) -> bytes:
        return restore(stored[key], get)

    assert {key: get(key) for key in stored} == known


def test_a_cut_falls_between_characters():
    earlier = encode(["x" * 600 + "é"])
    later = encode(["x" * 600 + "è" + "y" * 10])
    short = shorten(later, "1", earlier)
    assert short is not None
    assert short.startswith(b'{"$like":["1",602],"then":"')
    assert restored(short, {"1": earlier}) == later


def test_the_same_arguments_again():
    whole = encode(["x" * 600])
    short = shorten(whole, "1", whole)
    assert short is not None
    assert restored(short, {"1": whole}) == whole


def test_short_ones_stay_whole():
    small, large = encode(["x" * 100]), encode(["x" * 600])
    assert len(small) < limits.LIKE_MIN_BYTES < len(large)
    assert shorten(small, "1", large) is None
    assert shorten(large, "1", small) is None
    assert shorten(large, "1", encode(["y" * 600])) is None


def test_a_step_that_is_not_there():
    def nothing(key: str) -> bytes:
        raise Corrupt(f"step {key}")

    short = shorten(encode(["x" * 600]), "1", encode(["x" * 700]))
    assert short is not None
    with pytest.raises(Corrupt, match="step 1"):
        restore(short, nothing)
