"""Labels form a lattice: joining loses nothing that is bad news."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.labels import (
    CONFIDENTIALITY,
    INTEGRITY,
    PLAIN,
    Label,
    join,
    leaks,
    parse_label,
)

LABELS = st.builds(Label, st.sampled_from(INTEGRITY), st.sampled_from(CONFIDENTIALITY))


@given(LABELS, LABELS, LABELS)
def test_a_join_is_the_worst_of_its_parts(a: Label, b: Label, c: Label):
    """G8, and the laws of a lattice."""
    both = join(a, b)
    for part in (a, b):
        assert INTEGRITY.index(both.integrity) >= INTEGRITY.index(part.integrity)
        assert not leaks(part.confidentiality, both.confidentiality)
    assert both in (a, b) or (both.integrity, both.confidentiality) in {
        (a.integrity, b.confidentiality), (b.integrity, a.confidentiality)
    }  # fmt: skip
    assert join(a, a) == a == join(a)
    assert both == join(b, a)
    assert join(both, c) == join(a, join(b, c)) == join(a, b, c)


@given(LABELS)
def test_labels_are_read_as_they_are_written(label: Label):
    assert parse_label(str(label)) == label


def test_no_label_is_plain_and_no_word_is_guessed():
    assert parse_label("") == PLAIN == join()
    for text in ("trusted", "good/public", "trusted/open", "public/trusted"):
        with pytest.raises(ValueError, match="no label"):
            parse_label(text)
