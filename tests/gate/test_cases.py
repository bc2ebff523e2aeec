"""Verdicts as data: every file in `cases`, and every example of the manual."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
import yaml

from holdfast.gate import DEFAULT_POLICY, Proposal, Verdict, judge, parse_policy
from holdfast.gate.conditions import OPERATORS

HERE = Path(__file__).parent
MANUAL = HERE.parents[1] / "docs" / "policy.md"


def _cases() -> list[Any]:
    found: list[Any] = []
    for path in sorted((HERE / "cases").glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        found += [
            pytest.param(document, case, id=f"{path.stem}-{case['name']}")
            for case in document.get("cases", ())
        ]
    return found


@pytest.mark.parametrize(("document", "case"), _cases())
def test_verdict(document: dict[str, Any], case: dict[str, Any]) -> None:
    text = document["policy"]
    policy = DEFAULT_POLICY if text == "default" else parse_policy(text, "case.yaml")
    fields = {**document["base"], **case.get("with", {})}
    if isinstance(fields["args"], dict):
        fields["args"] = {**fields["args"], **case.get("args", {})}
        for name in case.get("without", ()):
            del fields["args"][name]
    verdict = judge(Proposal(**fields), policy)
    assert verdict.policy == policy.hash[:12]
    found = msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(verdict)))
    assert {name: found[name] for name in case["verdict"]} == case["verdict"]


def _table() -> list[Any]:
    document = yaml.safe_load((HERE / "cases" / "operators.yaml").read_text("utf-8"))
    return document["table"]


def _judge_x(want: Any, value: Any) -> Verdict:
    rule = {"id": "r", "when": {"tool": "*", "args": {"x": want}}, "then": "escalate"}
    text = yaml.safe_dump({"version": 1, "otherwise": "allow", "rules": [rule]})
    proposal = Proposal("a", "r", "tool", "t", "read", {"x": value})
    return judge(proposal, parse_policy(text, "x.yaml"))


def _expect(verdict: Verdict, outcome: str) -> None:
    if outcome in ("yes", "no"):
        assert verdict.decision == ("escalate" if outcome == "yes" else "allow"), verdict.reason
    else:  # INVARIANT G3: what cannot be evaluated denies and names the rule
        assert verdict.decision == "deny"
        assert verdict.reason == f"rule 'r' cannot be evaluated: {outcome}"


@pytest.mark.parametrize("row", _table(), ids=str)
def test_operator(row: dict[str, Any]) -> None:
    _expect(_judge_x(row["want"], row["x"]), row["is"])


def test_every_operator_has_cases() -> None:
    assert {name for row in _table() if isinstance(row["want"], dict) for name in row["want"]} == {
        *OPERATORS
    }


class _Currency(Enum):
    EUR = "EUR"


class _Address(msgspec.Struct):
    country: str


class _Model:
    def model_dump(self) -> dict[str, Any]:
        return {"currency": _Currency.EUR}


class _Bomb:
    def model_dump(self) -> dict[str, Any]:
        raise RecursionError("secret value")


@pytest.mark.parametrize(
    ("path", "want", "value", "outcome"),
    [
        ("x", {"le": 0.1}, Decimal("0.1"), "yes"),
        ("x", {"ge": 0.1}, Decimal("0.1"), "yes"),
        ("x", {"eq": 0.1}, Decimal("0.1"), "yes"),
        ("x", {"in": [0.1, 0.2]}, Decimal("0.2"), "yes"),
        ("x", {"le": 1}, Decimal("NaN"), "x is not a number (NaN)"),
        ("x", {"le": 1}, 10**400, "no"),
        ("x", "EUR", _Currency.EUR, "yes"),
        ("x", {"contains": "EUR"}, {_Currency.EUR}, "yes"),
        ("x", {"starts_with": "/work"}, PurePosixPath("/work/a"), "yes"),
        ("x.country", "FR", _Address("FR"), "yes"),
        ("x.currency", "EUR", _Model(), "yes"),
        ("x.0", "a", ("a",), "yes"),
        ("x.-1", "a", ["a"], "x.-1 is inside a list, where '-1' is not a position"),
        ("x.a\\.b", 1, {"a.b": 1}, "yes"),
        ("x.y", {"absent": True}, None, "yes"),
        ("x.y", {"absent": True}, "text", "x.y is inside a string"),
        ("x", "a", b"a", "x is a byte string, not a string"),
        ("x", {"matches": "a*"}, "a" * 5000, "x is longer than 4,096 characters"),
        ("x", "a", _Bomb(), "x cannot be looked at (RecursionError)"),
        ("x", "a", object(), "x cannot be looked at (TypeError)"),
    ],
)
def test_python_values(path: str, want: Any, value: Any, outcome: str) -> None:
    rule = {"id": "r", "when": {"args": {path: want}}, "then": "escalate"}
    text = yaml.safe_dump({"version": 1, "otherwise": "allow", "rules": [rule]})
    proposal = Proposal("a", "r", "tool", "t", "read", {"x": value})
    _expect(judge(proposal, parse_policy(text, "x.yaml")), outcome)


def test_manual_examples_load() -> None:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", MANUAL.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) >= 3
    for block in blocks:
        parse_policy(block, "docs/policy.md")


def test_manual_names_every_operator() -> None:
    manual = MANUAL.read_text("utf-8")
    assert [name for name in OPERATORS if f"`{name}`" not in manual] == []
