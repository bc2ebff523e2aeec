"""Naming: which ids a person means by another field, and what kind of address a value is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.naming import fields_in, kind_of, named_ids, shape_of
from holdfast.gate.origins import Origins

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("bob@corp.example", "mail"), ("https://corp.example/x", "link"), ("//corp.example", "link"),
     ("de89 3704 0044 0532 0130 00", "account"), ("0532013000", "account"), ("hb-2088", ""),
     ("bob", ""), ("12", ""), ("", "")],
)  # fmt: skip
def test_kinds_of_addresses(value: str, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("value", "shape"),
    [("hb-2088", "a-0"), ("k-901", "a-0"), ("r-2026-88", "a-0-0"), ("12", ""), ("bob", ""),
     ("2026-01-01", ""), ("a b-1", "")],
)  # fmt: skip
def test_shapes_of_ids(value: str, shape: str) -> None:
    assert shape_of(value) == shape


def test_only_ids_of_named_records() -> None:
    rows = [
        {"id": 7, "name": "Offer 2027", "owner": "ann@corp.example", "size": 12.5},
        {"id": 8, "name": "Thesis"},
        {"name": "Offer 2027", "parts": [{"id": 9, "name": "Cover"}]},
    ]
    said = {"offer", "2027"}
    assert named_ids(rows, said.__contains__) >= {"7"}
    assert named_ids(rows, said.__contains__).isdisjoint({"8", "9", "ann@corp.example", "#12.5"})
    assert named_ids(rows, lambda _: False) == set()


def test_a_name_does_not_name_itself() -> None:
    assert named_ids({"id": "hb-2088"}, lambda _: True) == set()


@given(VALUES)
def test_any_value_is_walked(value: Any) -> None:
    assert all(isinstance(one, str) for one in fields_in(value))
    assert named_ids(value, lambda _: False) == set()
    named_ids(value, lambda _: True)


def test_walking_ends() -> None:
    wide = [{"id": at, "name": "x" * 3} for at in range(5_000)]
    assert named_ids(wide, lambda _: True)
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    assert list(fields_in(deep)) in (["1"], [])


def test_a_path_of_two_slashes_ends() -> None:
    for path in ("\\\\a", "\\\\a\\b", "\\\\"):
        assert Origins().of(path)[1] == ""
