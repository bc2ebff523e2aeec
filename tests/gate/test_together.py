"""Conditions are evaluated all at once where they can be: that must not show."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import cel
from holdfast.gate.cel import RULE, Scene, compile_text

TEXTS = (
    "args.amount > 50", "args.to.endsWith('@x.example')", "has(args.note) && args.note == 'a'",
    "risk > 0.5", "worst == 'untrusted'", "args.list[1] == 2", "1 / calls > 0", "args.amount == 7",
    "'a' in args.list", "args.to.matches('[a-z]+')", "inside(args.path, '/work')", "new_target",
    "origin.to == 'person'", "args.amount > 1 || true", "args.amount > 1 && false",
)  # fmt: skip
VALUES = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3),
    st.lists(st.integers(0, 3), max_size=3), st.just("a@x.example"), st.just("/work/../etc"),
)  # fmt: skip


@given(
    st.lists(st.sampled_from(TEXTS), min_size=2, max_size=6),
    st.dictionaries(st.sampled_from(["amount", "to", "note", "list", "path"]), VALUES),
    st.integers(0, 1),
    st.booleans(),
)
def test_together_or_one_by_one(texts: list[str], args: dict[str, Any], calls: int, new: bool):
    """G34"""
    conditions = tuple(compile_text(text, RULE) for text in texts)
    values: dict[str, Any] = {
        "risk": 0.7, "worst": "untrusted", "calls": calls, "new_target": new,
        "origin": {"to": "person"} if new else {},
    }  # fmt: skip
    found = Scene(RULE, values, args, None).hold(conditions)
    assert found == [Scene(RULE, values, args, None).holds(each) for each in conditions]


def test_they_are_evaluated_together(monkeypatch: Any):
    """Else the rest of this file would say nothing."""
    conditions = tuple(compile_text(text, RULE) for text in ("args.amount > 50", "risk > 0.5"))
    scene = Scene(RULE, {"risk": 0.7}, {"amount": 7}, None)
    monkeypatch.setattr(cel.Scene, "holds", lambda *_: 1 / 0)
    assert scene.hold(conditions) == [False, True]
