"""Naming: which ids a person means by another field, and what kind of address a value is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import naming
from holdfast.gate.folding import plain, squeezed
from holdfast.gate.naming import kind_of, named_ids, records_in, shape_of, short
from holdfast.gate.origins import Origins
from holdfast.gate.records import Records
from holdfast.gate.values_in import WORD, Forms, Seen, decoded, parts, scalar_text
from holdfast.gate.words import STOP
from holdfast.values import limits

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
    found = named_ids(records_in(rows), said.__contains__)
    assert found >= {"7"}
    assert found.isdisjoint({"8", "9", "ann@corp.example", "#12.5"})
    assert named_ids(records_in(rows), lambda _: False) == set()


def test_a_name_does_not_name_itself() -> None:
    assert named_ids(records_in({"id": "hb-2088"}), lambda _: True) == set()


# ---- one walk --------------------------------------------------------------------------------
# What each reading of a result was when each walked it for itself: the model of the one walk.


def walk(value: Any) -> Iterator[list[tuple[str, Any]]]:
    if scalar_text(value) is not None:
        return
    stack, left = [value], limits.FLOW_VALUE_ENTRIES
    while stack and left > 0:
        inner = parts(stack.pop())
        if isinstance(inner, Mapping):
            items = [(str(key), item) for key, item in inner.items()]
        else:
            items = [("", item) for item in inner]
        left -= len(items) + 1
        stack.extend(item for _, item in items if scalar_text(item) is None)
        yield [(key, item) for key, item in items if scalar_text(item) is not None]


def text_of(item: Any) -> str:
    return item if isinstance(item, str) else (scalar_text(item) or "")


def is_short(text: str) -> bool:
    return "\n" not in text and len(text.split()) <= 6


def fields_in(value: Any) -> list[str]:
    texts = [text_of(item) for one in walk(value) for _, item in one]
    return [text[: limits.FLOW_LINE_CHARS] for text in texts if text and is_short(text)]


def names_beside(value: Any) -> Iterator[tuple[str, list[str]]]:
    for one in walk(value):
        texts = [text for key, item in one if key and (text := text_of(item))]
        few = [text for text in texts if is_short(text)]
        names = [text for text in few if len(text) >= 5 and re.search(r"[^\W\d_]{3}", text)][:6]
        for text in few:
            yield squeezed(plain(text)), [name for name in names if name != text]


def ids_in(value: Any, named: Callable[[str], bool]) -> set[str]:
    found: list[Any] = []
    for record in walk(value):
        texts = [(key, item, text_of(item)) for key, item in record if key]
        names = {key for key, _, text in texts if is_named(text, named)}
        if not names:
            continue
        for key, item, text in texts:
            if names != {key} and naming._is_id(key, item, text) and len(decoded(text)[0]) == 1:
                found.append(item)
    return Seen(found, small=True).atoms


def is_named(text: str, named: Callable[[str], bool]) -> bool:
    words = [one for one in WORD.findall(plain(text)) if one not in STOP]
    if not 0 < len(words) <= 6 or max(map(len, words)) < 3:
        return False
    return all(map(named, words))


class Modelled(Records):
    """What the readings add up to, in the order in which they were made."""

    def take(self, where: str, value: Any) -> list[str]:
        fields = fields_in(value)
        if len(self._fields) >= limits.FLOW_CONTEXT_ENTRIES:
            return fields
        folded = [plain(one) for one in fields]
        self._fields.update(map(squeezed, folded))
        self.kinds.update((kind, where) for one in folded if len(one) > 7 if (kind := kind_of(one)))
        self.keys.update(
            key for one in walk(value) for key, item in one if key and isinstance(item, str)
        )
        for field, names in names_beside(value):
            known = self._beside.setdefault(field, set())
            if len(known) < limits.FLOW_BESIDE_ENTRIES:
                known.update(names)
        return fields


TEXTS = st.sampled_from(
    ["ann@corp.example", "Ann Berg", "hb-2088", "DE89 3704 0044 0532 0130 00", "two\nlines", "",
     "one of seven words that are said", "https://corp.example/x", "\u212bngstr\u00f6m", "x" * 300,
     "a b c " + "y" * 250, "Offer 2027", "+1 555 0100 200"]
) | st.text(max_size=20)  # fmt: skip
RESULTS = st.recursive(
    TEXTS | SCALARS | st.binary(max_size=9) | st.decimals() | st.sets(st.integers(), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner)
        | st.dictionaries(
            st.sampled_from(["id", "name", "owner", "ref", "note", "", "\u00e9"]) | st.integers(),
            inner,
        )
    ),
    max_leaves=25,
)


@given(st.lists(RESULTS, max_size=4), st.sampled_from([3, 9, 1_000]), st.sampled_from([2, 64]))
def test_one_walk_reads_what_four_did(values: list[Any], most: int, names: int) -> None:
    """INVARIANT D180: also where a limit ends it."""
    records, model = Records(), Modelled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FLOW_VALUE_ENTRIES", most)
        patch.setattr(limits, "FLOW_CONTEXT_ENTRIES", most)
        patch.setattr(limits, "FLOW_BESIDE_ENTRIES", names)
        for at, value in enumerate(values):
            found = records.add(f"run@{at}", records_in(value), Forms(value), ())
            assert found == model.take(f"run@{at}", value)
            assert (records._fields, records._beside) == (model._fields, model._beside)
            assert (records.keys, records.kinds) == (model.keys, model.kinds)


@given(RESULTS, st.sets(st.sampled_from(["ann", "berg", "offer", "2027", "hb", "2088"])))
def test_one_walk_finds_the_ids_that_are_named(value: Any, said: set[str]) -> None:
    """INVARIANT D180"""
    for named in (said.__contains__, lambda _: True):
        assert named_ids(records_in(value), named) == ids_in(value, named)
    assert named_ids(records_in(value), lambda _: False) == set()


def test_walking_ends() -> None:
    wide = [{"id": at, "name": "x" * 3} for at in range(5_000)]
    assert named_ids(records_in(wide), lambda _: True)
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    assert [text for one in records_in(deep) for _, text in short(one)] in (["1"], [])


def test_a_path_of_two_slashes_ends() -> None:
    for path in ("\\\\a", "\\\\a\\b", "\\\\"):
        assert Origins().of(path)[1] == ""
