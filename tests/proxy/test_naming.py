"""Whose a name is, where servers have the same ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.proxy.naming import shown

SERVERS = ["a", "b", "a__b"]
NAMES = st.lists(st.sampled_from(["x", "y", "a__x", "b__x", "b__b__x", "a__b__x", "x_"]))
LISTS = st.dictionaries(st.sampled_from(SERVERS), NAMES)


def test_a_literal_name_is_not_taken_for_anothers():
    """INVARIANT D10: b's ``a__x`` is no name of a's x, and other names stay as they are."""
    found = shown({"a": ["x"], "b": ["x", "a__x", "z"]}, ["a", "b"], {})
    assert found == {
        "a__x": ("a", "x"), "b__x": ("b", "x"), "b__a__x": ("b", "a__x"), "z": ("b", "z"),
    }  # fmt: skip


@given(st.lists(LISTS, min_size=1, max_size=6))
def test_a_name_that_was_shown_never_stands_for_another(many: list[dict[str, list[str]]]):
    """INVARIANT D10: whatever servers list, when; and each tool has one name."""
    before: dict[str, tuple[str, str]] = {}
    ever: dict[str, tuple[str, str]] = {}
    for lists in many:
        found = shown(lists, SERVERS, before)
        assert sorted(found.values()) == sorted(
            {(server, name) for server, names in lists.items() for name in names}
        )
        for name, whose in found.items():
            assert ever.setdefault(name, whose) == whose
