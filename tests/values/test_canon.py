"""Canonical bytes: one value, one byte string, and back; nothing lost, nothing mistaken."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import subprocess
import sys
import uuid
from collections import OrderedDict, defaultdict
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from holdfast.journal import proof
from holdfast.values import limits
from holdfast.values.canon import decode, digest, encode, pack, references, unpack
from holdfast.values.errors import Corrupt, Misuse, TooLarge

# ---- values ----------------------------------------------------------------------------------

KEYS = st.one_of(
    st.sampled_from(["$bytes", "$float", "$blob", "$raw", "$$blob", "$", "$like", "$erased", "k"]),
    st.text(max_size=6),
)
LONG = st.integers(200, 700).map(lambda size: "ä" * size)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30),
    st.binary(max_size=30), LONG, st.integers(250, 900).map(lambda size: b"\xfe" * size),
    st.sampled_from(["$x", '"$', '{"$blob":"' + "0" * 64 + '"}', "null", -0.0, 2**64, -(2**63)]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from 1.0 and True, 0.0 from -0.0, and takes nan for itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


def other_order(value: Any) -> Any:
    """The same value with the keys of every mapping the other way round."""
    if isinstance(value, dict):
        return {key: other_order(item) for key, item in reversed(value.items())}
    return [other_order(item) for item in value] if isinstance(value, list) else value


# ---- properties ------------------------------------------------------------------------------


@given(VALUES)
@example({"$bytes": "eA=="})
@example([{"$blob": "x"}, {"$raw": b"x"}])
def test_bytes_lead_back_to_the_value(value):
    encoded = encode(value)
    assert same(decode(encoded), value)
    assert encode(decode(encoded)) == encoded
    json.loads(encoded)
    assert b"\n" not in encoded


@given(VALUES)
def test_the_order_of_keys_does_not_matter(value):
    assert encode(other_order(value)) == encode(value)


@given(VALUES)
def test_a_skeleton_and_its_blobs_are_the_value(value):
    blobs = {}
    skeleton = pack(value, blobs)
    assert same(unpack(skeleton, blobs.__getitem__), value)
    assert all(digest(content) == name for name, content in blobs.items())
    again = {}
    assert pack(other_order(value), again) == skeleton
    assert again == blobs
    # every blob is reached from the skeleton, both ways of looking agree on what it names
    assert {name for _, name in proof.references(skeleton)} == references(skeleton)
    reached, stack = set(), list(proof.references(skeleton))
    while stack:
        tag, name = stack.pop()
        reached.add(name)
        stack += proof.references(blobs[name]) if tag == b"blob" else []
    assert reached == set(blobs)


@given(VALUES, VALUES, st.booleans())
def test_skeletons_are_equal_exactly_when_values_are(left, right, alike):
    right = other_order(left) if alike else right
    equal = encode(left) == encode(right)
    assert (pack(left, {}) == pack(right, {})) == equal
    assert equal == same(left, right)


@given(st.lists(LONG, min_size=1, max_size=8))
def test_a_conversation_costs_its_new_messages(messages):
    blobs = {}
    for turn in range(1, len(messages) + 1):
        pack({"messages": [{"role": "user", "text": text} for text in messages[:turn]]}, blobs)
    assert len(blobs) <= 2 * len(set(messages))


# ---- one by one ------------------------------------------------------------------------------


@dataclasses.dataclass
class Box:
    x: Any


class Struct(msgspec.Struct):
    x: Any


class Model(BaseModel):
    x: Any = None


class Colour(enum.Enum):
    RED = "$red"
    BLUE = b"blue"


class Pair(NamedTuple):
    a: int
    b: bytes


READ_AS = [
    (bytearray(b"x"), b"x"),
    (memoryview(b"x"), b"x"),
    ((1, (2,)), [1, [2]]),
    (Pair(1, b"x"), [1, b"x"]),
    ({3, 1, 2}, [1, 2, 3]),
    ({"b", "a", None, 2, b"x"}, ["a", "b", 2, None, b"x"]),
    (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
    (defaultdict(list, a=[b"1"]), {"a": [b"1"]}),
    (MappingProxyType({"$a": b"1"}), {"$a": b"1"}),
    ({1: "a", 2.5: "b", None: "c"}, {"1": "a", "2.5": "b", "null": "c"}),
    ({dt.date(2020, 1, 2): 1}, {"2020-01-02": 1}),
    (dt.datetime(2020, 1, 2, 3, tzinfo=dt.UTC), "2020-01-02T03:00:00Z"),
    (dt.timedelta(days=1), "P1D"),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=3), "00000000-0000-0000-0000-000000000003"),
    (PurePosixPath("a/b"), "a/b"),
    (Colour.RED, "$red"),
    (Colour.BLUE, b"blue"),
    (Box(b"\xff"), {"x": b"\xff"}),
    (Box({"$k": math.inf}), {"x": {"$k": math.inf}}),
    (Struct([b"\xff", None]), {"x": [b"\xff", None]}),
    (Model(x="plain"), {"x": "plain"}),
    (2**200, 2**200),
    (-(2**63) - 1, -(2**63) - 1),
]  # fmt: skip


@pytest.mark.parametrize(("value", "read"), READ_AS, ids=lambda value: type(value).__name__)
def test_richer_types_read_back_as_plain_ones(value, read):
    assert same(decode(encode(value)), read)
    blobs = {}
    assert same(unpack(pack([value, "x" * 300], blobs), blobs.__getitem__), [read, "x" * 300])


REFUSED = [object(), 1j, ValueError("x"), iter([]), range(3), lambda: 1, "\ud800", {"\ud800": 1},
           [[object()]], {"k": {"k": 1j}}, Box(object())]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_cannot_be_recorded_is_refused_in_one_line(value):
    for write in (encode, lambda value: pack(value, {})):
        with pytest.raises(Misuse, match="cannot be recorded") as caught:
            write(value)
        assert "\n" not in str(caught.value)


MENDED = [
    pytest.param(Model(x=b"\xff"), {"x": b"\xff"}, id="bytes in a model"),
    pytest.param(Model(x=math.nan), {"x": math.nan}, id="nan in a model"),
    pytest.param(Model(x={"$k": 1}), {"x": {"$k": 1}}, id="$ in a model"),
    pytest.param(Box(Model(x=b"\xff")), {"x": {"x": b"\xff"}}, id="a model in a dataclass"),
    pytest.param(Model(x=Box(b"\xff")), {"x": {"x": b"\xff"}}, id="a dataclass in a model"),
    pytest.param(Box(bytearray(b"\xff")), {"x": b"\xff"}, id="bytearray in a dataclass"),
    pytest.param(Struct(memoryview(b"\xff")), {"x": b"\xff"}, id="memoryview in a struct"),
    pytest.param(Box({"b", "c", "a", "d"}), {"x": ["a", "b", "c", "d"]}, id="set in a dataclass"),
    pytest.param(Struct(frozenset("hgfedcba")), {"x": list("abcdefgh")}, id="set in a struct"),
]


@pytest.mark.parametrize(("value", "read"), MENDED)
def test_plain_values_inside_richer_types(value, read):
    assert same(decode(encode(value)), read)


@pytest.mark.parametrize("value", [{1: 2, "1": 3}, {True: 1, "true": 2, "z": b""}])
def test_keys_that_fall_together_are_refused(value):
    with pytest.raises(Misuse, match="alike"):
        encode(value)


def nested(levels: int, inner: Any = 1) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize("levels", [limits.DEPTH_MAX - 5, 5000])
@pytest.mark.parametrize("inner", [1, b"x", "x" * 300])
def test_depth(levels, inner):
    value = nested(levels, inner)
    if levels < limits.DEPTH_MAX:
        blobs = {}
        assert unpack(pack(value, blobs), blobs.__getitem__) == value
    else:
        with pytest.raises(TooLarge, match="nested deeper than 200"):
            pack(value, {})


@pytest.mark.parametrize("levels", [limits.DEPTH_MAX + 1, 450, 900])
def test_depth_is_limited_before_readers_fail(levels):
    with pytest.raises(TooLarge, match="nested deeper than 200"):
        pack(nested(levels, "x" * 300), {})


def test_size_is_limited(monkeypatch):
    monkeypatch.setattr(limits, "PAYLOAD_MAX_BYTES", 10_000)
    assert pack("x" * 9_000, {})
    with pytest.raises(TooLarge, match="write it to a file in the world"):
        pack(["x" * 9_000, "y" * 2_000], {})


def test_a_set_is_the_same_in_every_process():
    code = (
        "from holdfast.values.canon import encode; import sys;"
        "sys.stdout.write(encode({'s': {str(n) for n in range(50)}}).decode())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in range(4)
    }  # fmt: skip
    assert len(outputs) == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"a":1}x', b"\xff", b"[1,]"])
def test_bytes_that_are_not_json_are_corrupt(content):
    with pytest.raises(Corrupt, match="not canonical JSON"):
        decode(content)


def test_the_tagged_forms_are_these():
    """Part of the format: what stands in files is read for ever."""
    assert encode(b"\x00\xff") == b'{"$bytes":"AP8="}'
    assert encode([math.nan, math.inf, -math.inf]) == (
        b'[{"$float":"nan"},{"$float":"inf"},{"$float":"-inf"}]'
    )
    assert encode({"$bytes": 1, "a": "ü", "A": 1.0}) == '{"$$bytes":1,"A":1.0,"a":"ü"}'.encode()
    blobs = {}
    assert limits.PART_MIN_BYTES == 256
    text, content = "x" * 300, b"y" * 300
    skeleton = pack({"t": text, "b": content, "s": "short"}, blobs)
    names = digest(b'"' + b"x" * 300 + b'"'), digest(content)
    assert skeleton == (
        b'{"b":{"$raw":"' + names[1].encode() + b'"},"s":"short","t":{"$blob":"'
        + names[0].encode() + b'"}}'
    )  # fmt: skip
    assert set(blobs) == set(names)
