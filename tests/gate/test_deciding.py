"""Which arguments decide and which carry; canonical targets and amounts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.deciding import amount_of, leaves, target_of
from holdfast.gate.tools import ToolFacts

TOOL = ToolFacts(("*",))


def roles(args: dict[str, Any], tool: ToolFacts = TOOL) -> dict[str, str]:
    words = {(True, False): "decides", (False, True): "carries", (True, True): "both"}
    return {leaf.path: words.get((leaf.decides, leaf.carries), "") for leaf in leaves(args, tool)}


def test_shapes_and_names() -> None:
    args = {
        "zz": "bob@x.example", "yy": "https://x.example", "xx": "a b c d e f g h i j k", "ww": 7,
        "vv": "Bob Berg", "body": "hi", "limit": 5, "public": True, "quiet": True, "dry_run": False,
        "when": "2026-05-01T10:00", "command": "ls", "format": "pdf", "nothing": None,
        "event": {"people": ["a@x.example"], "description": "d"}, "map": {"c@x.example": "editor"},
    }  # fmt: skip
    assert roles(args) == {
        "zz": "decides", "yy": "decides", "xx": "carries", "ww": "decides", "vv": "decides",
        "body": "carries", "limit": "", "public": "decides", "quiet": "", "dry_run": "decides",
        "when": "", "command": "both", "format": "", "nothing": "", "event.people": "decides",
        "event.description": "carries", "map": "decides",
    }  # fmt: skip


def test_a_policy_may_declare_them() -> None:
    tool = ToolFacts(("*",), deciding=("event.people", "body"), content=("to",))
    args = {"to": "x", "body": "b", "event": {"people": "p", "other": "o"}}
    assert roles(args, tool) == {
        "to": "carries", "body": "decides", "event.people": "decides", "event.other": "",
    }  # fmt: skip


def test_text_that_is_a_mapping_is_one() -> None:
    assert roles({"params": '{"to": "bob@x.example", "body": "hi"}'}) == {
        "params.to": "decides", "params.body": "carries",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "amount"),
    [({"amount": 5}, 5), ({"amount": "EUR 1,234.50"}, 1234.5), ({"amount": "1.234"}, 1234),
     ({"amount": -7.5}, 7.5), ({"x": 5}, None), ({"amount": True}, None),
     ({"amount": float("nan")}, 1e18), ({"amount": "Infinity"}, 1e18), ({"amount": 10**400}, 1e18),
     ({"amount": "1e3"}, 1000), ({"payments": [{"amount": 2}, {"amount": 3}]}, 5)],
)  # fmt: skip
def test_amounts(args: dict[str, Any], amount: float | None) -> None:
    """INVARIANT G28"""
    assert amount_of(args, TOOL) == amount


@given(st.integers(1, 10**12), st.sampled_from(["{:,}", "{}", "USD {:,}.00", "{} EUR", "-{}"]))
def test_an_amount_is_never_smaller_for_its_spelling(amount: int, form: str) -> None:
    """INVARIANT G28"""
    found = amount_of({"amount": form.format(amount)}, TOOL)
    assert found is not None
    assert found >= amount


def test_targets_have_one_form() -> None:
    assert target_of({"to": ["B@x.example", "a@X.example "]}, TOOL) == "a@x.example, b@x.example"
    assert target_of({"url": "https://u@www.X.example:443/p?q"}, TOOL) == "x.example"
    assert target_of({"iban": "DE89 3704 0044"}, TOOL) == target_of({"iban": "de8937040044"}, TOOL)
    assert target_of({"path": "/a/./b/../c"}, TOOL) == "/a/c"
    assert target_of({"x": {"y": "Z"}}, ToolFacts(("*",), target="x.y")) == "z"
    assert target_of({"to": "b\u043eb"}, TOOL) != target_of({"to": "bob"}, TOOL)
    assert len(target_of({"to": ["x" * 500]}, TOOL)) < 200
    assert target_of({"body": "hello"}, TOOL) == ""
